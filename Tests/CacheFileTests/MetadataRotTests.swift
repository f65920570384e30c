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
        try GoldenImages.fill(session) { earlier.insert(describe($0)) }
        if sealed { try session.seal() }
        let inspection = try CacheFiles.inspect(file)
        return Subject(
            bytes: file.bytes, content: try contents(of: file).text, earlier: earlier,
            geometry: inspection.geometry, superblock: inspection.superblock)
    }

    /// Flips each bit of these byte ranges, or every `step`th, and recovers. Returns how many flips
    /// were refused.
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

    /// Flips each bit of a range; `isAsBefore` reads what lies there and compares it with what was
    /// read before. Nothing else of a file is read any differently, so there is no need to.
    static func flip(
        _ subject: Subject, _ range: Range<Int>, stride step: Int = 1,
        isAsBefore: (MemoryFile) throws -> Bool
    ) -> (refused: Int, wrong: Int) {
        let file = MemoryFile(subject.bytes)
        var (refused, wrong) = (0, 0)
        for bit in stride(from: range.lowerBound * 8, to: range.upperBound * 8, by: step) {
            file.flip(bit)
            do { if try !isAsBefore(file) { wrong += 1 } } catch { refused += 1 }
            file.flip(bit)
        }
        return (refused, wrong)
    }

    @Test("superblock copies: another one is used, and a bad one of the pair is reported")
    func superblocks() throws {
        let subject = try Self.subject(sealed: true)
        for copy in 0..<4 {
            let at = subject.geometry.superblockOffset(copy)
            let bad = subject.superblock.copies.filter { $0 == copy }
            let found = Self.flip(subject, at..<at + Superblock.size) { file in
                let set = try SuperblockSet.read(file)
                return set.current == subject.superblock && set.badCopies == bad
            }
            #expect(found == (0, 0))
        }
    }

    @Test("zone table: its mate is used, and that is reported", arguments: 0..<2)
    func zones(copy: Int) throws {
        let subject = try Self.subject(sealed: true)
        let seeds = SeedSpace(fileUUID: subject.superblock.fileUUID)
        let isNamed = copy == Int(subject.superblock.zoneCopy)
        let at = ZoneTable.offset(copy: copy)
        let all = at..<at + Geometry.zoneTableBytes
        // The copy that is not named is not read.
        let found = Self.flip(subject, all, stride: isNamed ? 1 : 9) { file in
            var findings: [Finding] = []
            let geometry = try ZoneTable.readGeometry(
                subject.superblock, file, seeds: seeds, findings: &findings)
            return geometry == subject.geometry
                && findings.map(\.code) == (isNamed ? ["ROOT_BAD"] : [])
        }
        #expect(found == (0, 0))
    }

    @Test("root: the used copy is checked, the other one not needed")
    func root() throws {
        let subject = try Self.subject(sealed: true)
        let length = subject.geometry.pageCount * 8
        let used = subject.geometry.rootOffsets[Int(subject.superblock.rootCopy)]
        let other = subject.geometry.rootOffsets[1 - Int(subject.superblock.rootCopy)]
        #expect(Self.flip(subject, [used..<used + length]) == length * 8)
        #expect(Self.flip(subject, [used + length..<used + 4096, other..<other + 4096]) == 0)
    }

    @Test("root: an equal mate is used, and that is reported")
    func rootMate() throws {
        let file = try SmallWorld.make()
        let inspection = try CacheFiles.inspect(file)
        let at = inspection.geometry.rootOffsets[Int(inspection.superblock.rootCopy)]
        for bit in at * 8..<(at + inspection.geometry.pageCount * 8) * 8 {
            file.flip(bit)
            #expect(try contents(of: file).findings == ["ROOT_BAD"])
            file.flip(bit)
        }
    }

    @Test("directory pages", arguments: 0..<2)
    func pages(copy: Int) throws {
        let subject = try Self.subject(sealed: true)
        for page in 0..<subject.geometry.pageCount {
            let at = subject.geometry.pageOffset(page, copy: copy)
            Self.flip(subject, [at..<at + Geometry.pageSize])
        }
    }

    @Test("journal", arguments: [false, true])
    func journal(sealed: Bool) throws {
        let subject = try Self.subject(sealed: sealed)
        let scan = try Recovery.run(MemoryFile(subject.bytes)).scan
        let length = UInt64(subject.geometry.ringLength)
        #expect(scan.accepted.count >= 5)
        var refused = 0
        for group in scan.accepted {
            let at = subject.geometry.ringOffset + Int(group.header.position % length)
            // Header and records; behind them zeros, each bit of them once is enough.
            let used = at..<at + 1024
            let rest = used.upperBound..<at + 4096
            refused += Self.flip(subject, [used])
            refused += Self.flip(subject, [rest], stride: sealed ? 1 : 9)
            let data = at + 4096..<at + group.header.byteCount
            refused += Self.flip(subject, [data], stride: 9)
        }
        #expect(refused > 0)
        let end = subject.geometry.ringOffset + Int(scan.end.position % length)
        #expect(Self.flip(subject, [end..<end + 4096]) == 0)
    }
}
