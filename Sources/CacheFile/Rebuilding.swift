// What a repair puts together again when a table of the file is lost.

import FileIO
import Journal

/// How far a repair may go.
package enum RepairDepth: Sendable {
    /// Nothing that can still be read is given up.
    case safe
    /// On past what cannot be decided.
    case all
}

/// What was not read from where it should be.
package struct Rebuilt: Sendable {
    /// The root was put together from the pages, and nothing says that these are the right ones.
    package var hasGuessedRoot = false
    package var hasGuessedSuperblock = false
    package var holes: PassedHoles?

    package init() {}

    /// Whether blocks may be older than they seem.
    package var isSuspect: Bool { hasGuessedRoot || hasGuessedSuperblock || holes != nil }
}

extension RootTable {
    /// The newest copy of each page that is intact and not newer than the checkpoint.
    static func rebuilt(
        _ sb: Superblock, _ geometry: Geometry, _ reader: WindowedReader, seeds: SeedSpace
    ) -> RootTable {
        var root = RootTable(pageCount: geometry.pageCount)
        let scratch = SlotTable(geometry: geometry, seeds: seeds)
        let buffer = AlignedBuffer(Geometry.pageSize)
        for page in 0..<geometry.pageCount where geometry.isUsed(page) {
            for copy in 0...1 {
                let offset = geometry.pageOffset(page, copy: copy)
                do throws(FileError) {
                    try reader.read(into: buffer.mutableBytes, at: offset)
                } catch { continue }
                let generation: UInt32 = buffer.bytes.field(24)
                let crc: UInt32 = buffer.bytes.field(28)
                let isRight =
                    generation > root.entries[page].generation && generation <= sb.checkpointSeq
                    && scratch.adopt(page, crc: crc, generation: generation) {
                        $0.copyMemory(from: buffer.bytes)
                    }
                if isRight {
                    root.entries[page] = Entry(crc: crc, generation: generation, copy: copy)
                }
            }
        }
        return root
    }
}

extension ZoneTable {
    /// The places of which the superblock has the checksum: those of a new file of its size, or what a
    /// change of size made of the table that is left in the other copy.
    static func rebuilt(
        _ sb: Superblock, _ file: any FileIO, seeds: SeedSpace
    ) throws(CacheFileError) -> ZonePlaces? {
        guard let facts = RebuiltLayout(sb) else { return nil }
        var candidates = [1 << 20, 4096].compactMap { facts.new(slotAlignment: $0) }
        for copy in 0...1 {
            let table = try readCopy(copy, file)
            guard table.isIntact(seeds), let older = table.places else { continue }
            if let next = facts.resized(older) { candidates.append(next) }
        }
        return candidates.first { places in
            encode(places.zones, slotsPerZone: places.slotsPerZone, seeds: seeds).crc == sb.zoneCRC
        }
    }
}

/// Layouts that follow from what a superblock says, if that is possible at all.
private struct RebuiltLayout {
    private let sb: Superblock
    private let slots: Int
    private let blockSize: Int
    private let ringOffset: Int
    private let ringBytes: Int

    init?(_ sb: Superblock) {
        guard let slots = Int(exactly: sb.slotCount), slots <= Geometry.slotsMax,
            let blockSize = Int(exactly: sb.blockSize), Geometry.blockSizes.contains(blockSize),
            (1...1 << 32).contains(sb.volumeBlocks), let ringBytes = Int(exactly: sb.ringLength),
            let ringOffset = Int(exactly: sb.ringOffset)
        else { return nil }
        self.sb = sb
        self.slots = slots
        self.blockSize = blockSize
        self.ringOffset = ringOffset
        self.ringBytes = ringBytes
    }

    func new(slotAlignment: Int) -> ZonePlaces? {
        var request = LayoutRequest(
            blockSize: blockSize, volumeBlocks: sb.volumeBlocks, slots: slots, ringBytes: ringBytes)
        request.ringOffset = ringOffset
        request.slotAlignment = slotAlignment
        guard let geometry = try? request.layOut() else { return nil }
        return ZonePlaces(zones: geometry.zones, slotsPerZone: geometry.slotsPerZone)
    }

    func resized(_ older: ZonePlaces) -> ZonePlaces? {
        let roots = sb.rootOffsets.compactMap { Int(exactly: $0) }
        guard older.slotsPerZone >= 1, older.zones.allSatisfy({ $0.slotsOffset < 1 << 60 }),
            roots.count == 2, let capacity = Int(exactly: sb.rootCapacity)
        else { return nil }
        let before = Geometry(
            blockSize: blockSize, volumeBlocks: sb.volumeBlocks, ringOffset: ringOffset,
            ringLength: ringBytes, rootOffsets: roots, rootCapacity: capacity,
            slotsPerZone: older.slotsPerZone, zones: older.zones)
        let after = try? before.resized(to: slots, rootOffsets: roots, rootCapacity: capacity)
        return after.map { ZonePlaces(zones: $0.zones, slotsPerZone: $0.slotsPerZone) }
    }
}
