// A journal group: one contiguous run of 4 KiB ring blocks, header blocks first, then data blocks.
//
//  off  size  field
//    0  u32   magic
//    4  u16   version
//    6  u16   flags: SEAL 1, PAD 2
//    8  u32   headerCRC: CRC of all header blocks, this field taken as zero
//   12  u32   prevGroupCRC: headerCRC of the group before (the chain)
//   16  u64   session
//   24  u64   ringPos: absolute byte position; offset in the ring = ringPos mod ring length
//   32  u64   lsn of the first record
//   40  u64   lsnEnd: lsn of the last record
//   48  u64   durableLSN known when the group was closed
//   56  u64   epoch
//   64  u16   headerBlocks
//   66  u16   recordCount
//   68  u32   dataBlocks
//   72        zero to 128, then the records
//
// A record: 0 u8 type, 1 u8 flags, 2 u16 length (multiple of 8), 4 u32 slot, 8 u64 block, 16 u64 aux,
// then what its type says. docs/format.md, "Journal".

import FileIO

/// Log sequence number: one per record, contiguous, starting at 1.
public typealias LSN = UInt64

public enum RingFormat {
    /// The unit of the ring; two separately committed groups never share one.
    public static let blockSize = 4096
    public static let headerSize = 128
    public static let recordHeaderSize = 24
    public static let magic: UInt32 = 0x4a42_3353  // "S3BJ"
    public static let version: UInt16 = 1
    /// Most pieces of data a group gathers, below the kernel's limit for one vectored write.
    public static let dataPiecesMax = 512
    public static let recordCountMax = 65_535

    public struct Flags: OptionSet, Sendable {
        public let rawValue: UInt16
        public init(rawValue: UInt16) { self.rawValue = rawValue }
        /// No records: carries a newer durableLSN to the medium.
        public static let seal = Flags(rawValue: 1)
        /// No records: fills the ring up to its end.
        public static let pad = Flags(rawValue: 2)
        package static let known: Flags = [.seal, .pad]
    }

    /// Ring blocks that a header with `recordBytes` of records takes.
    public static func headerBlocks(recordBytes: Int) -> Int {
        (headerSize + recordBytes + blockSize - 1) / blockSize
    }
}

/// The decoded header of a group.
public struct GroupHeader: Sendable, Equatable {
    public var flags: RingFormat.Flags
    public var headerCRC: UInt32 = 0
    public var prevGroupCRC: UInt32
    public var session: UInt64
    public var position: UInt64
    public var firstLSN: LSN
    public var lastLSN: LSN
    public var durableLSN: LSN
    public var epoch: UInt64
    public var headerBlocks: Int
    public var recordCount: Int
    public var dataBlocks: Int

    package init(
        flags: RingFormat.Flags, headerCRC: UInt32 = 0, prevGroupCRC: UInt32, session: UInt64,
        position: UInt64, firstLSN: LSN, lastLSN: LSN, durableLSN: LSN, epoch: UInt64,
        headerBlocks: Int, recordCount: Int, dataBlocks: Int
    ) {
        self.flags = flags
        self.headerCRC = headerCRC
        self.prevGroupCRC = prevGroupCRC
        self.session = session
        self.position = position
        self.firstLSN = firstLSN
        self.lastLSN = lastLSN
        self.durableLSN = durableLSN
        self.epoch = epoch
        self.headerBlocks = headerBlocks
        self.recordCount = recordCount
        self.dataBlocks = dataBlocks
    }

    public var byteCount: Int { (headerBlocks + dataBlocks) * RingFormat.blockSize }
    public var dataPosition: UInt64 { position + UInt64(headerBlocks * RingFormat.blockSize) }

    /// Writes the fields into the first 128 bytes and the CRC over all of `target`, which holds the
    /// header blocks with the records in place and zeros behind them. Returns the CRC.
    package func encode(into target: UnsafeMutableRawBufferPointer, seeds: SeedSpace) -> UInt32 {
        precondition(target.count == headerBlocks * RingFormat.blockSize)
        target.setField(0, RingFormat.magic)
        target.setField(4, RingFormat.version)
        target.setField(6, flags.rawValue)
        target.setField(8, UInt32(0))
        target.setField(12, prevGroupCRC)
        target.setField(16, session)
        target.setField(24, position)
        target.setField(32, firstLSN)
        target.setField(40, lastLSN)
        target.setField(48, durableLSN)
        target.setField(56, epoch)
        target.setField(64, UInt16(headerBlocks))
        target.setField(66, UInt16(recordCount))
        target.setField(68, UInt32(dataBlocks))
        let seed = seeds.seed(.group, position)
        let crc = Checksum.crc32c(UnsafeRawBufferPointer(target), seed: seed)
        target.setField(8, crc)
        return crc
    }

