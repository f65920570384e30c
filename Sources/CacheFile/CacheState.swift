import FileIO
import Journal

/// What the cache holds: directory, index and overlays, as records have made it.
///
/// `apply` is the only way a record changes it, while running and in replay alike, so both apply
/// records in the same order to the same effect (R6). Not thread-safe: belongs to the engine lock.
public final class CacheState {
    public private(set) var geometry: Geometry
    public let slots: SlotTable
    package var index: BlockIndex
    var overlays: [UInt64: BlockOverlays] = [:]
    var marks: Fifo<OverlayMark> = Fifo()

    /// The LSN that freed a slot or invalidated granules in it; it may be overwritten there only
    /// once that LSN is sealed (R4). 0 after recovery: everything replayed is sealed.
    var reuseLSNs: ZeroedArray<LSN>
    /// Goes up whenever a block joins or leaves the slot: late I/O recognises that it is late.
    var incarnations: ZeroedArray<UInt32>

    // MARK: Counts

    public internal(set) var dirtySlots = 0
    public internal(set) var cleanSlots = 0
    public internal(set) var conflictSlots = 0
    public var usedSlots: Int { dirtySlots + cleanSlots + conflictSlots }
    public internal(set) var liveOverlays = 0

    // MARK: Patches (Patch.swift)

    var patches: [UInt64: [Patch]] = [:]
    public internal(set) var patchCount = 0

    // MARK: Announced uploads (Intent.swift)

    var intents: [UInt64: [Intent]] = [:]
    // MARK: Trimmed blocks in no slot

    public internal(set) var zeros = ZeroExtents()
    /// How many blocks of each region of the volume are in slots: a walk over a long range of
    /// blocks passes regions without any.
    private var regionCounts: [UInt16]
    public static let regionBlocks: UInt64 = 1024

    package init(slots: SlotTable) {
        self.slots = slots
        geometry = slots.geometry
        index = BlockIndex(slots: geometry.slotCount)
        reuseLSNs = ZeroedArray(count: geometry.slotCount)
        incarnations = ZeroedArray(count: geometry.slotCount)
        regionCounts = Array(
            repeating: 0, count: Int(geometry.volumeBlocks / Self.regionBlocks) + 1)
    }

    // MARK: Size

    /// Takes the geometry of a file with more slots or fewer; those that go are free. The next
    /// checkpoint makes it that of the file.
    package func resize(to next: Geometry, adding added: [GroupPages]) {
        let isTight =
            BlockIndex.bytes(slots: next.slotCount)
            > BlockIndex.bytes(slots: geometry.slotCount)
        precondition((next.slotCount..<max(next.slotCount, geometry.slotCount)).allSatisfy(isLeft))
        slots.resize(to: next, adding: added)
        geometry = next
        // What is known of slots that have gone stays: late I/O recognises that it is late.
        if next.slotCount > reuseLSNs.count {
            reuseLSNs = reuseLSNs.grown(to: next.slotCount)
            incarnations = incarnations.grown(to: next.slotCount)
        }
        guard isTight else { return }
        index = BlockIndex(slots: next.slotCount)
        for page in 0..<next.pageCount where next.isHot(page) {
            slots.scan(page, ahead: { index.prefetch($0) }) {
                index.insert($0.block, slot: $0.slot)
            }
        }
    }

    private func isLeft(_ slot: Int) -> Bool { slots.isFree(slot) }

    // MARK: Looking up

    /// The slot of a block.
    @inline(__always)
    public func slot(of block: UInt64) -> Int? {
        index.find(block) { [slots] in slots.block($0) }
    }

    /// Whether no block of the region of `block` is in a slot.
    public func isRegionEmpty(of block: UInt64) -> Bool {
        regionCounts[Int(block / Self.regionBlocks)] == 0
    }

    func countRegion(of block: UInt64, _ by: Int) {
        let region = Int(block / Self.regionBlocks)
        regionCounts[region] = UInt16(Int(regionCounts[region]) + by)
    }

    public func incarnation(_ slot: Int) -> UInt32 { incarnations[slot] }
    public func reuseLSN(_ slot: Int) -> LSN { reuseLSNs[slot] }

    /// Where the bytes of one granule are.
    public enum Source {
        case slot(crc: UInt32)
        case overlay(Overlay)
        case zeros
        case missing

        public var isMissing: Bool {
            if case .missing = self { return true }
            return false
        }
    }

    /// - Parameter slot: the slot that holds `block`.
    public func source(slot: Int, block: UInt64, granule: Int) -> Source {
        let valid = slots.isValid(slot, granule)
        if let overlay = overlays[block]?[granule] {
            // While a destage runs, or before its CRC is in the entry, the journal has the truth.
            if !overlay.isDestaged || !valid { return .overlay(overlay) }
        }
        if valid { return .slot(crc: slots.crc(slot, granule)) }
        return slots.isZeroBase(slot) ? .zeros : .missing
    }

