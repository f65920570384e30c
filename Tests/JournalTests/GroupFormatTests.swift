import FileIO
import Journal
import Simulation
import Testing

@Suite("Format of a group")
struct GroupFormatTests {
    static let ringLength = 64 << 10

    static func header(_ random: inout SeededRandom) -> GroupHeader {
        let records = random.below(4) == 0 ? 0 : 1 + random.below(40)
        let first = random.next() >> 8 | 1
        return GroupHeader(
            flags: records == 0 ? (random.chance(50) ? .seal : .pad) : [],
            prevGroupCRC: UInt32(truncatingIfNeeded: random.next()), session: random.next(),
            position: (random.next() >> 16) / 65536 * 65536 + 4096 * UInt64(random.below(8)),
            firstLSN: first, lastLSN: first + UInt64(max(records, 1)) - 1,
            durableLSN: random.next(), epoch: random.next() >> 2, headerBlocks: 1,
            recordCount: records, dataBlocks: random.below(8))
    }

    @Test("a header that is written is read again")
    func roundTrip() {
        let seeds = SeedSpace(fileUUID: Array(repeating: 3, count: 16))
        var random = SeededRandom(seed: 4)
        for _ in 0..<2000 {
            var header = Self.header(&random)
            let block = AlignedBuffer.zeroed(4096)
            header.headerCRC = header.encode(into: block.mutableBytes, seeds: seeds)
            let decoded = GroupHeader.decode(block.bytes, ringLength: Self.ringLength)
            #expect(decoded == header)
            #expect(decoded?.isIntact(block.mutableBytes, seeds: seeds) == true)
        }
    }

    @Test("every bit of a header block counts")
    func bitFlips() {
        let seeds = SeedSpace(fileUUID: Array(repeating: 3, count: 16))
        var random = SeededRandom(seed: 5)
        var header = Self.header(&random)
        while header.recordCount == 0 { header = Self.header(&random) }
        let block = AlignedBuffer.zeroed(4096)
        _ = header.encode(into: block.mutableBytes, seeds: seeds)
        var missed = 0
        for bit in 0..<4096 * 8 {
            block.mutableBytes[bit >> 3] ^= 1 << UInt8(bit & 7)
            let decoded = GroupHeader.decode(block.bytes, ringLength: Self.ringLength)
            if let decoded, decoded.headerBlocks == 1,
                decoded.isIntact(block.mutableBytes, seeds: seeds)
            {
                missed += 1
            }
            block.mutableBytes[bit >> 3] ^= 1 << UInt8(bit & 7)
        }
        #expect(missed == 0)
    }

    @Test("random bytes are no group, and reading them stays in bounds")
    func randomBytes() {
        var random = SeededRandom(seed: 6)
        let block = AlignedBuffer(4096)
        for _ in 0..<20_000 {
            random.fill(block.mutableSlice(0..<128))
            if random.chance(90) {
                block.mutableBytes.setField(0, RingFormat.magic)
                block.mutableBytes.setField(4, RingFormat.version)
                block.mutableBytes.setField(6, UInt16(random.below(4)))
            }
            if random.chance(50) {
                block.mutableBytes.setField(64, UInt16(random.below(20)))
                block.mutableBytes.setField(68, UInt32(random.below(20)))
            }
            guard let header = GroupHeader.decode(block.bytes, ringLength: Self.ringLength) else {
                continue
            }
            #expect(header.byteCount <= Self.ringLength)
            #expect(header.headerBlocks >= 1)
        }
    }

    @Test("records that are written are read again; cut or changed lengths are refused")
    func records() {
        var random = SeededRandom(seed: 7)
        for _ in 0..<300 {
            let records = (0..<1 + random.below(30)).map { _ in
                RawRecord(
                    type: UInt8(truncatingIfNeeded: random.next()),
                    flags: UInt8(truncatingIfNeeded: random.next()),
                    slot: UInt32(truncatingIfNeeded: random.next()), block: random.next(),
                    aux: random.next(), body: random.bytes(8 * random.below(20)))
            }
            var bytes = [UInt8](repeating: 0, count: RingFormat.headerSize)
            for record in records { record.append(to: &bytes) }
            #expect(
                bytes.count
                    == RingFormat.headerSize + records.reduce(0) { $0 + $1.encodedSize })
            let used = bytes.count
            bytes += [UInt8](repeating: 0, count: -bytes.count & 4095)
            bytes.withUnsafeBytes {
                #expect(RawRecord.decodeAll($0, count: records.count) == records)
                #expect(RawRecord.decodeAll($0, count: records.count - 1) != records)
                let cut = UnsafeRawBufferPointer(rebasing: $0[..<(used - 8)])
                #expect(RawRecord.decodeAll(cut, count: records.count) == nil)
            }
            if used < bytes.count {
                bytes[used + random.below(bytes.count - used)] = 1
                bytes.withUnsafeBytes {
                    #expect(RawRecord.decodeAll($0, count: records.count) == nil)
                }
            }
        }
    }

    @Test("random record bytes never lead outside the block")
    func randomRecords() {
        var random = SeededRandom(seed: 8)
        for _ in 0..<5000 {
            var bytes = random.bytes(512)
            if random.chance(50) {
                bytes[130] = UInt8(24 + 8 * random.below(4))
                bytes[131] = 0
            }
            bytes.withUnsafeBytes { _ = RawRecord.decodeAll($0, count: 1 + random.below(5)) }
        }
    }
}
