// The superblock: 4096 bytes, four copies. The byte table is in docs/format.md, "Superblock".

import FileIO
import Journal

/// What the file says of itself; see docs/format.md for every field.
public struct Superblock: Sendable, Equatable {
    public static let size = 4096
    public static let magic: [UInt8] = Array("S3BSWIFTCACHE".utf8) + [0, 1, 0x0a]
    public static let formatMajor: UInt16 = 1
    public static let formatMinor: UInt16 = 0
    public static let headerLength: UInt32 = 544
    /// No feature beyond the first version is known yet.
    public static let knownIncompat: UInt64 = 0
    public static let knownRoCompat: UInt64 = 0

    public enum State: UInt32, Sendable {
        case clean = 1
        case mounted = 2
        case needsCheck = 3
        case poisoned = 4
    }

    public var formatMajor = Self.formatMajor
    public var formatMinor = Self.formatMinor
    public var featCompat: UInt64 = 0
    public var featRoCompat: UInt64 = 0
    public var featIncompat: UInt64 = 0
    public var generation: UInt64 = 0
    public var parentCRC: UInt32 = 0
    public var state: UInt32 = State.clean.rawValue
    public var fileUUID: [UInt8]
    public var volumeUUID: [UInt8]
    public var binding: [UInt8]
    public var blockSize: UInt32
    public var granuleSize: UInt32
    public var volumeBlocks: UInt64
    public var ringOffset: UInt64
    public var ringLength: UInt64
    public var slotCount: UInt64
    public var zoneCount: UInt32
    public var zoneCopy: UInt32 = 0
    public var zoneCRC: UInt32 = 0
    public var rootCopy: UInt32 = 0
    public var rootOffsets: [UInt64]
    public var rootCapacity: UInt64
    public var rootLength: UInt64
    public var rootCRC: UInt32 = 0
    public var checkpointSeq: UInt32 = 0
    public var checkpointLSN: LSN = 0
    public var tail = RingPoint(position: 0, lsn: 1, prevGroupCRC: 0)
    public var recoveredCRC: UInt32 = 0
    public var session: UInt64 = 0
    public var recoveredLSN: LSN = 0
    public var recoveredPosition: UInt64 = 0
    public var openEpoch: UInt64 = 1
    public var uploadedEpoch: UInt64 = 0
    public var mountToken: UInt64 = 0
    public var conflictCount: UInt64 = 0
    public var creator = ""
    public var mounter = ""
    public var host = ""
    public var bootID = [UInt8](repeating: 0, count: 16)
    public var createdAt: UInt64 = 0
    public var mountedAt: UInt64 = 0

    // MARK: Encoding

    /// The bytes of one copy. CRC and copy index do not enter the CRC, so copies are comparable.
    public func encode(copy: UInt32) -> AlignedBuffer {
        let buffer = AlignedBuffer.zeroed(Self.size)
        let bytes = buffer.mutableBytes
        bytes.setBytes(0, Self.magic)
        bytes.setField(24, formatMajor)
        bytes.setField(26, formatMinor)
        bytes.setField(28, Self.headerLength)
        bytes.setField(32, featCompat)
        bytes.setField(40, featRoCompat)
        bytes.setField(48, featIncompat)
        bytes.setField(56, generation)
        bytes.setField(64, parentCRC)
        bytes.setField(68, state)
        bytes.setBytes(72, fileUUID)
        bytes.setBytes(88, volumeUUID)
        bytes.setBytes(104, binding)
        bytes.setField(136, blockSize)
        bytes.setField(140, granuleSize)
        bytes.setField(144, volumeBlocks)
        bytes.setField(152, ringOffset)
        bytes.setField(160, ringLength)
        bytes.setField(168, slotCount)
        bytes.setField(176, zoneCount)
        bytes.setField(180, zoneCopy)
        bytes.setField(184, zoneCRC)
        bytes.setField(188, rootCopy)
        bytes.setField(192, rootOffsets[0])
        bytes.setField(200, rootOffsets[1])
        bytes.setField(208, rootCapacity)
        bytes.setField(216, rootLength)
        bytes.setField(224, rootCRC)
        bytes.setField(228, checkpointSeq)
        bytes.setField(232, checkpointLSN)
        bytes.setField(240, tail.position)
        bytes.setField(248, tail.lsn)
        bytes.setField(256, tail.prevGroupCRC)
        bytes.setField(260, recoveredCRC)
        bytes.setField(264, session)
        bytes.setField(272, recoveredLSN)
        bytes.setField(280, recoveredPosition)
        bytes.setField(288, openEpoch)
        bytes.setField(296, uploadedEpoch)
        bytes.setField(304, mountToken)
        bytes.setField(312, conflictCount)
        Self.setText(bytes, 320, creator)
        Self.setText(bytes, 384, mounter)
        Self.setText(bytes, 448, host)
        bytes.setBytes(512, bootID)
        bytes.setField(528, createdAt)
        bytes.setField(536, mountedAt)
        bytes.setField(16, Checksum.crc32c(buffer.bytes))
        bytes.setField(20, copy)
        return buffer
    }

