import FileIO
import Journal

/// Bytes and where in the file they go.
public struct PlacedWrite: Sendable {
    public let offset: Int
    public let buffer: AlignedBuffer
}

/// One checkpoint: the exact state of the directory at one LSN, on its way to the medium.
public struct CheckpointPlan {
    /// C: the directory images are the state at this LSN (I14).
    public let lsn: LSN
    public let tail: RingPoint
    /// Directory pages and the root; may be written once `written >= lsn`.
    public let writes: [PlacedWrite]
    let epoch: UInt64
    let pages: [Int]
    let root: RootTable
    let rootCopy: Int
    let rootCRC: UInt32
    let sequence: UInt32
    let destaged: [CacheState.OverlayKey]
    let conflicts: Int
    let geometry: Geometry
    /// The copy of the zone table that holds for it.
    let zoneCopy: UInt32
    let zoneCRC: UInt32
}

/// Takes checkpoints of one session: knows the superblock and the root that are on the medium.
///
/// The steps and what each waits for are in docs/format.md, "Checkpoint"; the engine drives them.
/// Not thread-safe: belongs to the engine lock.
public final class Checkpointer {
    public private(set) var geometry: Geometry
    let seeds: SeedSpace
    /// The superblock that is on the medium.
    public private(set) var superblock: Superblock
    private var root: RootTable
    /// Pages of the checkpoint before: their other copy still is one generation older.
    private var previousPages: Set<Int>

    init(
        geometry: Geometry, seeds: SeedSpace, superblock: Superblock, root: RootTable
    ) {
        self.geometry = geometry
        self.seeds = seeds
        self.superblock = superblock
        self.root = root
        previousPages = Set(
            root.entries.indices.filter {
                root.entries[$0].isWritten
                    && root.entries[$0].generation == superblock.checkpointSeq
            })
    }

    /// Step 1: freezes every changed page at `lsn`.
    ///
    /// If the state has another geometry than the file, the checkpoint is that of the new one.
    /// - Parameter tail: position of the oldest group that replay will need.
    public func begin(_ state: CacheState, lsn: LSN, tail: RingPoint, epoch: UInt64)
        -> CheckpointPlan
    {
        let next = state.geometry
        let sequence = superblock.checkpointSeq + 1
        precondition(sequence < RootTable.generationMax)
        let pages = state.slots.takeDirtyPages()
        var newRoot = root
        var zones = (copy: superblock.zoneCopy, crc: superblock.zoneCRC)
        var writes: [PlacedWrite] = []
        writes.reserveCapacity(pages.count + previousPages.count + 2)
        if next != geometry {
            newRoot.resize(to: next)
            let (table, crc) = ZoneTable.encode(
                next.zones, slotsPerZone: next.slotsPerZone, seeds: seeds)
            zones = (1 - zones.copy, crc)
            let offset = ZoneTable.offset(copy: Int(zones.copy))
            writes.append(PlacedWrite(offset: offset, buffer: table))
        }
        for page in pages {
            let old = newRoot.entries[page]
            let copy = old.isWritten ? 1 - old.copy : 0
            let crc = state.slots.seal(page, generation: sequence, lsn: lsn)
            newRoot.entries[page] = .init(crc: crc, generation: sequence, copy: copy)
            writes.append(place(page, copy, state))
        }
        // Pages that rest since the last checkpoint: make their copies equal, so that either one
        // alone is enough (I11).
        for page in previousPages.subtracting(pages).sorted()
        where page < next.pageCount && newRoot.entries[page].isWritten {
            // One that was read from the file has none of its checksums. If others come out now, its
            // header was not as we write it: the copy that the root names stays the only one.
            guard
                state.slots.isSealed(page)
                    || state.slots.reseal(page) == newRoot.entries[page].crc
            else { continue }
            writes.append(place(page, 1 - newRoot.entries[page].copy, state))
        }
        let rootCopy = 1 - Int(superblock.rootCopy)
        let (rootBytes, rootCRC) = newRoot.encode(seeds: seeds)
        writes.append(PlacedWrite(offset: next.rootOffsets[rootCopy], buffer: rootBytes))
        return CheckpointPlan(
            lsn: lsn, tail: tail, writes: writes, epoch: epoch, pages: pages, root: newRoot,
            rootCopy: rootCopy, rootCRC: rootCRC, sequence: sequence,
            destaged: state.destagedKeys(), conflicts: state.conflictSlots, geometry: next,
            zoneCopy: zones.copy, zoneCRC: zones.crc)
    }

    private func place(_ page: Int, _ copy: Int, _ state: CacheState) -> PlacedWrite {
        PlacedWrite(
            offset: state.geometry.pageOffset(page, copy: copy),
            buffer: state.slots.image(page, copy: copy))
    }

    /// Step 3: the superblock that makes the checkpoint the one recovery uses. Only after a flush
    /// that began when the pages had been written, and when `durable >= plan.lsn`.
    /// - Parameter end: where the log ends; given, the file is marked clean.
    public func superblock(for plan: CheckpointPlan, cleanEnd end: RingPoint?) -> Superblock {
        var next = superblock.successor()
        next.checkpointSeq = plan.sequence
        next.checkpointLSN = plan.lsn
        next.tail = plan.tail
        next.rootCopy = UInt32(plan.rootCopy)
        next.rootCRC = plan.rootCRC
        next.openEpoch = plan.epoch
        next.conflictCount = UInt64(plan.conflicts)
        next.setGeometry(plan.geometry)
        next.zoneCopy = plan.zoneCopy
        next.zoneCRC = plan.zoneCRC
        if let end {
            next.state = Superblock.State.clean.rawValue
            next.recoveredPosition = end.position
            next.recoveredLSN = end.lsn - 1
            next.recoveredCRC = end.prevGroupCRC
        }
        return next
    }

    /// All steps of a checkpoint, one after the other, where nobody else uses the file.
    package func take(
        _ state: CacheState, lsn: LSN, tail: RingPoint, epoch: UInt64, cleanEnd: RingPoint?,
        in file: any FileIO
    ) throws(FileError) {
        let plan = begin(state, lsn: lsn, tail: tail, epoch: epoch)
        for write in plan.writes {
            try file.write(write.buffer.bytes, at: write.offset, .cached)
        }
        try file.flush()
        let sb = superblock(for: plan, cleanEnd: cleanEnd)
        for write in writes(sb) {
            try file.write(write.buffer.bytes, at: write.offset, .cached)
        }
        try file.flush()
        finish(plan, sb, state)
    }

    /// The superblock as it is, in state 4.
    public var poisoned: Superblock {
        var next = superblock.successor()
        next.state = Superblock.State.poisoned.rawValue
        return next
    }

    /// The two writes of a superblock.
    public func writes(_ sb: Superblock) -> [PlacedWrite] {
        sb.copies.map {
            PlacedWrite(
                offset: geometry.superblockOffset($0), buffer: sb.encode(copy: UInt32($0)))
        }
    }

    /// Step 4: the superblock is durable.
    public func finish(_ plan: CheckpointPlan, _ sb: Superblock, _ state: CacheState) {
        precondition(sb.generation == superblock.generation + 1)
        superblock = sb
        geometry = plan.geometry
        root = plan.root
        previousPages = Set(plan.pages)
        state.dropDestaged(plan.destaged)
    }
}
