import CacheFile
import FileIO
import Foundation
import Glibc
import Simulation
import TestSupport
import Testing

/// `cachecheck resize` on real files. What a power cut leaves is for `OfflineResizeTests`.
@Suite("cachecheck, resize")
struct ResizeCommandTests {
    let directory = TemporaryDirectory()
    let program: BuiltProgram
    var path: String { directory.file("c") }

    init() throws {
        program = try #require(BuiltProgram("cachecheck"), "cachecheck is not built")
    }

    private func resize(_ arguments: String...) throws -> CommandOutcome {
        try program.run(["resize"] + arguments + [path])
    }

    private func kept() throws -> (lines: [String], slots: Int) {
        let recovered = try Recovery.run(MemoryFile(readFile(path)))
        return (ScatteredWorld.kept(recovered.state), recovered.geometry.slotCount)
    }

    @Test("says what it would do, does that, and tells a script")
    func resizes() throws {
        let bytes = try ScatteredWorld.make()
        try writeFile(path, bytes)
        let before = try kept()
        let dry = try resize("--slots=9", "--dry-run")
        #expect(dry.status == 0, "\(dry.errors)")
        #expect(dry.lastLine.contains("would have 9 slots instead of 24; "), "\(dry.output)")
        #expect(readFile(path) == bytes)
        let done = try resize("--slots=9", "--json")
        #expect(done.status == 0, "\(done.errors)")
        let object = try JSONSerialization.jsonObject(with: Data(done.output.utf8))
        let members = try #require(object as? [String: Any])
        #expect(members["slots"] as? Int == 9 && members["slotsBefore"] as? Int == 24)
        #expect(members["movedBlocks"] as? Int ?? 0 > 0)
        #expect(try kept().lines == before.lines)
        #expect(try kept().slots == 9)
        let file = readFile(path)
        #expect(file.count == (try Recovery.run(MemoryFile(file))).geometry.fileSize)
        #expect(try resize("--slots=9").lastLine.hasSuffix("has 9 slots already"))
        #expect(readFile(path) == file)
        // A cache for the whole volume gets some spare slots, as a mount would give it.
        #expect(try resize("--size=1g").status == 0)
        #expect(try kept().slots == Geometry.slots(holding: 32, of: 32, blockSize: 8192))
        #expect(try kept().lines == before.lines)
        #expect(try program.run(["check", "--data=all", path]).status == 0)
    }

    @Test("what cannot be done is refused in one line, and the file is as it was")
    func refusals() throws {
        let file = try SmallWorld.make(slots: 24)
        let session = try TestSession(file)
        for block: UInt64 in 0..<9 { try session.map(block, version: 1) }
        try session.commit()
        try session.seal()
        try writeFile(path, file.bytes)
        for words in [["--slots=8"], ["--slots=8", "--dry-run"]] {
            let refused = try program.run(["resize"] + words + [path])
            #expect(refused.status == 8)
            #expect(refused.errors.contains("9 dirty blocks do not fit into 8"))
            #expect(refused.errors.contains("s3backer --flush"), "\(refused.errors)")
            #expect(refused.errors.split(separator: "\n").count == 1)
        }
        #expect(try resize("--slots=7").status == 8)
        #expect(readFile(path) == file.bytes)
        for words in [[], ["--slots=9", "--size=1m"], ["--size=12"], ["--size=x"]] {
            #expect(try program.run(["resize"] + words + [path]).status == 16)
        }
        let damaged = readFile(SourceTree.golden("damaged.cache"))
        try writeFile(path, damaged)
        let refused = try resize("--slots=9")
        #expect(refused.status == 4 && refused.errors.contains("repair it first"))
        #expect(readFile(path) == damaged)
    }

    @Test("a file that may be read only", .enabled(if: geteuid() == 0, "needs another user"))
    func readOnly() throws {
        chmod(directory.path, 0o755)
        let bytes = try ScatteredWorld.make()
        try writeFile(path, bytes)
        chmod(path, 0o644)
        let outcome = try program.run(["resize", "--slots=9", path], asUser: 65534)
        #expect(outcome.status != 0 && readFile(path) == bytes)
        // That user may not even reach the program.
        guard outcome.errors.contains("cachecheck:") else { return }
        #expect(outcome.status == 8 && outcome.errors.contains("Permission denied"))
    }

    @Test("SIGKILL at any moment: the old size or the new one, and every dirty block")
    func killed() throws {
        let bytes = try ScatteredWorld.make()
        try writeFile(path, bytes)
        let before = try kept()
        var random = SeededRandom(seed: testSeed)
        for slots in [9, 60] {
            for _ in 0..<15 {
                try writeFile(path, bytes)
                try program.runKilled(
                    ["resize", "--slots=\(slots)", path], after: random.below(200_000))
                let after = try kept()
                #expect(after.lines == before.lines)
                #expect([24, slots].contains(after.slots))
                #expect(try program.run(["check", "--data=dirty", path]).status == 0)
            }
        }
    }
}
