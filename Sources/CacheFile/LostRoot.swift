// The table of directory pages of a file without superblocks.

import FileIO
import Journal

/// A root found by the pages that it names.
struct LostRoot {
    let table: RootTable
    /// The pages that it names.
    private let slots: SlotTable
    /// nil: no checkpoint has written one.
    let offset: Int?
    /// Where the area before the root's group begins; nil: that is the first group, with the ring in
    /// front of it.
    private let gap: Int?

    var generation: UInt32 { Self.generation(table) }

    private static func generation(_ table: RootTable) -> UInt32 {
        table.entries.reduce(0) { max($0, $1.generation) }
    }

    /// Bytes of one copy.
    private var size: Int { table.entries.count * RootTable.entrySize }

    /// What each copy needs of the file.
    private var needed: Int { LayoutRequest.round(size, Geometry.pageSize) }

    /// The newest table anywhere before a group all of whose entries name pages that are there: of a
    /// checkpoint that was cut short all has been written, or it is not taken.
    static func find(
        _ layout: Geometry, _ seeds: SeedSpace, _ reader: WindowedReader
    ) throws(CacheFileError) -> LostRoot? {
        let bytes = layout.pageCount * RootTable.entrySize
        let buffer = AlignedBuffer(bytes)
        var newest: LostRoot?
        var gap = ZoneTable.offset(copy: 2)
        for (number, zone) in layout.zones.enumerated() {
            for offset in stride(from: gap, through: zone.hotOffsets[0] - bytes, by: 4096) {
                guard let begin = reader.page(at: offset), begins(begin, layout, reader) else {
                    continue
                }
                try io { () throws(FileError) in
                    try reader.read(into: buffer.mutableBytes, at: offset)
                }
                let table = withExtendedLifetime(buffer) { RootTable(buffer.bytes) }
                guard newest.map({ $0.generation < generation(table) }) ?? true,
                    let slots = pages(table, layout, seeds, reader)
                else { continue }
                newest = LostRoot(
                    table: table, slots: slots, offset: offset, gap: number == 0 ? nil : gap)
            }
            gap = zone.slotsOffset + zone.slots * layout.blockSize
        }
        if newest == nil, !hasPages(layout, reader) {
            return LostRoot(
                table: RootTable(pageCount: layout.pageCount),
                slots: SlotTable(geometry: layout, seeds: seeds), offset: nil, gap: nil)
        }
        return newest
    }

    /// Whether any page was ever written.
    private static func hasPages(_ layout: Geometry, _ reader: WindowedReader) -> Bool {
        (0..<layout.pageCount).contains { number in
            guard layout.isUsed(number) else { return false }
            return (0...1).contains { copy in
                guard let page = reader.page(at: layout.pageOffset(number, copy: copy)) else {
                    return true
                }
                return withExtendedLifetime(page) { !page.bytes.isAllZero }
            }
        }
    }

    /// Whether the first entry of a written page is that of a copy of the page.
    private static func begins(
        _ bytes: AlignedBuffer, _ layout: Geometry, _ reader: WindowedReader
    ) -> Bool {
        let table = withExtendedLifetime(bytes) { RootTable(bytes.bytes) }
        guard let page = table.entries.firstIndex(where: \.isWritten), page < layout.pageCount,
            layout.isUsed(page)
        else { return false }
        let entry = table.entries[page]
        guard let found = reader.page(at: layout.pageOffset(page, copy: entry.copy)) else {
            return false
        }
        return withExtendedLifetime(found) {
            found.bytes.field(24) == entry.generation && found.bytes.field(28) == entry.crc
        }
    }

    /// nil: not every page is there.
    private static func pages(
        _ root: RootTable, _ layout: Geometry, _ seeds: SeedSpace, _ reader: WindowedReader
    ) -> SlotTable? {
        let slots = SlotTable(geometry: layout, seeds: seeds)
        let isWhole = root.entries.indices.allSatisfy { page in
            let entry = root.entries[page]
            guard entry.isWritten else { return true }
            guard layout.isUsed(page) else { return false }
            let offset = layout.pageOffset(page, copy: entry.copy)
            do throws(FileError) {
                return try slots.adopt(page, crc: entry.crc, generation: entry.generation) {
                    target throws(FileError) in try reader.read(into: target, at: offset)
                }
            } catch {
                return false
            }
        }
        return isWhole ? slots : nil
    }

    /// Whether slots have the bytes that the pages say; with another block size they are elsewhere, but
    /// for the first one of a group.
    func fitsSlots(_ layout: Geometry, _ seeds: SeedSpace, _ reader: WindowedReader) -> Bool {
        let size = layout.granuleSize
        let buffer = AlignedBuffer(size)
        var (looked, right) = (0, 0)
        for slot in 0..<layout.slotCount where slot % layout.slotsPerZone > 0 && looked < 64 {
            guard !slots.isFree(slot), let granule = slots.valid(slot).runs.first?.lowerBound,
                granule < layout.granulesPerBlock
            else { continue }
            looked += 1
            let offset = layout.slotOffset(slot) + granule * size
            do throws(FileError) {
                try reader.read(into: buffer.mutableBytes, at: offset)
            } catch { continue }
            let index = layout.granuleSeedIndex(block: slots.block(slot), granule: granule)
            let crc = withExtendedLifetime(buffer) {
                Checksum.crc32c(buffer.bytes, seed: seeds.seed(.granule, index))
            }
            if crc == slots.crc(slot, granule) { right += 1 }
        }
        return 2 * right >= looked
    }

    // MARK: Place

    /// Places of both copies, one of them here. The other copy may have been elsewhere in the same area.
    func places(ringEnd: Int) -> (offsets: [Int], capacity: Int) {
        let start = gap ?? ringEnd + 2 * Geometry.superblockStride
        let distance = (offset ?? start) - start
        let capacity = distance == 0 ? needed : distance
        return ([start, start + capacity], capacity)
    }

    /// Whether the root can lie where it does if the area in front of the first group has room for
    /// two of `capacity` behind the ring.
    func fits(areaStart: Int, capacity: Int) -> Bool {
        guard let offset else { return capacity == needed }
        return gap != nil || [areaStart, areaStart + capacity, areaStart + needed].contains(offset)
    }
}
