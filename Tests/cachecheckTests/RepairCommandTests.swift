import CacheFile
import FileIO
import Foundation
import TestSupport
import Testing

/// The commands that write to a cache file.
@Suite("cachecheck, repair and undo")
struct RepairCommandTests {
    let directory = TemporaryDirectory()
    let program: BuiltProgram
    var path: String { directory.file("c") }
    var undoPath: String { path + ".undo" }

    init() throws {
        program = try #require(BuiltProgram("cachecheck"), "cachecheck is not built")
    }

    private func run(_ arguments: String...) throws -> CommandOutcome {
        try program.run(arguments)
    }

    private func damaged(_ code: String, _ severity: String) throws -> [UInt8] {
        let damage = Damage.all.first { $0.code == code && $0.severity == severity }
        let bytes = try #require(damage).make()
        try writeFile(path, bytes)
        return bytes
    }

    @Test("a damaged file: plan, question, repair, check, undo")
    func whole() throws {
        let bytes = try damaged("PAGE_BAD", "error")
        let plan = try run("repair", "--dry-run", path)
        #expect(plan.status == 4)
        #expect(plan.output.contains("directory page 0"))
        #expect(plan.output.contains("nothing was changed"))
        let asked = try run("repair", path)
        #expect(asked.status == 8)
        #expect(asked.errors.contains("--yes"))
        #expect(readFile(path) == bytes && access(undoPath, F_OK) != 0)
        let done = try run("repair", "--yes", path)
        #expect(done.status & 1 == 1, "\(done.errors)")
        // What was said is what was done.
        let lines = plan.output.split(separator: "\n").dropLast()
        #expect(Array(done.output.split(separator: "\n").dropLast()) == Array(lines))
        #expect(try run("check", path).status == 0)
        #expect(try run("repair", "--yes", path).output == "nothing to repair\n")
        let undone = try run("undo", "--yes", path)
        #expect(undone.status == 0, "\(undone.errors)")
        #expect(readFile(path) == bytes)
        // And once more, which changes nothing.
        #expect(try run("undo", "--yes", path).status == 0)
        #expect(readFile(path) == bytes)
    }

    @Test("a copy with an equal mate is written again, and nothing is lost")
    func light() throws {
        _ = try damaged("SB_COPY_BAD", "warning")
        let done = try run("repair", "-y", "--json", path)
        #expect(done.status == 1)
        let value = try JSONSerialization.jsonObject(with: Data(done.output.utf8))
        let object = try #require(value as? [String: Any])
        #expect((object["actions"] as? [[String: Any]])?.count == 1)
        #expect(object["undoFile"] as? String == undoPath)
        #expect(try !run("check", path).output.contains("SB_COPY_BAD"))
    }

    @Test("an undo file that is there already is not overwritten, and nothing is changed")
    func existingUndo() throws {
        let bytes = try damaged("PAGE_BAD", "error")
        try writeFile(undoPath, [1, 2, 3])
        let outcome = try run("repair", "--yes", path)
        #expect(outcome.status == 8)
        #expect(readFile(undoPath) == [1, 2, 3])
        #expect(readFile(path) == bytes)
        #expect(try run("repair", "--yes", "--undo-file", path + ".2", path).status & 1 == 1)
        let wrong = try run("undo", "--yes", path)
        #expect(wrong.status == 8)
        #expect(wrong.errors.contains("undo file is damaged or none"))
        #expect(try run("undo", "--yes", "--undo-file", path + ".2", path).status == 0)
        #expect(readFile(path) == bytes)
    }

    @Test(
        "what cannot be repaired is left as it is",
        arguments: ["SB_NONE", "SB_STALE", "SB_REPAIR"])
    func unrepaired(code: String) throws {
        let bytes = try damaged(code, "error")
        let outcome = try run("repair", "--yes", path)
        #expect(outcome.status == 4)
        #expect(outcome.output.contains("not repaired"))
        #expect(readFile(path) == bytes && access(undoPath, F_OK) != 0)
    }

    @Test("a file used since the repair is not put back")
    func used() throws {
        _ = try damaged("PAGE_BAD", "error")
        #expect(try run("repair", "--yes", path).status & 1 == 1)
        do {
            _ = try CacheFiles.open(
                path, identity: SmallWorld.identity, info: SmallWorld.info())
        }
        let was = readFile(path)
        let outcome = try run("undo", "--yes", path)
        #expect(outcome.status == 8)
        #expect(outcome.errors.contains("since the repair"))
        #expect(readFile(path) == was)
    }

    @Test("killed at any moment: as before, repaired, or refused; undo brings back what was")
    func killed() throws {
        let bytes = try damaged("PAGE_BAD", "error")
        for round in 0..<20 {
            try writeFile(path, bytes)
            unlink(undoPath)
            try program.runKilled(["repair", "--yes", path], after: round * 700)
            let left = readFile(path)
            let check = try run("check", "-q", path)
            if left != bytes, check.status != 0 {
                #expect(check.output.contains("SB_REPAIR"), "\(check.output)")
            }
            guard access(undoPath, F_OK) == 0 else {
                #expect(left == bytes)
                continue
            }
            #expect(try run("undo", "--yes", path).status == 0)
            #expect(readFile(path) == bytes)
        }
    }
}
