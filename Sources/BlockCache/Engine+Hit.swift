// Reads of bytes that all lie in one slot. In a warm cache that is nearly all of them, so they do
// without a plan and without a round of everything else that might go on.

import CacheFile

/// Granules of one block in its slot, which is held until `endHit`.
package struct SlotHit {
    package let slot: Int
    let block: UInt64
    let granules: Range<Int>
    /// Byte offset in the file.
    let offset: Int
    /// One for each granule.
    let crcs: [UInt32]
}

extension Engine {
    /// Holds the slot for whoever reads these granules from it, as for a plan (R4).
    /// - Returns: nil when `read` has to bring them together, or to ask the store.
    package func beginHit(_ block: UInt64, _ granules: Range<Int>) -> SlotHit? {
        guard let slot = state.slot(of: block), !needsVerification(slot) else { return nil }
        var crcs: [UInt32] = []
        crcs.reserveCapacity(granules.count)
        for granule in granules {
            guard case .slot(let crc) = state.source(slot: slot, block: block, granule: granule)
            else { return nil }
            crcs.append(crc)
        }
        let isAheadWanted = noteRead(block)
        noteUse(slot)
        if isAheadWanted { pumpReadAhead() }
        beginIO(slot)
        return SlotHit(
            slot: slot, block: block, granules: granules,
            offset: geometry.slotOffset(slot) + granules.lowerBound * geometry.granuleSize,
            crcs: crcs)
    }

    /// The bytes have been read.
    /// - Parameter isGood: They are what was written. Otherwise the reader asks `read`, which finds
    ///   out what is wrong with them.
    package func endHit(_ hit: SlotHit, isGood: Bool) {
        if isGood { statistics.readHits += 1 }
        endIO(hit.slot)
        if isSlotAwaited { pump() }
    }
}

extension PlanRunner {
    /// Reads the granules of a hit and checks them. Blocks: the disk.
    /// - Parameter target: As long as the granules.
    /// - Returns: whether they are there and intact.
    package func read(_ hit: SlotHit, into target: UnsafeMutableRawBufferPointer) -> Bool {
        do { try file.read(into: target, at: hit.offset, .cached) } catch { return false }
        return bad(target, hit.block, hit.granules, hit.crcs).isEmpty
    }
}
