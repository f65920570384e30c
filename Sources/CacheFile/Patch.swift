import FileIO
import Journal

/// What the user has written of a granule whose rest is not held locally: byte ranges over nothing.
///
/// A value: merging makes a new one, so whoever reads the buffer never sees it change.
public struct Patch {
    public let granule: Int
    /// Ascending, apart from each other.
    public let ranges: [Range<Int>]
    /// `granuleSize` bytes, of which only the ranges mean anything.
    public let buffer: AlignedBuffer
    /// Last record that contributed.
    public let lsn: LSN
    /// Ring position of the oldest group that replay needs for it.
    public let position: UInt64

    public var payloadBytes: Int { ranges.reduce(0) { $0 + $1.count } }

    /// Whether the ranges cover the granule; then it is no patch any more.
    public func isWhole(_ granuleSize: Int) -> Bool { ranges == [0..<granuleSize] }

    /// The ranges' bytes one after the other, padded to whole ring blocks.
    public func payload() -> AlignedBuffer {
        let padded = (payloadBytes + RingFormat.blockSize - 1) & ~(RingFormat.blockSize - 1)
        let target = AlignedBuffer.zeroed(padded)
        var at = 0
        for range in ranges {
            target.mutableSlice(at..<at + range.count).copyMemory(from: buffer.slice(range))
            at += range.count
        }
        return target
    }

    /// The record that logs it again, and its data.
    package func carried(
        of block: UInt64, in slot: Int, _ geometry: Geometry, _ seeds: SeedSpace
    ) -> (record: PatchRecord, payload: AlignedBuffer) {
        let payload = payload()
        var record = PatchRecord(
            slot: UInt32(slot), block: block, granule: granule, ranges: ranges, crc: 0,
            carriedLSN: lsn)
        record.crc = withExtendedLifetime(payload) {
            record.checksum(payload.slice(0..<payloadBytes), geometry, seeds)
        }
        return (record, payload)
    }

    /// Lays the ranges over the old content of the granule.
    public func apply(over target: UnsafeMutableRawBufferPointer) {
        for range in ranges {
            UnsafeMutableRawBufferPointer(rebasing: target[range])
                .copyMemory(from: buffer.slice(range))
        }
    }

    /// The patch that `older` and then this one make.
    func over(_ older: Patch, granuleSize: Int) -> Patch {
        let merged = AlignedBuffer(granuleSize)
        older.apply(over: merged.mutableBytes)
        apply(over: merged.mutableBytes)
        return Patch(
            granule: granule, ranges: Self.union(older.ranges + ranges), buffer: merged, lsn: lsn,
            position: older.position)
    }

    package static func union(_ ranges: [Range<Int>]) -> [Range<Int>] {
        var result: [Range<Int>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = result.last, range.lowerBound <= last.upperBound {
                let end = max(last.upperBound, range.upperBound)
                result[result.count - 1] = last.lowerBound..<end
            } else {
                result.append(range)
            }
        }
        return result
    }
}

extension CacheState {
    /// The patch of a granule, if part of it was written while the rest was not here.
    public func patch(_ block: UInt64, _ granule: Int) -> Patch? {
        patches[block]?.first { $0.granule == granule }
    }

    public func patched(_ block: UInt64) -> [Patch] { patches[block] ?? [] }

    /// Patches whose records begin before `position`: to be carried before the tail can pass them.
    public func patches(before position: UInt64) -> [(block: UInt64, patch: Patch)] {
        patches.flatMap { block, items in
            items.filter { $0.position < position }.map { (block, $0) }
        }.sorted { ($0.1.position, $0.0, $0.1.granule) < ($1.1.position, $1.0, $1.1.granule) }
    }

    public var oldestPatchPosition: UInt64? {
        patches.values.lazy.flatMap { $0 }.map(\.position).min()
    }

    func putPatch(
        _ record: PatchRecord, payload: UnsafeRawBufferPointer, lsn: LSN, position: UInt64
    ) {
        let buffer = AlignedBuffer(geometry.granuleSize)
        var at = 0
        for range in record.ranges {
            buffer.mutableSlice(range).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: payload[at..<at + range.count]))
            at += range.count
        }
        let fresh = Patch(
            granule: record.granule, ranges: record.ranges, buffer: buffer,
            lsn: record.carriedLSN == 0 ? lsn : record.carriedLSN, position: position)
        let older = record.carriedLSN == 0 ? patch(record.block, record.granule) : nil
        removePatches(record.block, GranuleSet(record.granule..<record.granule + 1))
        let merged = older.map { fresh.over($0, granuleSize: geometry.granuleSize) } ?? fresh
        patches[record.block, default: []].append(merged)
        patchCount += 1
    }

    func removePatches(_ block: UInt64, _ granules: GranuleSet, upTo lsn: LSN = .max) {
        guard var items = patches[block] else { return }
        let before = items.count
        items.removeAll { granules.contains($0.granule) && $0.lsn <= lsn }
        patchCount -= before - items.count
        patches[block] = items.isEmpty ? nil : items
    }
}

extension PatchRecord {
    /// The checksum of a payload for this place.
    package func checksum(
        _ payload: UnsafeRawBufferPointer, _ geometry: Geometry, _ seeds: SeedSpace
    ) -> UInt32 {
        let index = geometry.granuleSeedIndex(block: block, granule: granule)
        return Checksum.crc32c(payload, seed: seeds.seed(.patch, index))
    }
}
