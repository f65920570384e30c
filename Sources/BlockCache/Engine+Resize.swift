// The cache file gets more slots, or fewer, while it is in use. docs/format.md, "Growing and
// shrinking".

import CacheFile
import FileIO
import Journal

/// Where a change of the number of slots stands.
package enum ResizeStage {
    case none
    /// Grows: the new space is being reserved. Nothing in the file names it.
    case reserving(Geometry)
    /// Grows: for a flush that begins now or later.
    case reserved(Geometry, [GroupPages])
    /// Shrinks: slots that are to go are not given out; their blocks are evicted, moved or waited
    /// for, until all are free for good. Can be called off.
    case emptying(Geometry)
    /// For the checkpoint under way to end. Can be called off.
    case ready(Geometry, [GroupPages])
    /// For the superblock that names the new geometry to be durable. Until then no new slot is used
    /// and the file is not cut off.
    case switching(from: Geometry)
    /// Shrunk, or could not grow: the file is being cut off.
    case truncating

    package var isNone: Bool {
        if case .none = self { return true }
        return false
    }

    var needsFlush: Bool {
        if case .reserved = self { return true }
        return false
    }

    var isEmptying: Bool {
        if case .emptying = self { return true }
        return false
    }
}

extension Engine {
    private static var movesMax: Int { 8 }
    /// Most slots looked at in one event.
    private static var stepsMax: Int { 4096 }
    /// After a round in which every block had to stay where it is.
    private static var restMs: UInt64 { 100 }

    /// How many slots the file is to have; comes to it as soon as it can.
    package func resize(slots: Int) {
        slotsWanted = slots
        resizeObstacle = nil
        pump()
    }

    /// Slots that blocks may be put into.
    var usableSlots: Int {
        switch resizeStage {
        case .emptying(let next), .ready(let next, _): min(next.slotCount, geometry.slotCount)
        case .switching(let old): min(old.slotCount, geometry.slotCount)
        default: geometry.slotCount
        }
    }

    func pumpResize() {
        switch resizeStage {
        case .none: beginResize()
        case .emptying(let next), .ready(let next, _):
            if next.slotCount != slotsWanted || finalStage != .running { return callOff() }
            advanceResize()
        case .reserving, .reserved, .switching, .truncating: break
        }
    }

    private func beginResize() {
        guard slotsWanted != geometry.slotCount, finalStage == .running, !isStopping else {
            return
        }
        let next: Geometry
        do {
            next = try geometry.resized(to: slotsWanted)
        } catch {
            return giveUp(slotsWanted, error.message)
        }
        log(
            .info,
            "the cache file is to hold \(slotsWanted) blocks instead of "
                + "\(geometry.slotCount); \(state.dirtySlots) are dirty")
        if next.slotCount > geometry.slotCount {
            resizeStage = .reserving(next)
            work.append(.reserve(ReserveTask(from: geometry, to: next)))
        } else {
            resizeStage = .emptying(next)
            resizeHand = 0
            resizeRestsUntil = 0
            let all = freeSlots
            freeSlots = []
            for slot in all { release(slot) }
            advanceResize()
        }
    }

    private func giveUp(_ slots: Int, _ why: String) {
        resizeObstacle = why
        log(
            .error,
            "the cache file cannot hold \(slots) blocks: \(why); "
                + "it keeps \(geometry.slotCount)")
        if slotsWanted == slots { slotsWanted = geometry.slotCount }
    }

    /// Free for good: nothing reads or writes it, and what was there is needed no more (R4).
    func release(_ slot: UInt32) {
        if slot < usableSlots { freeSlots.append(slot) } else { retiredSlots.append(slot) }
    }

    private func callOff() {
        if case .ready(let next, _) = resizeStage, next.slotCount > geometry.slotCount {
            return cutOff()
        }
        resizeStage = .none
        freeSlots = retiredSlots + freeSlots
        retiredSlots = []
    }

    private func advanceResize() {
        if case .emptying(let next) = resizeStage {
            empty(next)
            guard retiredSlots.count == geometry.slotCount - next.slotCount else { return }
            resizeStage = .ready(next, [])
        }
        if case .ready(let next, let pages) = resizeStage, checkpointStage.isIdle,
            destagesRunning == 0
        {
            switchOver(to: next, pages)
        }
    }

    // MARK: Growing

    /// The space for new slots is reserved, or there is none.
    package func reserved(_ task: ReserveTask) {
        guard poison == nil, case .reserving(let next) = resizeStage else { return }
        if let refusal = task.refusal { giveUp(next.slotCount, refusal.message) }
        if task.refusal == nil, next.slotCount == slotsWanted, finalStage == .running {
            resizeStage = .reserved(next, task.pages)
        } else {
            cutOff()
        }
        pump()
    }

    /// A flush has returned.
    func spaceFlushed() {
        guard flushCoversSpace, case .reserved(let next, let pages) = resizeStage else { return }
        resizeStage = .ready(next, pages)
    }

    // MARK: Shrinking

    /// Evicts and moves blocks from slots that are to go, as far as it gets in one event.
    private func empty(_ next: Geometry) {
        let going = geometry.slotCount - next.slotCount
        guard now >= resizeRestsUntil, waitingInReserve.isEmpty, retiredSlots.count < going else {
            return
        }
        for _ in 0..<min(going, Self.stepsMax) {
            guard movesRunning.count < Self.movesMax else { return }
            let slot = next.slotCount + resizeHand
            if !state.slots.isFree(slot), !isOnItsWay(slot) { return }
            resizeHand += 1
            guard resizeHand == going else { continue }
            resizeHand = 0
            resizeRestsUntil = now + Self.restMs
            // Those that are free become so for good once that is sealed.
            if let last = pendingSlots.last { sealWanted = max(sealWanted, last.lsn) }
            return
        }
    }

