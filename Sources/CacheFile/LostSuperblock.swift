// A superblock for a file of which no copy is left, from what the tables and the journal say of
// themselves. Only for a repair that goes on past everything. docs/format.md, "Repair".

import FileIO
import Journal

/// What the file itself cannot tell, the user says: block size, size and name of the volume.
struct LostSuperblock {
    private let reader: WindowedReader
    private let size: Int
    private let volume: VolumeIdentity

    /// Of the two copies of the zone table that with the newer root. Blocks: reads the directory and
    /// everything before it.
    ///
    /// - Throws: `SB_NONE` when there are no table and root that belong together.
    static func rebuild(
        _ file: any FileIO, _ volume: VolumeIdentity
    ) throws(CacheFileError) -> Superblock {
        let lost = try io { () throws(FileError) in try LostSuperblock(file, volume) }
        var found: Superblock?
        for copy in 0...1 {
            let table = try ZoneTable.readCopy(copy, file)
            // Before a change of size both copies are the same.
            if found?.zoneCRC == table.crc { continue }
            guard let next = try lost.superblock(table, copy) else { continue }
            if found.map({ $0.checkpointSeq < next.checkpointSeq }) ?? true { found = next }
        }
        guard let found else {
            throw CacheFileError(
                .needsCheck,
                "SB_NONE: no superblock copy is intact, and no zone table, root and journal fit each "
                    + "other and the volume that was given")
        }
        return found
    }

    private init(_ file: any FileIO, _ volume: VolumeIdentity) throws(FileError) {
        self.volume = volume
        reader = try WindowedReader(file)
        size = try file.size()
    }

    private func superblock(
        _ table: ZoneTable.Copy, _ zoneCopy: Int
    ) throws(CacheFileError) -> Superblock? {
        guard let places = table.places, let layout = provisional(places) else { return nil }
        let uuid = fileUUID(table, layout)
        let seeds = SeedSpace(fileUUID: uuid)
        guard let root = try LostRoot.find(layout, seeds, reader),
            root.fitsSlots(layout, seeds, reader),
            let ring = try LostRing.find(layout, seeds, root, reader)
        else { return nil }
        let roots = root.places(ringEnd: ring.range.upperBound)
        let geometry = Geometry(
            blockSize: volume.blockSize, volumeBlocks: volume.volumeBlocks,
            ringOffset: ring.range.lowerBound, ringLength: ring.range.count,
            rootOffsets: roots.offsets, rootCapacity: roots.capacity,
            slotsPerZone: places.slotsPerZone, zones: places.zones)
        var sb = Superblock(
            fileUUID: uuid, volumeUUID: volume.volumeUUID, binding: volume.binding,
            geometry: geometry)
        sb.generation = 2
        sb.state = Superblock.State.mounted.rawValue
        sb.creator = "cachecheck repair"
        sb.zoneCopy = UInt32(zoneCopy)
        sb.zoneCRC = table.crc
        sb.rootCopy = root.offset ?? roots.offsets[0] == roots.offsets[0] ? 0 : 1
        sb.rootCRC = root.table.encode(seeds: seeds).crc
        sb.checkpointSeq = root.generation
        sb.checkpointLSN = checkpointLSN(root, layout)
        guard ring.setLog(&sb) else { return nil }
        return sb
    }

    /// Enough of the layout to find directory pages by; nil when they cannot be those of the volume.
    private func provisional(_ places: ZonePlaces) -> Geometry? {
        let blockSize = volume.blockSize
        guard places.slotsPerZone >= 1, Geometry.blockSizes.contains(blockSize),
            blockSize & (blockSize - 1) == 0
        else { return nil }
        let layout = Geometry(
            blockSize: blockSize, volumeBlocks: volume.volumeBlocks, ringOffset: 0, ringLength: 0,
            rootOffsets: [0, 0], rootCapacity: 0, slotsPerZone: places.slotsPerZone,
            zones: places.zones)
        // Another block size has cold entries of another size.
        let coldBytes = (layout.pagesPerZone - layout.hotPagesPerZone) * Geometry.pageSize
        let isPossible = places.zones.allSatisfy { zone in
            (0..<size).contains(zone.slotsOffset) && zone.slots <= places.slotsPerZone
                && (zone.hotOffsets + zone.coldOffsets).allSatisfy {
                    (0..<size).contains($0) && $0 % Geometry.pageSize == 0
                }
                && zone.coldOffsets[1] - zone.coldOffsets[0] == coldBytes
        }
        return isPossible && layout.pageCount <= size / Geometry.pageSize ? layout : nil
    }

    /// One with which all checksums are what they are: pages repeat its first half, and of the second
    /// only four bytes matter, which follow from the checksum of the zone table.
    private func fileUUID(_ table: ZoneTable.Copy, _ layout: Geometry) -> [UInt8] {
        var half = [UInt8](repeating: 0, count: 8)
        for copy in 0...1 {
            guard let page = reader.page(at: layout.pageOffset(0, copy: copy)),
                page.bytes.field(0, UInt32.self) == SlotTable.pageMagic
            else { continue }
            half = withExtendedLifetime(page) { page.bytes.copy(8, 8) }
        }
        let start = half + [0x80, 0, 0, 0]
        let seed = withExtendedLifetime(table.bytes) {
            Checksum.seed(of: table.bytes.bytes, from: table.crc)
        }
        return start
            + Checksum.bytes(
                from: start.withUnsafeBytes { Checksum.crc32c($0) },
                to: SeedSpace.checksumOfUUID(.zones, 0, seed: seed))
    }

    /// C, as the pages of the last checkpoint say. One without changed pages had nothing to add to it.
    private func checkpointLSN(_ root: LostRoot, _ layout: Geometry) -> LSN {
        root.table.entries.indices.reduce(0) { known, page in
            let entry = root.table.entries[page]
            guard entry.generation == root.generation,
                let bytes = reader.page(at: layout.pageOffset(page, copy: entry.copy))
            else { return known }
            return withExtendedLifetime(bytes) { max(known, bytes.bytes.field(32)) }
        }
    }
}

extension WindowedReader {
    /// 4096 bytes; nil when they cannot be read.
    func page(at offset: Int) -> AlignedBuffer? {
        let buffer = AlignedBuffer(Geometry.pageSize)
        do throws(FileError) {
            try read(into: buffer.mutableBytes, at: offset)
            return buffer
        } catch {
            return nil
        }
    }
}
