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
    package var holes: PassedHoles?

    package init() {}

    /// Whether blocks may be older than they seem.
    package var isSuspect: Bool { hasGuessedRoot || holes != nil }
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
    /// The zones of which the superblock has the checksum, if they are those of a new file of its size.
    static func rebuilt(
        _ sb: Superblock, _ file: any FileIO, seeds: SeedSpace
    ) -> (zones: [Zone], slotsPerZone: Int)? {
        guard let slots = Int(exactly: sb.slotCount), let blockSize = Int(exactly: sb.blockSize),
            Geometry.blockSizes.contains(blockSize), sb.volumeBlocks >= 1,
            sb.volumeBlocks <= 1 << 32, let ringBytes = Int(exactly: sb.ringLength),
            let ringOffset = Int(exactly: sb.ringOffset), slots <= Geometry.slotsMax
        else { return nil }
        for alignment in [1 << 20, 4096] {
            var request = LayoutRequest(
                blockSize: blockSize, volumeBlocks: sb.volumeBlocks, slots: slots,
                ringBytes: ringBytes)
            request.ringOffset = ringOffset
            request.slotAlignment = alignment
            guard let geometry = try? request.layOut(),
                encode(geometry.zones, slotsPerZone: geometry.slotsPerZone, seeds: seeds).crc
                    == sb.zoneCRC
            else { continue }
            return (geometry.zones, geometry.slotsPerZone)
        }
        return nil
    }
}
