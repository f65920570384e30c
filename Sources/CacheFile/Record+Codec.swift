import FileIO
import Journal

extension Record {
    /// Bytes that `encode` will take, without encoding.
    public func encodedSize(_ geometry: Geometry) -> Int {
        let body: Int
        switch self {
        case .data(let data): body = 16 + 4 * data.crcs.count
        case .patch(let patch): body = 16 + 8 * patch.ranges.count + 4
        case .map(let map): body = 32 + geometry.bitmapBytes + 4 * map.crcs.count
        case .clean: body = 32
        case .evict(let evict): body = evict.granules == nil ? 0 : geometry.bitmapBytes
        case .intent: body = IntentRecord.bodyBytes
        case .epoch: body = 0
        case .zero(let zero): body = zero.granules == nil ? 8 : 16
        case .zeroRange: body = 8
        case .cleanRange: body = 32
        }
        return RingFormat.recordHeaderSize + (body + 7) & ~7
    }

    /// Where the data of the record begins in its group; only DATA and PATCH have any.
    package mutating func setDataPosition(_ position: UInt32) {
        switch self {
        case .data(var item):
            item.dataPosition = position
            self = .data(item)
        case .patch(var item):
            item.dataPosition = position
            self = .patch(item)
        case .map, .clean, .evict, .intent, .epoch, .zero, .zeroRange, .cleanRange: break
        }
    }

    /// The record as it goes into the journal.
    public func encode(_ geometry: Geometry) -> RawRecord {
        switch self {
        case .data(let data):
            var body = ByteWriter()
            body.put(UInt16(data.firstGranule))
            body.put(UInt16(data.crcs.count))
            body.put(data.dataPosition)
            body.put(UInt32(data.crcs.count * geometry.granuleSize))
            body.put(UInt32(0))
            for crc in data.crcs { body.put(crc) }
            return RawRecord(
                type: TypeCode.data.rawValue, flags: data.isMerge ? DataRecord.mergeFlag : 0,
                slot: data.slot, block: data.block, aux: 0, body: body.padded)
        case .patch(let patch): return encode(patch)
        case .map(let map):
            var body = ByteWriter()
            body.put(map.oldSlot)
            body.put(UInt32(map.base.kind.rawValue))
            body.put(map.base.bytes)
            body.put(map.granules, words: geometry.bitmapBytes / 8)
            for crc in map.crcs { body.put(crc) }
            return RawRecord(
                type: TypeCode.map.rawValue, flags: map.flags.rawValue, slot: map.slot,
                block: map.block, aux: 0, body: body.padded)
        case .clean(let clean):
            var body = ByteWriter()
            body.put(UInt64(clean.base.kind.rawValue))
            body.put(clean.base.bytes)
            return RawRecord(
                type: TypeCode.clean.rawValue, flags: clean.kind.rawValue, slot: clean.slot,
                block: clean.block, aux: clean.asOf, body: body.padded)
        case .evict(let evict):
            var body = ByteWriter()
            if let granules = evict.granules {
                body.put(granules, words: geometry.bitmapBytes / 8)
            }
            return RawRecord(
                type: TypeCode.evict.rawValue, flags: evict.granules == nil ? 0 : 1,
                slot: evict.slot, block: evict.block, aux: 0, body: body.padded)
        case .intent(let intent): return intent.encode()
        case .epoch(let epoch):
            return RawRecord(
                type: TypeCode.epoch.rawValue, slot: Self.noSlot, block: 0, aux: epoch)
        case .zero(let zero): return zero.encode()
        case .zeroRange(let zero): return zero.encode()
        case .cleanRange(let clean): return clean.encode()
        }
    }

    private func encode(_ patch: PatchRecord) -> RawRecord {
        var body = ByteWriter()
        body.put(UInt16(patch.granule))
        body.put(UInt16(1))
        body.put(patch.dataPosition)
        body.put(UInt32(patch.payloadBytes))
        body.put(UInt32(patch.ranges.count))
        for range in patch.ranges {
            body.put(UInt32(range.lowerBound))
            body.put(UInt32(range.count))
        }
        body.put(patch.crc)
        let carried = patch.carriedLSN != 0 ? PatchRecord.carriedFlag : 0
        return RawRecord(
            type: TypeCode.data.rawValue, flags: PatchRecord.patchFlag | carried, slot: patch.slot,
            block: patch.block, aux: patch.carriedLSN, body: body.padded)
    }