    /// Reads the first block of a group. Checks only what needs no other block: magic, version,
    /// sane counts. Nil when this cannot be a group. The CRC is checked by `isIntact`.
    public static func decode(_ block: UnsafeRawBufferPointer, ringLength: Int) -> GroupHeader? {
        guard block.count >= RingFormat.headerSize else { return nil }
        guard block.field(0, UInt32.self) == RingFormat.magic else { return nil }
        guard block.field(4, UInt16.self) == RingFormat.version else { return nil }
        let flags = RingFormat.Flags(rawValue: block.field(6))
        guard RingFormat.Flags.known.isSuperset(of: flags) else { return nil }
        let header = GroupHeader(
            flags: flags, headerCRC: block.field(8), prevGroupCRC: block.field(12),
            session: block.field(16), position: block.field(24), firstLSN: block.field(32),
            lastLSN: block.field(40), durableLSN: block.field(48), epoch: block.field(56),
            headerBlocks: Int(block.field(64, UInt16.self)),
            recordCount: Int(block.field(66, UInt16.self)),
            dataBlocks: Int(block.field(68, UInt32.self)))
        return header.isSane(ringLength: ringLength) ? header : nil
    }

    private func isSane(ringLength: Int) -> Bool {
        let blocks = UInt64(ringLength / RingFormat.blockSize)
        guard headerBlocks >= 1, UInt64(headerBlocks) + UInt64(dataBlocks) <= blocks else {
            return false
        }
        guard position % UInt64(RingFormat.blockSize) == 0 else { return false }
        // A group never crosses the end of the ring.
        guard position % UInt64(ringLength) + UInt64(byteCount) <= UInt64(ringLength) else {
            return false
        }
        guard firstLSN >= 1, lastLSN >= firstLSN, lastLSN < UInt64.max / 2 else { return false }
        guard position < UInt64.max / 2, epoch < UInt64.max / 2 else { return false }
        // An empty group takes one LSN of its own; otherwise one per record.
        let lsnCount = lastLSN - firstLSN + 1
        if recordCount == 0 { return !flags.isEmpty && lsnCount == 1 }
        return flags.isEmpty && lsnCount == UInt64(recordCount)
    }

    /// Whether the CRC over all header blocks is right. `blocks` is changed and put back.
    public func isIntact(_ blocks: UnsafeMutableRawBufferPointer, seeds: SeedSpace) -> Bool {
        precondition(blocks.count == headerBlocks * RingFormat.blockSize)
        blocks.setField(8, UInt32(0))
        let seed = seeds.seed(.group, position)
        let crc = Checksum.crc32c(UnsafeRawBufferPointer(blocks), seed: seed)
        blocks.setField(8, headerCRC)
        return crc == headerCRC
    }
}

/// A record as it lies in the journal: the common head, and the bytes behind it.
public struct RawRecord: Sendable, Equatable {
    public var type: UInt8
    public var flags: UInt8
    public var slot: UInt32
    public var block: UInt64
    public var aux: UInt64
    /// What follows the common head; padded with zeros to a multiple of 8 when encoded.
    public var body: [UInt8]

    public init(
        type: UInt8, flags: UInt8 = 0, slot: UInt32, block: UInt64, aux: UInt64, body: [UInt8] = []
    ) {
        self.type = type
        self.flags = flags
        self.slot = slot
        self.block = block
        self.aux = aux
        self.body = body
    }

    /// Bytes this record takes in a header block.
    public var encodedSize: Int { RingFormat.recordHeaderSize + (body.count + 7) & ~7 }

    package func append(to target: inout [UInt8]) {
        let size = encodedSize
        let start = target.count
        target.append(contentsOf: repeatElement(0, count: size))
        target.withUnsafeMutableBytes { all in
            let record = UnsafeMutableRawBufferPointer(rebasing: all[start..<start + size])
            record.setField(0, type)
            record.setField(1, flags)
            record.setField(2, UInt16(size))
            record.setField(4, slot)
            record.setField(8, block)
            record.setField(16, aux)
            record.setBytes(RingFormat.recordHeaderSize, body)
        }
    }

    /// The `count` records behind the header in intact header blocks. Nil when they do not parse
    /// or bytes behind the last one are not zero.
    package static func decodeAll(_ blocks: UnsafeRawBufferPointer, count: Int) -> [RawRecord]? {
        var records: [RawRecord] = []
        records.reserveCapacity(count)
        var offset = RingFormat.headerSize
        for _ in 0..<count {
            guard offset + RingFormat.recordHeaderSize <= blocks.count else { return nil }
            let size = Int(blocks.field(offset + 2, UInt16.self))
            guard size >= RingFormat.recordHeaderSize, size % 8 == 0 else { return nil }
            guard offset + size <= blocks.count else { return nil }
            let bodySize = size - RingFormat.recordHeaderSize
            records.append(
                RawRecord(
                    type: blocks.field(offset), flags: blocks.field(offset + 1),
                    slot: blocks.field(offset + 4), block: blocks.field(offset + 8),
                    aux: blocks.field(offset + 16),
                    body: blocks.copy(offset + RingFormat.recordHeaderSize, bodySize)))
            offset += size
        }
        let rest = UnsafeRawBufferPointer(rebasing: blocks[offset...])
        return rest.isAllZero ? records : nil
    }
}
