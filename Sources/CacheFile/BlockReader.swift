import FileIO
import Journal

/// What became of a block's granules when they were read.
package struct BlockReading: Sendable {
    /// Bytes read and compared.
    package var checkedBytes = 0
    /// Do not match their checksum.
    package var bad = GranuleSet()
    package var unreadable = GranuleSet()
    /// Not held here; the store may have them. Patches of theirs are not in the bytes.
    package var missing = GranuleSet()
    /// What is known of them was in a directory page that is lost.
    package var lost = GranuleSet()

    package var damaged: GranuleSet { bad.union(unreadable).union(lost) }
}

/// Reads the bytes that a mount would serve of a block, past the page cache, and compares them with
/// their checksums.
package struct BlockReader {
    private let state: CacheState
    private let seeds: SeedSpace
    private let file: any FileIO
    private let lostPages: Set<Int>

    package init(_ recovered: RecoveredFile, _ file: any FileIO) {
        state = recovered.state
        seeds = recovered.seeds
        lostPages = recovered.lostPages
        self.file = file
    }

    /// Reads every granule that is here into its place; what is not stays as it is. Blocks: disk
    /// reads.
    ///
    /// - Parameters:
    ///   - slot: nil: the block is in no slot that is known, and only the journal has some of it.
    ///   - bytes: room for the block.
    ///   - isRead: `bytes` hold what is in the slot; else granules are read one by one.
    package func read(
        _ block: UInt64, slot: Int?, into bytes: UnsafeMutableRawBufferPointer, isRead: Bool = false
    ) -> BlockReading {
        let geometry = state.geometry
        let size = geometry.granuleSize
        var reading = BlockReading()
        let isLost = slot.map { lostPages.contains(geometry.coldPlace($0).page) } ?? true
        for granule in 0..<geometry.granulesPerBlock {
            let target = UnsafeMutableRawBufferPointer(
                rebasing: bytes[granule * size..<(granule + 1) * size])
            let place: Int
            let known: UInt32
            switch source(slot, block, granule) {
            case .slot(let crc):
                known = crc
                place = isRead ? -1 : geometry.slotOffset(slot ?? 0) + granule * size
            case .overlay(let overlay):
                guard case .ring(let position, let crc) = overlay.place else {
                    zero(target)
                    continue
                }
                known = crc
                place = geometry.ringOffset + Int(position % UInt64(geometry.ringLength))
            case .zeros where !isLost:
                zero(target)
                continue
            case .zeros, .missing:
                if isLost { reading.lost.insert(granule) } else { reading.missing.insert(granule) }
                continue
            }
            if place >= 0, !isReadable(target, at: place) {
                reading.unreadable.insert(granule)
                continue
            }
            reading.checkedBytes += size
            let index = geometry.granuleSeedIndex(block: block, granule: granule)
            let found = Checksum.crc32c(
                UnsafeRawBufferPointer(target), seed: seeds.seed(.granule, index))
            if found != known { reading.bad.insert(granule) }
        }
        return reading
    }

    private func source(_ slot: Int?, _ block: UInt64, _ granule: Int) -> CacheState.Source {
        if let slot { return state.source(slot: slot, block: block, granule: granule) }
        return state.overlays[block]?[granule].map { .overlay($0) } ?? .missing
    }

    private func zero(_ target: UnsafeMutableRawBufferPointer) {
        target.initializeMemory(as: UInt8.self, repeating: 0)
    }

    package func isReadable(_ target: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        do { try file.read(into: target, at: offset, .direct) } catch { return false }
        return true
    }
}
