// Records of trims. docs/format.md, "Records".

import FileIO
import Journal

/// ZERO of a block in a slot (type 3): 24 zero u64. Or of whole granules of it (type 1 with the
/// flag ZERO): the body of DATA, with dataPosition and dataLength 0, and no checksums.
public struct ZeroRecord: Sendable, Equatable {
    static let dataFlag: UInt8 = 2

    public var slot: UInt32
    public var block: UInt64
    /// nil: all of the block, type 3.
    public var granules: Range<Int>?

    public init(slot: UInt32, block: UInt64, granules: Range<Int>? = nil) {
        self.slot = slot
        self.block = block
        self.granules = granules
    }
}

/// ZERO with RANGE (type 3): those of these blocks that are in no slot are zeros. aux = count,
/// 24 original LSN u64, 0 unless CARRIED.
public struct ZeroRangeRecord: Sendable, Equatable {
    static let rangeFlag: UInt8 = 1
    static let carriedFlag: UInt8 = 8

    public var blocks: Range<UInt64>
    /// CARRIED: logged again to let the tail move; the LSN of the last trim it stands for. 0: new.
    public var carriedLSN: LSN

    public init(blocks: Range<UInt64>, carriedLSN: LSN = 0) {
        self.blocks = blocks
        self.carriedLSN = carriedLSN
    }
}

/// CLEAN with RANGE (type 4): the store has none of these blocks, as far as they lie in zero extents
/// of at most this LSN. The body of CLEAN, with kind ABSENT and in the base the count u64.
public struct CleanRangeRecord: Sendable, Equatable {
    static let rangeFlag: UInt8 = 2

    public var blocks: Range<UInt64>
    public var asOf: LSN

    public init(blocks: Range<UInt64>, asOf: LSN) {
        self.blocks = blocks
        self.asOf = asOf
    }
}

extension ZeroRecord {
    func encode() -> RawRecord {
        guard let granules else {
            return RawRecord(
                type: Record.TypeCode.zero.rawValue, slot: slot, block: block, aux: 0,
                body: [UInt8](repeating: 0, count: 8))
        }
        var body = [UInt8](repeating: 0, count: 16)
        body.withUnsafeMutableBytes {
            $0.setField(0, UInt16(granules.lowerBound))
            $0.setField(2, UInt16(granules.count))
        }
        return RawRecord(
            type: Record.TypeCode.data.rawValue, flags: Self.dataFlag, slot: slot, block: block,
            aux: 0, body: body)
    }

    /// Of a record of type DATA with the flag ZERO.
    static func decodeData(
        _ raw: RawRecord, _ body: UnsafeRawBufferPointer, _ geometry: Geometry
    ) -> Record? {
        guard raw.flags == dataFlag, raw.aux == 0, body.count == 16 else { return nil }
        let first = Int(body.field(0, UInt16.self))
        let count = Int(body.field(2, UInt16.self))
        guard count >= 1, first + count <= geometry.granulesPerBlock,
            body[4...].allSatisfy({ $0 == 0 })
        else { return nil }
        return .zero(ZeroRecord(slot: raw.slot, block: raw.block, granules: first..<first + count))
    }

    /// Of a record of type ZERO.
    static func decode(
        _ raw: RawRecord, _ body: UnsafeRawBufferPointer, _ geometry: Geometry
    ) -> Record? {
        guard body.count == 8 else { return nil }
        let original: LSN = body.field(0)
        if raw.flags == 0 {
            guard raw.aux == 0, original == 0 else { return nil }
            return .zero(ZeroRecord(slot: raw.slot, block: raw.block))
        }
        let isCarried = raw.flags == ZeroRangeRecord.rangeFlag | ZeroRangeRecord.carriedFlag
        guard isCarried || raw.flags == ZeroRangeRecord.rangeFlag, isCarried == (original != 0),
            let blocks = blocks(raw.block, raw.aux, geometry)
        else { return nil }
        return .zeroRange(ZeroRangeRecord(blocks: blocks, carriedLSN: original))
    }

    /// At least one block, and none beyond the volume.
    static func blocks(
        _ first: UInt64, _ count: UInt64, _ geometry: Geometry
    ) -> Range<UInt64>? {
        guard count >= 1, first < geometry.volumeBlocks, count <= geometry.volumeBlocks - first
        else { return nil }
        return first..<first + count
    }
}

extension ZeroRangeRecord {
    func encode() -> RawRecord {
        var body = [UInt8](repeating: 0, count: 8)
        body.withUnsafeMutableBytes { $0.setField(0, carriedLSN) }
        return RawRecord(
            type: Record.TypeCode.zero.rawValue,
            flags: Self.rangeFlag | (carriedLSN == 0 ? 0 : Self.carriedFlag), slot: Record.noSlot,
            block: blocks.lowerBound, aux: UInt64(blocks.count), body: body)
    }
}

extension CleanRangeRecord {
    func encode() -> RawRecord {
        var body = [UInt8](repeating: 0, count: 32)
        body.withUnsafeMutableBytes {
            $0.setField(0, Base.Kind.absent.rawValue)
            $0.setField(8, UInt64(blocks.count))
        }
        return RawRecord(
            type: Record.TypeCode.clean.rawValue, flags: Self.rangeFlag, slot: Record.noSlot,
            block: blocks.lowerBound, aux: asOf, body: body)
    }

    static func decode(
        _ raw: RawRecord, _ body: UnsafeRawBufferPointer, _ geometry: Geometry
    ) -> Record? {
        guard body.count == 32, body.field(0, UInt64.self) == UInt64(Base.Kind.absent.rawValue),
            let blocks = ZeroRecord.blocks(raw.block, body.field(8), geometry),
            body[16...].allSatisfy({ $0 == 0 })
        else { return nil }
        return .cleanRange(CleanRangeRecord(blocks: blocks, asOf: raw.aux))
    }
}

extension CacheState {
    /// Applies a ZERO of a block, or of granules of it, to overlays and patches.
    func putZeros(_ zero: ZeroRecord, lsn: LSN, group: JournalGroup) {
        guard let granules = zero.granules else {
            removeOverlays(zero.block, .all(geometry.granulesPerBlock))
            return removePatches(zero.block, .all(geometry.granulesPerBlock))
        }
        removePatches(zero.block, GranuleSet(granules))
        putOverlays(zero.block, granules, group: group) { granule, _ in
            Overlay(granule: granule, lsn: lsn, zerosIn: group)
        }
    }

    /// Applies a ZERO of a whole block to its entry. What the slot holds is superseded (R4).
    func clearBlock(_ slot: Int, lsn: LSN) {
        slots.setValid(slot, GranuleSet())
        slots.setZeroBase(slot, true)
        reuseLSNs[slot] = lsn
    }

    func putZeroRange(_ zero: ZeroRangeRecord, lsn: LSN, position: UInt64) {
        if zero.carriedLSN == 0 {
            zeros.add(zero.blocks, lsn: lsn, position: position)
        } else {
            zeros.carry(zero.blocks, lsn: zero.carriedLSN, position: position)
        }
    }
}
