import CSys
import FileIO
import Simulation
import Testing

@Suite("Checksums")
struct ChecksumTests {
    static func crc(_ bytes: [UInt8], seed: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { Checksum.crc32c($0, seed: seed) }
    }

    static func table(_ bytes: [UInt8], seed: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { csys_crc32c_table(seed, $0.baseAddress, $0.count) }
    }

    static let known: [([UInt8], UInt32)] = [
        (Array("123456789".utf8), 0xe306_9283), ([], 0),
        (Array(repeating: 0, count: 32), 0x8a91_36aa),
        (Array(repeating: 0xff, count: 32), 0x62a8_ab43), (Array(0..<32), 0x46dd_794e),
    ]

    @Test("known values", arguments: known)
    func knownValues(bytes: [UInt8], expected: UInt32) {
        #expect(Self.crc(bytes) == expected)
        #expect(Self.table(bytes) == expected)
    }

    @Test("the instructions and the table agree at every length and alignment")
    func tableAgrees() {
        var random = SeededRandom(seed: 1)
        let bytes = random.bytes(9000)
        for round in 0..<4000 {
            let start = random.below(64)
            let count = round < 300 ? round : random.below(8900)
            let seed = UInt32(truncatingIfNeeded: random.next())
            bytes.withUnsafeBytes { all in
                let part = UnsafeRawBufferPointer(rebasing: all[start..<min(start + count, 9000)])
                let fast = Checksum.crc32c(part, seed: seed)
                #expect(fast == csys_crc32c_table(seed, part.baseAddress, part.count))
            }
        }
    }

    @Test("a checksum continues where the one before ended")
    func continues() {
        var random = SeededRandom(seed: 2)
        let bytes = random.bytes(500)
        for cut in 0...500 {
            let first = Self.crc(Array(bytes[..<cut]))
            #expect(Self.crc(Array(bytes[cut...]), seed: first) == Self.crc(bytes))
        }
    }

    @Test("I20: seeds of neighbouring identities differ")
    func seedsDiffer() {
        let space = SeedSpace(fileUUID: Array(0..<16))
        for kind in SeedSpace.Kind.allCases {
            for start in [UInt64(0), 0xffff_8000, 1 << 40] {
                var seen = Set<UInt32>()
                for index in 0..<UInt64(1 << 16) { seen.insert(space.seed(kind, start + index)) }
                #expect(seen.count == 1 << 16)
            }
        }
    }

    @Test("kinds and files have seeds of their own")
    func kindsDiffer() {
        var seen = Set<UInt32>()
        for last in UInt8(0)..<32 {
            let space = SeedSpace(fileUUID: Array(repeating: 7, count: 15) + [last])
            for kind in SeedSpace.Kind.allCases { seen.insert(space.seed(kind, 5)) }
        }
        #expect(seen.count == 32 * SeedSpace.Kind.allCases.count)
    }
}
