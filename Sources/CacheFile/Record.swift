// The records of the journal. The common head is in Journal/GroupFormat.swift; offsets below are
// from the start of the record. docs/format.md, "Records".

import FileIO
import Journal

/// Identity of the S3 object a block derives from: kind and 24 bytes, as in a hot entry.
public struct Base: Sendable, Equatable, Hashable {
    public enum Kind: UInt8, Sendable {
        /// Never read or listed.
        case unknown = 0
        /// There is no object.
        case absent = 1
        /// 16 bytes; the entity tag is their lower-case hex.
        case md5 = 2
        /// 16 bytes and u32 number of parts.
        case multipart = 3
        /// The text itself, up to 24 bytes.
        case text = 4
        /// First 24 bytes of the SHA-256 of a longer text.
        case hashed = 5
    }

    public var kind: Kind
    /// Always 24.
    public var bytes: [UInt8]

    public init(_ kind: Kind, _ bytes: [UInt8] = []) {
        precondition(bytes.count <= 24)
        self.kind = kind
        self.bytes = bytes + [UInt8](repeating: 0, count: 24 - bytes.count)
    }

    public static let unknown = Base(.unknown)
    public static let absent = Base(.absent)
}

/// One record, decoded.
public enum Record: Sendable, Equatable {
    case data(DataRecord)
    case patch(PatchRecord)
    case map(MapRecord)
    case clean(CleanRecord)
    case evict(EvictRecord)
    case intent(IntentRecord)
    case epoch(UInt64)
    case zero(ZeroRecord)
    case zeroRange(ZeroRangeRecord)
    case cleanRange(CleanRangeRecord)

    public static let noSlot = UInt32.max

    package enum TypeCode: UInt8 {
        case data = 1
        case map = 2
        case zero = 3
        case clean = 4
        case evict = 5
        case intent = 6
        case epoch = 7
    }
}

/// DATA: full images of neighbouring granules in the journal; destaged later.
/// 24 firstGranule u16, 26 granuleCount u16, 28 dataPos u32 (4 KiB units), 32 dataLen u32,
/// 36 rangeCount u16 = 0, 38 zero, 40 crc u32 each.
public struct DataRecord: Sendable, Equatable {
    public var slot: UInt32
    public var block: UInt64
    public var firstGranule: Int
    public var crcs: [UInt32]
    public var dataPosition: UInt32
    /// MERGE: the content is what patches and the store had already said; the user wrote nothing.
    public var isMerge: Bool
    public var granules: Range<Int> { firstGranule..<firstGranule + crcs.count }

    static let mergeFlag: UInt8 = 4

    public init(
        slot: UInt32, block: UInt64, firstGranule: Int, crcs: [UInt32], dataPosition: UInt32,
        isMerge: Bool = false
    ) {
        self.isMerge = isMerge
        self.slot = slot
        self.block = block
        self.firstGranule = firstGranule
        self.crcs = crcs
        self.dataPosition = dataPosition
    }
}

/// DATA+PATCH: bytes of one granule of which the rest is not held locally; stays in the journal
/// until it can be merged. The payload is the ranges' bytes one after the other, padded with zeros.
/// 24 granule u16, 26 one u16, 28 dataPos u32 (4 KiB units), 32 payload bytes u32,
/// 36 rangeCount u16, 38 zero, 40 {offset u32, length u32} each, then crc u32 of the payload.
public struct PatchRecord: Sendable, Equatable {
    static let patchFlag: UInt8 = 1
    static let carriedFlag: UInt8 = 8

    public var slot: UInt32
    public var block: UInt64
    public var granule: Int
    /// Ascending, apart from each other, within the granule.
    public var ranges: [Range<Int>]
    public var crc: UInt32
    public var dataPosition: UInt32
    /// CARRIED: logged again to let the tail move; the LSN of the last patch it stands for.
    /// Replaces what is known of the granule's patches and changes nothing else. 0: a new patch.
    public var carriedLSN: LSN

    public var payloadBytes: Int { ranges.reduce(0) { $0 + $1.count } }

    public init(
        slot: UInt32, block: UInt64, granule: Int, ranges: [Range<Int>], crc: UInt32,
        dataPosition: UInt32 = 0, carriedLSN: LSN = 0
    ) {
        self.slot = slot
        self.block = block
        self.granule = granule
        self.ranges = ranges
        self.crc = crc
        self.dataPosition = dataPosition
        self.carriedLSN = carriedLSN
    }
}

/// MAP: a block is in a slot and these granules of it are valid there.
/// 24 oldSlot u32, 28 baseKind u8, 29 zero, 32 base 24 bytes, 56 bitmap, then crc u32 per set bit.
public struct MapRecord: Sendable, Equatable {
    public struct Flags: OptionSet, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Adds granules to the entry that is there.
        public static let extend = Flags(rawValue: 1)
        /// The content came from S3.
        public static let fill = Flags(rawValue: 2)
        /// The block moves as it is, with all that the journal knows of it.
        public static let move = Flags(rawValue: 4)
        /// Granules not valid are zeros.
        public static let zeroBase = Flags(rawValue: 16)
        /// The base of the entry stays.
        public static let keepBase = Flags(rawValue: 32)
        package static let known: Flags = [.extend, .fill, .move, .zeroBase, .keepBase]
    }

    public var slot: UInt32
    public var block: UInt64
    public var flags: Flags
    public var oldSlot: UInt32
    public var base: Base
    public var granules: GranuleSet
    /// One for each granule in the set, ascending.
    public var crcs: [UInt32]

    public init(
        slot: UInt32, block: UInt64, flags: Flags, oldSlot: UInt32 = Record.noSlot,
        base: Base = .unknown, granules: GranuleSet, crcs: [UInt32]
    ) {
        precondition(granules.count == crcs.count)
        self.slot = slot
        self.block = block
        self.flags = flags
        self.oldSlot = oldSlot
        self.base = base
        self.granules = granules
        self.crcs = crcs
    }
}

/// CLEAN: the content as of `asOf` is in S3 under this identity. 24 kind u8, 25 zero, 32 24 bytes.
public struct CleanRecord: Sendable, Equatable {
    public enum Kind: UInt8, Sendable {
        /// What the name says. With `asOf` 0: keep the local content, which now derives from the
        /// object named; a conflict becomes dirty.
        case stored = 0
        /// CONFLICT: somebody else has changed the object that local writes derive from.
        case conflict = 1
        /// REMOTE: the local content is given up for what the store has.
        case remote = 4
    }

    public var slot: UInt32
    public var block: UInt64
    public var asOf: LSN
    public var base: Base
    public var kind: Kind

    public init(slot: UInt32, block: UInt64, asOf: LSN, base: Base) {
        self.slot = slot
        self.block = block
        self.asOf = asOf
        self.base = base
        kind = .stored
    }

    /// CONFLICT or REMOTE, which say nothing of a base.
    public init(slot: UInt32, block: UInt64, _ kind: Kind) {
        precondition(kind != .stored)
        self.init(slot: slot, block: block, asOf: 0, base: .unknown)
        self.kind = kind
    }
}

/// EVICT: the slot is free again or, with a bitmap at 24, these granules are no longer valid.
public struct EvictRecord: Sendable, Equatable {
    public var slot: UInt32
    public var block: UInt64
    public var granules: GranuleSet?

    public init(slot: UInt32, block: UInt64, granules: GranuleSet? = nil) {
        self.slot = slot
        self.block = block
        self.granules = granules
    }
}
