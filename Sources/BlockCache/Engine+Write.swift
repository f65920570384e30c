// Writes of the user. docs/format.md, "Which path a write takes". A write never waits for the
// store; parts of granules that are not held locally are journaled as patches.

import CacheFile
import FileIO
import Journal

extension Engine {
    /// Begins a part of a write. Parts of one block are taken one after the other (R6).
    package func write(_ op: WriteOp) {
        if let poison { return finish(op, poison) }
        if isStopping { return finish(op, VolumeError(.stopped, "the volume is stopping")) }
        beginPart(op)
        pump()
    }

    func beginPart(_ op: WriteOp) {
        let activity = activity(op.block)
        if activity.writer == nil {
            activity.writer = op
            prepare(op)
        } else {
            activity.queuedWrites.append(op)
        }
    }

    /// A whole block's trim has waited for zero extents to become fewer.
    func resumeTrim(_ op: WriteOp) { record(op) }

    // MARK: Partial granules

    /// Completes the granules that the user's bytes cover in part, as far as the rest is here; what
    /// is not becomes a patch when it is recorded.
    func prepare(_ op: WriteOp) {
        let slot = state.slot(of: op.block)
        if op.isTrim, !op.isPlaced, isBlank(op.block, slot) { return completeBlank(op) }
        if op.isWholeTrim { return record(op) }
        var here = GranuleSet()
        op.unmerged.forEach { granule in
            if !source(slot, op.block, granule).isMissing { here.insert(granule) }
        }
        if !here.isEmpty { return merge(op, here, slot: slot, fetched: nil) }
        if op.isPlaced { record(op) } else { place(op) }
    }

    package func source(_ slot: Int?, _ block: UInt64, _ granule: Int) -> CacheState.Source {
        if let slot { return state.source(slot: slot, block: block, granule: granule) }
        return isZeroWithoutSlot(block) ? .zeros : .missing
    }

    /// Reads the old content of some granules.
    func merge(_ op: WriteOp, _ granules: GranuleSet, slot: Int?, fetched: Fetched?) {
        let target = AlignedBuffer(op.granules.count * geometry.granuleSize)
        let plan = ReadPlan(block: op.block, slot: slot, target: target)
        granules.forEach { granule in
            let at = op.place(granule, geometry).lowerBound
            add(source(slot, op.block, granule), granule, at, to: plan, fetched: fetched)
        }
        begin(plan, .merge(op, granules))
    }

    func merged(_ op: WriteOp, _ granules: GranuleSet, _ plan: ReadPlan) {
        guard active[op.block]?.writer === op else { return }
        if let error = plan.error { return complete(op, VolumeError(.io, error.message)) }
        if !plan.badGranules.isEmpty { return complete(op, rot(op.block, plan.badGranules)) }
        granules.forEach { granule in
            let old = plan.target.slice(op.place(granule, geometry))
            op.complete(granule, from: old, geometry, seeds)
        }
        prepare(op)
    }

    // MARK: Placing

    /// Decides where the complete granules go and begins the slot write, if there is one.
    func place(_ op: WriteOp) {
        guard poison == nil, let activity = active[op.block] else { return }
        precondition(activity.writer === op)
        guard takesTurn(op) else { return }
        activity.directBusy = GranuleSet()
        if let unused = op.newSlot {
            op.newSlot = nil
            returnSlot(unused)
        }
        let full = GranuleSet(op.granules).subtracting(op.unmerged)
        op.direct = GranuleSet()
        op.journaled = GranuleSet()
        guard let slot = state.slot(of: op.block) else {
            return takeNewSlot(op, full, orElse: { self.waitForSlot(op) })
        }
        noteUse(slot)
        op.target = (slot, state.incarnation(slot))
        if full.count == geometry.granulesPerBlock {
            return takeNewSlot(op, full) {
                op.isPlaced = true
                op.journaled = full
                self.record(op)
            }
        }
        op.isPlaced = true
        let taken = state.present(slot: slot).union(activity.busy).union(op.zeros)
        let untouched = isReusable(slot) && !activity.isDestaging
        op.direct = untouched ? full.subtracting(taken) : GranuleSet()
        op.journaled = full.subtracting(op.direct)
        if op.direct.isEmpty { return record(op) }
        activity.directBusy = op.direct
        beginSlotWrite(op, slot, op.direct)
    }

    /// Whether granules of the slot that are not valid may be overwritten: the record that made them
    /// so is sealed, and nobody reads what was there before (R4).
    private func isReusable(_ slot: Int) -> Bool {
        let lsn = state.reuseLSN(slot)
        return lsn == 0 || lsn <= journal.sealed && slotIO[slot] == 0
    }

    private func waitForSlot(_ op: WriteOp) {
        if finalStage == .running { return queueForSlot(op) }
        complete(op, VolumeError(.stopped, "the volume is stopping"))
    }

    private func takeNewSlot(_ op: WriteOp, _ all: GranuleSet, orElse fallback: () -> Void) {
        guard let slot = takeSlot() else { return fallback() }
        op.isPlaced = true
        op.newSlot = slot
        op.direct = all
        if all.isEmpty { record(op) } else { beginSlotWrite(op, slot, all) }
    }

    private func beginSlotWrite(_ op: WriteOp, _ slot: Int, _ granules: GranuleSet) {
        beginIO(slot)
        work.append(
            .writeSlot(
                SlotWrite(
                    block: op.block, slot: slot, granules: granules, buffer: op.buffer,
                    firstGranule: op.granules.lowerBound, purpose: .user(op),
                    incarnation: state.incarnation(slot), geometry)))
    }

    /// The slot write of a part has returned: now, and not before, its record may be made (I2).
    func userSlotWritten(_ op: WriteOp, _ write: SlotWrite) {
        endIO(write.slot)
        guard poison == nil, let activity = active[op.block], activity.writer === op else { return }
        record(op)
    }

    /// Whether the block has come to, left or changed its slot since the part was placed: while its
    /// slot write was under way, or while it waited for room or for the store.
    func isMisplaced(_ op: WriteOp) -> Bool {
        let slot = state.slot(of: op.block)
        if op.newSlot != nil {
            // A fill gave the block a slot: a part of it goes there, since the new slot would hide
            // the rest. A whole block replaces it.
            return slot != nil && op.direct.count < geometry.granulesPerBlock
        }
        guard let target = op.target else { return true }
        return slot != target.slot || state.incarnation(target.slot) != target.incarnation
    }
}