    /// Decodes and checks a record against the geometry; nil for anything that is not exactly as
    /// `encode` makes it. Never reads outside `raw`.
    public static func decode(_ raw: RawRecord, _ geometry: Geometry) -> Record? {
        guard let type = TypeCode(rawValue: raw.type) else { return nil }
        if isOfRange(raw, type) {
            guard raw.slot == noSlot else { return nil }
        } else if type != .epoch {
            // The file may have had more slots when this was written.
            guard raw.slot < UInt32(Geometry.slotsMax) else { return nil }
            guard raw.block < geometry.volumeBlocks else { return nil }
        }
        return raw.body.withUnsafeBytes { body -> Record? in
            switch type {
            case .data: decodeData(raw, body, geometry)
            case .map: decodeMap(raw, body, geometry)
            case .zero: ZeroRecord.decode(raw, body, geometry)
            case .clean where raw.flags == CleanRangeRecord.rangeFlag:
                CleanRangeRecord.decode(raw, body, geometry)
            case .clean: decodeClean(raw, body)
            case .evict: decodeEvict(raw, body, geometry)
            case .intent: IntentRecord(raw, body).map { .intent($0) }
            case .epoch:
                raw.flags == 0 && raw.slot == noSlot && body.isEmpty ? .epoch(raw.aux) : nil
            }
        }
    }

    /// Whether the record names blocks that are in no slot.
    private static func isOfRange(_ raw: RawRecord, _ type: TypeCode) -> Bool {
        type == .zero && raw.flags & ZeroRangeRecord.rangeFlag != 0
            || type == .clean && raw.flags == CleanRangeRecord.rangeFlag
    }

    private static func decodeData(
        _ raw: RawRecord, _ body: UnsafeRawBufferPointer, _ geometry: Geometry
    ) -> Record? {
        if raw.flags & ZeroRecord.dataFlag != 0 {
            return ZeroRecord.decodeData(raw, body, geometry)
        }
        if raw.flags & PatchRecord.patchFlag != 0 { return decodePatch(raw, body, geometry) }
        guard raw.flags & ~DataRecord.mergeFlag == 0, raw.aux == 0, body.count >= 16 else {
            return nil
        }
        let first = Int(body.field(0, UInt16.self))
        let count = Int(body.field(2, UInt16.self))
        guard count >= 1, first + count <= geometry.granulesPerBlock else { return nil }
        guard Int(body.field(8, UInt32.self)) == count * geometry.granuleSize else { return nil }
        guard body.field(12, UInt32.self) == 0 else { return nil }
        guard let crcs = readCRCs(body, at: 16, count: count) else { return nil }
        return .data(
            DataRecord(
                slot: raw.slot, block: raw.block, firstGranule: first, crcs: crcs,
                dataPosition: body.field(4), isMerge: raw.flags != 0))
    }

    private static func decodePatch(
        _ raw: RawRecord, _ body: UnsafeRawBufferPointer, _ geometry: Geometry
    ) -> Record? {
        let isCarried = raw.flags == PatchRecord.patchFlag | PatchRecord.carriedFlag
        guard isCarried || raw.flags == PatchRecord.patchFlag, isCarried == (raw.aux != 0),
            body.count >= 16
        else { return nil }
        let granule = Int(body.field(0, UInt16.self))
        guard granule < geometry.granulesPerBlock, body.field(2, UInt16.self) == 1 else {
            return nil
        }
        let count = Int(body.field(12, UInt32.self))
        let end = 16 + 8 * count + 4
        guard count >= 1, count <= geometry.granuleSize, body.count == (end + 7) & ~7,
            body[end...].allSatisfy({ $0 == 0 })
        else { return nil }
        var ranges: [Range<Int>] = []
        var last = -1
        for index in 0..<count {
            let offset = Int(body.field(16 + 8 * index, UInt32.self))
            let length = Int(body.field(20 + 8 * index, UInt32.self))
            guard offset > last, length >= 1, offset + length <= geometry.granuleSize else {
                return nil
            }
            ranges.append(offset..<offset + length)
            last = offset + length
        }
        let patch = PatchRecord(
            slot: raw.slot, block: raw.block, granule: granule, ranges: ranges,
            crc: body.field(end - 4), dataPosition: body.field(4), carriedLSN: raw.aux)
        return Int(body.field(8, UInt32.self)) == patch.payloadBytes ? .patch(patch) : nil
    }

