import BlockStore
import Foundation
import Testing

@Suite struct BlockKeysTests {
    /// Recorded from the real s3backer.
    static let hashes: [String: String] = {
        let path =
            URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().path + "/Golden/s3/manifest.json"
        guard let data = FileManager.default.contents(atPath: path),
            let manifest = try? JSONSerialization.jsonObject(with: data) as? [String: Any]
        else { return [:] }
        return manifest["blockHash"] as? [String: String] ?? [:]
    }()

    @Test("hashes are those of the real s3backer")
    func recorded() throws {
        #expect(Self.hashes.count >= 11)
        let hashed = BlockKeys(prefix: "p/", isHashed: true)
        let plain = BlockKeys(prefix: "p/")
        for (number, hash) in Self.hashes {
            let block = try #require(UInt64(number, radix: 16))
            #expect(plain.key(block) == "p/" + number)
            #expect(hashed.key(block) == "p/" + hash + "-" + number)
            #expect(hashed.block(of: "p/\(hash)-\(number)".utf8) == block)
        }
    }

    @Test("every block's name is its own", arguments: [true, false])
    func names(isHashed: Bool) {
        for prefix in ["", "a", "a/b/", "0000", "e\u{301}/"] {
            let keys = BlockKeys(prefix: prefix, isHashed: isHashed, blockCount: 1 << 20)
            let blocks: [UInt64] = (0..<400).map { UInt64($0) * 2609 } + [(1 << 20) - 1]
            for block in blocks { #expect(keys.block(of: keys.key(block).utf8) == block) }
            #expect(Set(blocks.map(keys.key)).count == Set(blocks).count)
        }
    }

    @Test(
        "other names are strangers'",
        arguments: [
            "", "0000000", "000000001", "0000000A", "0000000g", "00000001 ", " 0000001",
            "p/00000001", "x/00000001", "p/0000000F", "p/0000000", "p/000000001", "p/00000001x",
            "p/00000010", "p/ffffffff", "p/+0000001", "P/00000001", "p//0000001", "p/0000/001",
            "p/s3backer-mounted", "p/d211cad9-00000001",
        ])
    func strangers(name: String) {
        let keys = BlockKeys(prefix: "p/", blockCount: 16)
        let isOurs = name == "p/00000001"
        #expect(keys.block(of: name.utf8) == (isOurs ? 1 : nil))
        #expect(BlockKeys(prefix: "p/", isHashed: true).block(of: "p/00000001".utf8) == nil)
    }

    @Test(
        "a hash must be that of the number",
        arguments: [
            "d211cad8-00000001", "D211cad9-00000001", "d211cad9_00000001", "d211cad9-00000002",
            "d211cad900000001", "d211cad9-000000010", "d211cad9-0000001", "d211cad9-0000000G",
            "6a03ab82-00000005",
        ])
    func wrongHash(name: String) {
        #expect(BlockKeys(prefix: "", isHashed: true, blockCount: 5).block(of: name.utf8) == nil)
    }

    @Test("texts that are equal and have other bytes are other names")
    func bytes() {
        let composed = BlockKeys(prefix: "\u{e9}/")
        #expect("\u{e9}/" == "e\u{301}/")
        #expect(composed.block(of: "\u{e9}/00000001".utf8) == 1)
        #expect(composed.block(of: "e\u{301}/00000001".utf8) == nil)
    }

    @Test("parts are all, and no two have a block in common", arguments: [1, 2, 3, 16, 100])
    func parts(count: Int) {
        for (isHashed, blocks) in [(false, UInt64(64)), (false, 1 << 32), (true, 64), (false, 1)] {
            let keys = BlockKeys(prefix: "", isHashed: isHashed, blockCount: blocks)
            let bounds = (0..<count).compactMap { keys.bounds(of: ListPart($0, of: count)) }
            #expect(bounds.first?.lowerBound == 0)
            #expect(UInt64(bounds.last?.upperBound ?? 0) == (isHashed ? 1 << 32 : blocks) - 1)
            for (a, b) in zip(bounds, bounds.dropFirst()) {
                #expect(UInt64(a.upperBound) + 1 == UInt64(b.lowerBound))
            }
        }
    }
}