    /// Begins to take a block out of a slot that is to go, or leaves it there for now.
    /// - Returns: false if others have to wait too.
    private func isOnItsWay(_ slot: Int) -> Bool {
        let block = state.slots.block(slot)
        guard active[block] == nil, !movesRunning.contains(slot) else { return true }
        guard state.slots.state(slot) == .clean else { return startMove(of: block, from: slot) }
        guard canCarveOut(block) else {
            resizeObstacle = "too many trimmed blocks wait to be deleted in the store"
            return true
        }
        guard journal.hasRoom(recordBytes: 64, dataBytes: 0, reserved: true) else {
            reclaimTarget = journal.end
            return false
        }
        dropBlock(.evict(EvictRecord(slot: UInt32(slot), block: block)), slot: slot, block: block)
        statistics.evictions += 1
        return true
    }

    /// Copies the granules that are in the slot into another one; those in the journal stay there.
    private func startMove(of block: UInt64, from slot: Int) -> Bool {
        // Writers go first.
        guard waitingForSlot.isEmpty, let target = takeSlot() else {
            if let last = pendingSlots.last { sealWanted = max(sealWanted, last.lsn) }
            return false
        }
        let all = state.inSlot(slot)
        let plan = ReadPlan(
            block: block, slot: slot, target: AlignedBuffer(all.count * geometry.granuleSize))
        var number = 0
        all.forEach { granule in
            let source = CacheState.Source.slot(crc: state.slots.crc(slot, granule))
            add(source, granule, number * geometry.granuleSize, to: plan, fetched: nil)
            number += 1
        }
        movesRunning.insert(slot)
        beginIO(slot)
        beginIO(target)
        work.append(
            .move(
                MoveTask(
                    plan: plan, from: slot, to: target, lsn: state.slots.lsn(slot), granules: all,
                    targetOffset: geometry.slotOffset(target))))
        return true
    }

    /// A block has been copied; recorded unless something else has happened to it meanwhile, in
    /// which case it is looked at again.
    package func moved(_ task: MoveTask, _ error: FileError?) {
        endIO(task.from)
        endIO(task.to)
        movesRunning.remove(task.from)
        if let error { fail(error) }
        guard poison == nil else { return }
        let block = task.plan.block
        let isSame = state.slot(of: block) == task.from && state.slots.lsn(task.from) == task.lsn
        if !isSame || !isGood(task.plan) {
            returnSlot(task.to)
            return pump()
        }
        var crcs: [UInt32] = []
        task.granules.forEach { crcs.append(state.slots.crc(task.from, $0)) }
        let record = Record.map(
            MapRecord(
                slot: UInt32(task.to), block: block, flags: .move, oldSlot: UInt32(task.from),
                granules: task.granules, crcs: crcs))
        if hasReserve(for: record, isResumed: false) {
            let lsn = append(record)
            isVerified[task.to] = isVerified[task.from]
            moveUse(from: task.from, to: task.to)
            noteFreed(task.from, lsn: lsn)
            statistics.moves += 1
        } else {
            reclaimTarget = journal.end
            returnSlot(task.to)
        }
        pump()
    }

    /// Damaged bytes stay where they are, and with them the slot, until they are written anew: a
    /// record that names a copy of them would be taken for one whose bytes were lost.
    private func isGood(_ plan: ReadPlan) -> Bool {
        if plan.error == nil, plan.badGranules.isEmpty { return true }
        let why = plan.error?.message ?? rot(plan.block, plan.badGranules).message
        log(.error, "the cache file cannot become smaller: \(why)")
        resizeObstacle = why
        resizeRestsUntil = now + configuration.retryDelayMaxMs
        return false
    }

    // MARK: Switching over

    /// A checkpoint whose superblock names the new geometry. All that empties the slots that go was
    /// recorded before, so the checkpoint says so too.
    private func switchOver(to next: Geometry, _ pages: [GroupPages]) {
        resizeStage = .switching(from: geometry)
        retiredSlots = []
        state.resize(to: next, adding: pages)
        geometry = next
        if clockHand >= next.slotCount { clockHand = 0 }
        let missing = next.slotCount - slotIO.count
        if missing > 0 {
            slotIO += Array(repeating: 0, count: missing)
            isReferenced += Array(repeating: false, count: missing)
            adoptSlotUse()
            isVerified += Array(repeating: false, count: missing)
        }
        startCheckpoint()
    }

    /// The superblock that names the new geometry is durable.
    func switchedOver() {
        guard case .switching(let old) = resizeStage else { return }
        log(.info, "the cache file holds \(geometry.slotCount) blocks now")
        guard geometry.slotCount < old.slotCount else {
            resizeStage = .none
            freeSlots += (old.slotCount..<geometry.slotCount).reversed().map { UInt32($0) }
            return
        }
        cutOff()
    }

    private func cutOff() {
        resizeStage = .truncating
        work.append(.truncate(geometry.fileSize))
    }

    /// The file has been cut off. If not, the next mount does it: nothing depends on that.
    package func truncated(_ error: FileError?) {
        if let error { log(.warning, error.message) }
        resizeStage = .none
        pump()
    }
}