    private static func decodeMap(
        _ raw: RawRecord, _ body: UnsafeRawBufferPointer, _ geometry: Geometry
    ) -> Record? {
        let flags = MapRecord.Flags(rawValue: raw.flags)
        guard MapRecord.Flags.known.isSuperset(of: flags), raw.aux == 0 else { return nil }
        let bitmapAt = 32
        guard body.count >= bitmapAt + geometry.bitmapBytes else { return nil }
        guard let base = readBase(body, kindAt: 4, kindBytes: 4, at: 8) else { return nil }
        guard let granules = readGranules(body, at: bitmapAt, geometry) else { return nil }
        let crcs = readCRCs(body, at: bitmapAt + geometry.bitmapBytes, count: granules.count)
        guard let crcs else { return nil }
        let oldSlot: UInt32 = body.field(0)
        guard oldSlot == noSlot || oldSlot < UInt32(Geometry.slotsMax) else { return nil }
        guard oldSlot == noSlot || !flags.contains(.extend) else { return nil }
        if flags.contains(.move) {
            guard flags == .move, oldSlot != noSlot, base == .unknown else { return nil }
        }
        return .map(
            MapRecord(
                slot: raw.slot, block: raw.block, flags: flags, oldSlot: oldSlot, base: base,
                granules: granules, crcs: crcs))
    }

    private static func decodeClean(_ raw: RawRecord, _ body: UnsafeRawBufferPointer) -> Record? {
        guard let kind = CleanRecord.Kind(rawValue: raw.flags), body.count == 32,
            let base = readBase(body, kindAt: 0, kindBytes: 8, at: 8)
        else { return nil }
        if kind == .stored {
            return .clean(CleanRecord(slot: raw.slot, block: raw.block, asOf: raw.aux, base: base))
        }
        guard raw.aux == 0, base == .unknown else { return nil }
        return .clean(CleanRecord(slot: raw.slot, block: raw.block, kind))
    }

    private static func decodeEvict(
        _ raw: RawRecord, _ body: UnsafeRawBufferPointer, _ geometry: Geometry
    ) -> Record? {
        guard raw.aux == 0 else { return nil }
        if raw.flags == 0 {
            guard body.isEmpty else { return nil }
            return .evict(EvictRecord(slot: raw.slot, block: raw.block))
        }
        guard raw.flags == 1, body.count == geometry.bitmapBytes else { return nil }
        guard let granules = readGranules(body, at: 0, geometry) else { return nil }
        return .evict(EvictRecord(slot: raw.slot, block: raw.block, granules: granules))
    }

    // MARK: Parts

    private static func readCRCs(
        _ body: UnsafeRawBufferPointer, at offset: Int, count: Int
    ) -> [UInt32]? {
        let end = offset + 4 * count
        guard body.count == (end + 7) & ~7 else { return nil }
        guard body[end...].allSatisfy({ $0 == 0 }) else { return nil }
        return (0..<count).map { body.field(offset + 4 * $0) }
    }

    static func readBase(
        _ body: UnsafeRawBufferPointer, kindAt: Int, kindBytes: Int, at offset: Int
    ) -> Base? {
        guard let kind = Base.Kind(rawValue: body.field(kindAt)) else { return nil }
        guard body[kindAt + 1..<kindAt + kindBytes].allSatisfy({ $0 == 0 }) else { return nil }
        return Base(kind, body.copy(offset, 24))
    }

    private static func readGranules(
        _ body: UnsafeRawBufferPointer, at offset: Int, _ geometry: Geometry
    ) -> GranuleSet? {
        var granules = GranuleSet()
        for word in 0..<geometry.bitmapBytes / 8 {
            granules[word: word] = body.field(offset + 8 * word)
        }
        let all = GranuleSet.all(geometry.granulesPerBlock)
        return all.isSuperset(of: granules) ? granules : nil
    }
}

/// Gathers little-endian fields.
struct ByteWriter {
    private var bytes: [UInt8] = []

    mutating func put<Value: FixedWidthInteger>(_ value: Value) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func put(_ more: [UInt8]) { bytes.append(contentsOf: more) }

    mutating func put(_ granules: GranuleSet, words: Int) {
        for word in 0..<words { put(granules[word: word]) }
    }

    var padded: [UInt8] { bytes + [UInt8](repeating: 0, count: -bytes.count & 7) }
}