    /// Granules readable without S3.
    public func local(slot: Int) -> GranuleSet {
        if slots.isZeroBase(slot) { return .all(geometry.granulesPerBlock) }
        return present(slot: slot)
    }

    /// Granules with bytes of their own, in the slot or the journal.
    public func present(slot: Int) -> GranuleSet {
        let valid = slots.valid(slot)
        guard let overlaid = overlays[slots.block(slot)] else { return valid }
        return valid.union(overlaid.granules)
    }

    /// Granules whose content is in the slot, and nowhere newer.
    package func inSlot(_ slot: Int) -> GranuleSet {
        let block = slots.block(slot)
        var found = slots.valid(slot)
        overlaid(block).forEach { granule in
            if case .slot = source(slot: slot, block: block, granule: granule) { return }
            found.remove(granule)
        }
        return found
    }

    /// Blocks in no slot of which the journal has something: only where damage was passed.
    package var strays: [UInt64] {
        Set(overlays.keys).union(patches.keys).filter { slot(of: $0) == nil }
    }

    public func overlaid(_ block: UInt64) -> GranuleSet {
        overlays[block]?.granules ?? GranuleSet()
    }

    /// Overlays of a block that are not destaged and whose record is at or below `lsn`.
    public func destageable(_ block: UInt64, upTo lsn: LSN) -> [Overlay] {
        (overlays[block]?.items ?? []).filter { !$0.isDestaged && $0.lsn <= lsn }
    }

    // MARK: Journal tail

    /// The oldest ring position that replay needs; nil when it needs nothing.
    public func oldestNeeded() -> UInt64? {
        [
            oldestLiveMark()?.position, oldestPatchPosition, oldestIntentPosition,
            zeros.oldestPosition,
        ].compactMap { $0 }.min()
    }

    /// The oldest overlay that the ring must keep, with its block; forgets those that are done.
    public func oldestLiveMark() -> (position: UInt64, block: UInt64, lsn: LSN)? {
        while let mark = marks.first {
            if let overlay = overlays[mark.block]?[mark.granule], overlay.lsn == mark.lsn,
                !overlay.isDestaged
            {
                return (mark.position, mark.block, mark.lsn)
            }
            marks.removeFirst()
        }
        return nil
    }

    /// The oldest overlay before `limit` whose block is not among `excluded`.
    public func nextLiveMark(
        before limit: UInt64, excluding excluded: Set<UInt64>
    ) -> (block: UInt64, lsn: LSN)? {
        guard let oldest = oldestLiveMark(), oldest.position < limit else { return nil }
        let found = marks.first { mark in
            guard !excluded.contains(mark.block),
                let overlay = overlays[mark.block]?[mark.granule]
            else { return false }
            return overlay.lsn == mark.lsn && !overlay.isDestaged
        }
        guard let found, found.position < limit else { return nil }
        return (found.block, found.lsn)
    }

    /// A destage of one granule has returned. Not a record: the entry takes the CRC of what is now
    /// in the slot. The caller has checked that the slot still holds the block, same incarnation.
    public func destaged(slot: Int, block: UInt64, granule: Int, lsn: LSN, crc: UInt32) {
        guard let newest = overlays[block]?[granule] else { return }
        precondition(newest.lsn >= lsn)
        slots.setCRC(slot, granule, crc)
        var valid = slots.valid(slot)
        valid.insert(granule)
        slots.setValid(slot, valid)
        if overlays[block]?.setDestaged(granule, lsn: lsn) == true { liveOverlays -= 1 }
    }

    /// A checkpoint at `lsn` is durable: overlays destaged before it are no longer needed.
    func dropDestaged(_ destagedBefore: [OverlayKey]) {
        for key in destagedBefore {
            guard let overlay = overlays[key.block]?[key.granule], overlay.lsn == key.lsn else {
                continue
            }
            removeOverlays(key.block, GranuleSet(key.granule..<key.granule + 1))
        }
    }

    struct OverlayKey {
        let block: UInt64
        let granule: Int
        let lsn: LSN
    }

    /// All overlays that are destaged now.
    func destagedKeys() -> [OverlayKey] {
        var keys: [OverlayKey] = []
        for (block, set) in overlays {
            for item in set.items where item.isDestaged {
                keys.append(OverlayKey(block: block, granule: item.granule, lsn: item.lsn))
            }
        }
        return keys
    }

    func removeOverlays(_ block: UInt64, _ granules: GranuleSet) {
        guard var set = overlays[block] else { return }
        liveOverlays -= set.items.count { granules.contains($0.granule) && !$0.isDestaged }
        set.remove(granules)
        overlays[block] = set.isEmpty ? nil : set
    }
}
