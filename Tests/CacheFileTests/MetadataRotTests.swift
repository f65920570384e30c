import CacheFile
import FileIO
import Journal
import TestSupport
import Testing

/// One bit of rot anywhere in the metadata: the file has the same content, or is refused. Only a
/// torn tail, which is reported, may show an older content, and only one that was there.
@Suite("Rot of one bit in metadata")
struct MetadataRotTests {
    /// An image with its own places and every content its journal went through.
    struct Subject {
        let bytes: [UInt8]
        let content: String
        let earlier: Set<String>
        let geometry: Geometry
        let superblock: Superblock
    }

    static func subject(sealed: Bool) throws -> Subject {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        var earlier = Set<String>()
        try session.map(3, version: 1)
        try session.map(4, version: 1, fill: true)
        try session.commit()
        try session.checkpoint()
        earlier.insert(describe(session.state))
        session.overwrite(4, granule: 1, version: 2)
        try session.write()
        earlier.insert(describe(session.state))
        session.clean(3)
        try session.map(9, granules: 0..<1, version: 1)
        try session.commit()
        earlier.insert(describe(session.state))
        session.overwrite(9, granule: 0, version: 7)
        try session.commit()
        if sealed { try session.seal() }
        let inspection = try CacheFiles.inspect(file)
        return Subject(
            bytes: file.bytes, content: try contents(of: file).text, earlier: earlier,
            geometry: inspection.geometry, superblock: inspection.superblock)
    }

    /// Flips each bit of the first `used` bytes of a block and one bit of every byte behind them;
    /// the tests of each structure flip those one by one. Returns how many flips were refused.
    @discardableResult
    static func flip(_ subject: Subject, blockAt start: Int, used: Int) -> Int {
        flip(subject, [start..<start + used])
            + flip(subject, [start + used..<start + 4096], stride: 9)
    }

    /// Flips each bit of these byte ranges, or every `step`th. Returns how many flips were refused.
    @discardableResult
    static func flip(_ subject: Subject, _ ranges: [Range<Int>], stride step: Int = 1) -> Int {
        let file = MemoryFile(subject.bytes)
        var refused = 0
        var wrong: [Int] = []
        for range in ranges {
            for bit in stride(from: range.lowerBound * 8, to: range.upperBound * 8, by: step) {
                file.flip(bit)
                do {
                    let found = try contents(of: file)
                    let isTorn = found.findings.contains("JRN_TORN_TAIL")
                    if found.text != subject.content
                        && !(isTorn && subject.earlier.contains(found.text))
                    {
                        wrong.append(bit)
                    }
                } catch { refused += 1 }
                file.flip(bit)
            }
        }
        #expect(
            wrong.isEmpty,
            "\(wrong.count) bits, the first in byte \(wrong.first.map { $0 / 8 } ?? 0)")
        return refused
    }

    @Test("superblock copies", arguments: 0..<4)
    func superblocks(copy: Int) throws {
        let subject = try Self.subject(sealed: true)
        let at = subject.geometry.superblockOffset(copy)
        #expect(Self.flip(subject, blockAt: at, used: 544) == 0)
    }

    @Test("zone table: the used copy is checked, the other one not needed")
    func zones() throws {
        let subject = try Self.subject(sealed: true)
        let at = Geometry.zoneTableOffset
        let used = at..<at + 256
        #expect(Self.flip(subject, [used]) == used.count * 8)
        // Zeros behind the entries: a bit of every fourth byte.
        let rest = at + 256..<at + (64 << 10)
        #expect(Self.flip(subject, [rest], stride: 33) == (rest.count * 8 + 32) / 33)
        #expect(Self.flip(subject, [at + (64 << 10)..<at + (65 << 10)], stride: 9) == 0)
    }

    @Test("root: the used copy is checked, the other one not needed")
    func root() throws {
        let subject = try Self.subject(sealed: true)
        let length = subject.geometry.pageCount * 8
        let used = subject.geometry.rootOffsets[Int(subject.superblock.rootCopy)]
        let other = subject.geometry.rootOffsets[1 - Int(subject.superblock.rootCopy)]
        #expect(Self.flip(subject, [used..<used + length]) == length * 8)
        #expect(
            Self.flip(subject, [used + length..<used + 4096, other..<other + 4096], stride: 9) == 0)
    }

    @Test("directory pages", arguments: 0..<2)
    func pages(copy: Int) throws {
        let subject = try Self.subject(sealed: true)
        for page in 0..<subject.geometry.pageCount {
            let at = subject.geometry.pageOffset(page, copy: copy)
            Self.flip(subject, blockAt: at, used: 64 + 8 * 64)
        }
    }

    @Test("journal", arguments: [false, true])
    func journal(sealed: Bool) throws {
        let subject = try Self.subject(sealed: sealed)
        let scan = try Recovery.run(MemoryFile(subject.bytes)).scan
        let length = UInt64(subject.geometry.ringLength)
        #expect(scan.accepted.count >= 3)
        var refused = 0
        for group in scan.accepted {
            let at = subject.geometry.ringOffset + Int(group.header.position % length)
            refused += Self.flip(subject, blockAt: at, used: 320)
            let data = at + 4096..<at + group.header.byteCount
            refused += Self.flip(subject, [data], stride: 9)
        }
        #expect(refused > 0)
        let end = subject.geometry.ringOffset + Int(scan.end.position % length)
        #expect(Self.flip(subject, blockAt: end, used: 128) == 0)
    }
}
