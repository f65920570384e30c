import CacheFile
import FileIO
import Foundation
import TestSupport
import Testing

@Suite("cachecheck salvage")
struct SalvageTests {
    let directory = TemporaryDirectory()
    let program: BuiltProgram
    var path: String { directory.file("c") }
    var out: String { directory.file("out") }

    init() throws {
        program = try #require(BuiltProgram("cachecheck"), "cachecheck is not built")
    }

    private func salvage(_ bytes: [UInt8]) throws -> CommandOutcome {
        try writeFile(path, bytes)
        return try program.run(["salvage", "--to", out, path])
    }

    private func block(_ number: Int) -> [UInt8]? {
        let name = out + "/0000000" + String(number, radix: 16)
        let long = out + "/000000" + String(number, radix: 16)
        return [name, long].map(readFile).first { !$0.isEmpty }
    }

    private func manifest() throws -> (object: [String: Any], blocks: [Int: [String: Any]]) {
        let value = try JSONSerialization.jsonObject(with: Data(readFile(out + "/manifest.json")))
        let object = try #require(value as? [String: Any])
        let blocks = try #require(object["blocks"] as? [[String: Any]])
        return (object, Dictionary(uniqueKeysWithValues: blocks.map { ($0["block"] as! Int, $0) }))
    }

    @Test(
        "every dirty byte is delivered; what is not here is zeros and listed",
        arguments: [false, true])
    func whole(clean: Bool) throws {
        let outcome = try salvage(Worlds.rich(clean: clean).bytes)
        #expect(outcome.status == 0, "\(outcome.errors)")
        #expect(outcome.output.contains("s3backer --test --size=262144 --blockSize=8192"))
        #expect(outcome.lastLine.hasPrefix("6 dirty blocks salvaged; 1 in conflict; 1 in part"))
        let zeros = [UInt8](repeating: 0, count: 4096)
        var five = zeros
        five.replaceSubrange(100..<300, with: TestSession.content(5, 1, 8, 200))
        let expected: [Int: [UInt8]] = [
            3: Worlds.content(3, 0, 1) + Worlds.content(3, 1, 1),
            5: Worlds.content(5, 0, 1) + five,
            6: Worlds.content(6, 0, 2) + Worlds.content(6, 1, 2),
            7: Worlds.content(7, 0, 1) + Worlds.content(7, 1, 4),
            12: Worlds.content(12, 0, 5) + Worlds.content(12, 1, 5),
            20: Worlds.content(20, 0, 6) + zeros,
        ]
        for number in 0..<32 { #expect(block(number) == expected[number], "block \(number)") }
        let (object, blocks) = try manifest()
        #expect(Set(blocks.keys) == Set(expected.keys))
        #expect(object["trimmed"] as? [[Int]] == [[9, 10]])
        #expect(blocks[5]?["missingBytes"] as? [[Int]] == [[4096, 8191]])
        #expect(blocks[3]?["missingBytes"] as? [[Int]] == [])
        #expect(blocks[6]?["state"] as? String == "conflict")
    }

    @Test("damaged bytes are zeros and listed, and the status says so")
    func damaged() throws {
        let file = try Worlds.rich(clean: false)
        let recovered = try Recovery.run(file)
        let slot = try #require(recovered.state.slot(of: 12))
        file.bytes[recovered.geometry.slotOffset(slot) + 4096] ^= 1
        let outcome = try salvage(file.bytes)
        #expect(outcome.status == 64)
        #expect(outcome.lastLine.contains("1 with damaged bytes"))
        let zeros = [UInt8](repeating: 0, count: 4096)
        #expect(block(12) == Worlds.content(12, 0, 5) + zeros)
        #expect(try manifest().blocks[12]?["badBytes"] as? [[Int]] == [[4096, 8191]])
    }

    @Test("of a file that a mount refuses, what can be read")
    func refused() throws {
        let damages = Damage.all.filter { $0.severity == "error" && !$0.needsData }
        for damage in damages where damage.code != "SB_NONE" && damage.code != "ROOT_BAD" {
            if damage.code == "SB_COPY_BAD" { continue }
            let outcome = try salvage(damage.make())
            #expect(outcome.status & ~64 == 4, "\(damage): \(outcome.errors)")
            #expect(outcome.status & 64 == 64, "\(damage)")
            #expect(outcome.output.contains("error \(damage.code)"), "\(damage)")
            let isLost = ["PAGE_BAD", "ENT_RANGE", "ENT_STATE"].contains(damage.code)
            let hasThree = block(3) != nil
            #expect(hasThree != isLost || damage.code == "ENT_DUP_BLOCK", "\(damage)")
            try FileManager.default.removeItem(atPath: out)
        }
    }

    @Test("of a lost page of checksums the blocks are named, and their bytes lost")
    func lostPage() throws {
        let file = try Worlds.rich(clean: true)
        let recovered = try Recovery.run(file)
        let geometry = recovered.geometry
        let page = geometry.coldPlace(0).page
        for copy in 0..<2 { file.bytes[geometry.pageOffset(page, copy: copy) + 70] ^= 1 }
        let outcome = try salvage(file.bytes)
        #expect(outcome.status == 68)
        let blocks = try manifest().blocks
        #expect(blocks[3]?["lostBytes"] as? [[Int]] == [[0, 8191]])
        // Its newest granule is in the journal.
        #expect(blocks[7]?["lostBytes"] as? [[Int]] == [[0, 4095]])
        #expect(block(7).map { Array($0[4096...]) } == Worlds.content(7, 1, 4))
    }

    @Test("a directory that is not empty, or cannot be made, is refused and left alone")
    func directories() throws {
        let bytes = readFile(SourceTree.golden("clean.cache"))
        try writeFile(path, bytes)
        mkdir(out, 0o700)
        #expect(try program.run(["salvage", "--to", out, path]).status == 0)
        let before = try FileManager.default.contentsOfDirectory(atPath: out).sorted()
        let again = try program.run(["salvage", "--to", out, path])
        #expect(again.status == 8 && again.errors.contains("is not empty"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: out).sorted() == before)
        let deep = try program.run(["salvage", "--to", directory.file("no/such"), path])
        #expect(deep.status == 8 && deep.errors.contains("No such file"))
        #expect(try program.run(["salvage", "--to", path, path]).status == 8)
        #expect(readFile(path) == bytes)
        #expect(try program.run(["salvage", path]).status == 16)
    }
}