    /// The CRC that a copy of this superblock carries.
    public var crc: UInt32 {
        // The buffer must outlive the look into it.
        let buffer = encode(copy: 0)
        return withExtendedLifetime(buffer) { buffer.bytes.field(16) }
    }

    /// At most 63 bytes of text, cut at a character boundary, zero padded.
    private static func setText(
        _ bytes: UnsafeMutableRawBufferPointer, _ offset: Int, _ text: String
    ) {
        var kept = text
        while kept.utf8.count > 63 { kept.removeLast() }
        bytes.setBytes(offset, Array(kept.utf8))
    }

    private static func text(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> String {
        let raw = bytes.copy(offset, 64).prefix { $0 != 0 }
        return String(decoding: raw.map { $0 < 0x20 || $0 == 0x7f ? 0x3f : $0 }, as: UTF8.self)
    }

    /// Whether these bytes begin like a superblock, intact or not.
    public static func hasMagic(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.count >= 16 && bytes.copy(0, 16) == magic
    }

    /// Reads one copy; nil when magic, copy index or CRC are wrong. Values are not judged here.
    public static func decode(_ bytes: UnsafeRawBufferPointer, copy: UInt32) -> Superblock? {
        precondition(bytes.count == size)
        guard hasMagic(bytes), bytes.field(20, UInt32.self) == copy else { return nil }
        let scratch = AlignedBuffer(size)
        scratch.mutableBytes.copyMemory(from: bytes)
        scratch.mutableBytes.setField(16, UInt64(0))
        guard Checksum.crc32c(scratch.bytes) == bytes.field(16, UInt32.self) else { return nil }
        var sb = Superblock(
            fileUUID: bytes.copy(72, 16), volumeUUID: bytes.copy(88, 16),
            binding: bytes.copy(104, 32), blockSize: bytes.field(136),
            granuleSize: bytes.field(140), volumeBlocks: bytes.field(144),
            ringOffset: bytes.field(152), ringLength: bytes.field(160),
            slotCount: bytes.field(168), zoneCount: bytes.field(176),
            rootOffsets: [bytes.field(192), bytes.field(200)], rootCapacity: bytes.field(208),
            rootLength: bytes.field(216))
        sb.formatMajor = bytes.field(24)
        sb.formatMinor = bytes.field(26)
        sb.featCompat = bytes.field(32)
        sb.featRoCompat = bytes.field(40)
        sb.featIncompat = bytes.field(48)
        sb.generation = bytes.field(56)
        sb.parentCRC = bytes.field(64)
        sb.state = bytes.field(68)
        sb.zoneCopy = bytes.field(180)
        sb.zoneCRC = bytes.field(184)
        sb.rootCopy = bytes.field(188)
        sb.rootCRC = bytes.field(224)
        sb.checkpointSeq = bytes.field(228)
        sb.checkpointLSN = bytes.field(232)
        sb.tail = RingPoint(
            position: bytes.field(240), lsn: bytes.field(248), prevGroupCRC: bytes.field(256))
        sb.recoveredCRC = bytes.field(260)
        sb.session = bytes.field(264)
        sb.recoveredLSN = bytes.field(272)
        sb.recoveredPosition = bytes.field(280)
        sb.openEpoch = bytes.field(288)
        sb.uploadedEpoch = bytes.field(296)
        sb.mountToken = bytes.field(304)
        sb.conflictCount = bytes.field(312)
        sb.creator = text(bytes, 320)
        sb.mounter = text(bytes, 384)
        sb.host = text(bytes, 448)
        sb.bootID = bytes.copy(512, 16)
        sb.createdAt = bytes.field(528)
        sb.mountedAt = bytes.field(536)
        return sb
    }

    // MARK: Succession

    /// The next generation: same contents, parent set.
    public func successor() -> Superblock {
        var next = self
        next.generation += 1
        next.parentCRC = crc
        return next
    }

    /// Fields that tell how many slots there are, and where the root is.
    mutating func setGeometry(_ geometry: Geometry) {
        slotCount = UInt64(geometry.slotCount)
        zoneCount = UInt32(geometry.zones.count)
        rootOffsets = geometry.rootOffsets.map { UInt64($0) }
        rootCapacity = UInt64(geometry.rootCapacity)
        rootLength = UInt64(geometry.pageCount * 8)
    }

    /// The two copies that this generation is written to.
    public var copies: [Int] { generation % 2 == 0 ? [0, 1] : [2, 3] }
}

extension Superblock {
    /// Of a file with this geometry.
    package init(
        fileUUID: [UInt8], volumeUUID: [UInt8], binding: [UInt8], geometry: Geometry
    ) {
        self.init(
            fileUUID: fileUUID, volumeUUID: volumeUUID, binding: binding,
            blockSize: UInt32(geometry.blockSize), granuleSize: UInt32(geometry.granuleSize),
            volumeBlocks: geometry.volumeBlocks, ringOffset: UInt64(geometry.ringOffset),
            ringLength: UInt64(geometry.ringLength), slotCount: UInt64(geometry.slotCount),
            zoneCount: UInt32(geometry.zones.count),
            rootOffsets: geometry.rootOffsets.map { UInt64($0) },
            rootCapacity: UInt64(geometry.rootCapacity),
            rootLength: UInt64(geometry.pageCount * 8))
    }
}
