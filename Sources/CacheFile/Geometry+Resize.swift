// A file with more slots, or with fewer. docs/format.md, "Growing and shrinking".

extension Geometry {
    /// How many slots a cache of so many blocks has. One for the whole disk has some more than the
    /// disk has blocks, about 64 MiB of them: blocks that are written anew take another slot, and
    /// then nothing has to give way to them, nor do they wait for flushes that make slots usable
    /// again. And fewer slots than a certain number cannot work.
    public static func slots(
        holding blocks: Int, of volumeBlocks: UInt64, blockSize: Int
    ) -> Int {
        let most = max(64, min(1024, (64 << 20) / blockSize))
        let spare = UInt64(blocks) < volumeBlocks ? 0 : min(most, blocks / 16 + 1)
        return min(max(blocks + spare, slotsMin), slotsMax)
    }

    /// The same file with another number of slots. Slots that both have stay where they are, and
    /// nothing new lies where something is now. Throws `.invalid` for sizes the file cannot have.
    public func resized(to slots: Int) throws(CacheFileError) -> Geometry {
        let kept = try keptZones(slots)
        let count = (slots + slotsPerZone - 1) / slotsPerZone
        let roots = try rootPlaces(kept: kept, pages: count * pagesPerZone)
        return resized(to: slots, kept, roots.offsets, roots.capacity)
    }

    /// The same where it is known which place the root has got.
    func resized(
        to slots: Int, rootOffsets: [Int], rootCapacity: Int
    ) throws(CacheFileError) -> Geometry {
        resized(to: slots, try keptZones(slots), rootOffsets, rootCapacity)
    }

    /// The groups that are there already. The last one is the end of the file, so it grows in place
    /// until it is full.
    private func keptZones(_ slots: Int) throws(CacheFileError) -> [Zone] {
        let most = min(Self.slotsMax, Self.zonesMax * slotsPerZone)
        guard (Self.slotsMin...most).contains(slots) else {
            throw CacheFileError(
                .invalid, "it can hold \(Self.slotsMin) to \(most) blocks, not \(slots)")
        }
        var kept = Array(zones.prefix((slots + slotsPerZone - 1) / slotsPerZone))
        kept[kept.count - 1].slots = min(slotsPerZone, slots - (kept.count - 1) * slotsPerZone)
        return kept
    }

    private func resized(
        to slots: Int, _ kept: [Zone], _ rootOffsets: [Int], _ rootCapacity: Int
    ) -> Geometry {
        var zones = kept
        var next = end(zones)
        if rootOffsets[0] == next { next += 2 * rootCapacity }
        for first in stride(from: zones.count * slotsPerZone, to: slots, by: slotsPerZone) {
            let zone = newZone(at: next, slots: min(slotsPerZone, slots - first))
            zones.append(zone)
            next = end(zones)
        }
        return Geometry(
            blockSize: blockSize, volumeBlocks: volumeBlocks, ringOffset: ringOffset,
            ringLength: ringLength, rootOffsets: rootOffsets, rootCapacity: rootCapacity,
            slotsPerZone: slotsPerZone, zones: zones)
    }

    private func end(_ zones: [Zone]) -> Int {
        zones.reduce(0) { max($0, $1.slotsOffset + $1.slots * blockSize) }
    }

    private func newZone(at offset: Int, slots: Int) -> Zone {
        let hot = hotPagesPerZone * Self.pageSize
        let cold = (pagesPerZone - hotPagesPerZone) * Self.pageSize
        // Tests lay small files out more tightly.
        let alignment = zones[0].slotsOffset % (1 << 20) == 0 ? 1 << 20 : Self.pageSize
        return Zone(
            slotsOffset: LayoutRequest.round(offset + 2 * hot + 2 * cold, alignment), slots: slots,
            hotOffsets: [offset, offset + hot],
            coldOffsets: [offset + 2 * hot, offset + 2 * hot + cold])
    }

    /// Where the roots of so many pages go: where they are, else before the directory of a group
    /// where roots have been before, else behind all groups, before the directory of the next.
    private func rootPlaces(
        kept: [Zone], pages: Int
    ) throws(CacheFileError) -> (offsets: [Int], capacity: Int) {
        let needed = LayoutRequest.round(pages * 8, Self.pageSize)
        let keptEnd = end(kept)
        if needed <= rootCapacity, rootOffsets.allSatisfy({ $0 + rootCapacity <= keptEnd }) {
            return (rootOffsets, rootCapacity)
        }
        var gap = superblockOffset(3) + Self.superblockStride
        for zone in kept {
            let isUsed = rootOffsets.contains { (gap..<zone.hotOffsets[0]).contains($0) }
            if !isUsed, zone.hotOffsets[0] - gap >= 2 * needed {
                return ([gap, gap + needed], needed)
            }
            gap = zone.slotsOffset + zone.slots * blockSize
        }
        // Fewer pages than before have had a place among the groups that are kept.
        guard pages > pageCount else { throw CacheFileError(.invalid, "no place for its root") }
        return ([keptEnd, keptEnd + needed], needed)
    }
}
