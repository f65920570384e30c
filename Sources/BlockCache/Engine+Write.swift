// Writes of the user. docs/format.md, "Which path a write takes". A write never waits for the
// store unless it covers part of a granule that is not held locally.

import CacheFile
import FileIO
import Journal

extension Engine {
    /// Begins a part of a write. Parts of one block are taken one after the other (R6).
    package func write(_ op: WriteOp) {
        if let poison { return finish(op, poison) }
        if isStopping { return finish(op, VolumeError(.stopped, "the volume is stopping")) }
        let activity = activity(op.block)
        if activity.writer == nil {
            activity.writer = op
            prepare(op)
        } else {
            activity.queuedWrites.append(op)
        }
        pump()
    }

    // MARK: Partial granules

    /// Completes the granules that the user's bytes cover in part.
    private func prepare(_ op: WriteOp) {
        let partial = op.partialGranules(geometry)
        guard !partial.isEmpty, !op.isMerged else { return place(op) }
        let slot = state.slot(of: op.block)
        var missing = false
        partial.forEach { granule in
            if case .missing = source(slot, op.block, granule) { missing = true }
        }
        if missing { return fetch(op.block, for: .writer(op)) }
        merge(op, partial, slot: slot, fetched: nil)
    }

    func source(_ slot: Int?, _ block: UInt64, _ granule: Int) -> CacheState.Source {
        if let slot { return state.source(slot: slot, block: block, granule: granule) }
        return absent.contains(block) ? .zeros : .missing
    }

    /// Reads the old contents of partial granules into a buffer of their own.
    func merge(_ op: WriteOp, _ partial: GranuleSet, slot: Int?, fetched: Fetched?) {
        let size = geometry.granuleSize
        let target = AlignedBuffer(op.granules.count * size)
        let plan = ReadPlan(block: op.block, slot: slot, target: target)
        partial.forEach { granule in
            let at = (granule - op.granules.lowerBound) * size
            add(source(slot, op.block, granule), granule, at, to: plan, fetched: fetched)
        }
        begin(plan, .merge(op))
    }

    func merged(_ op: WriteOp, _ plan: ReadPlan) {
        guard active[op.block]?.writer === op else { return }
        if let error = plan.error { return complete(op, VolumeError(.io, error.message)) }
        if !plan.badGranules.isEmpty { return complete(op, rot(op.block, plan.badGranules)) }
        let size = geometry.granuleSize
        let user = op.userRange
        let all = op.buffer.mutableBytes
        let old = plan.target.bytes
        op.partialGranules(geometry).forEach { granule in
            let low = (granule - op.granules.lowerBound) * size
            let high = low + size
            for gap in [low..<min(high, max(low, user.lowerBound)), max(low, min(high, user.upperBound))..<high]
            where !gap.isEmpty {
                UnsafeMutableRawBufferPointer(rebasing: all[gap])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: old[gap]))
            }
            op.setCRC(granule, geometry, seeds)
        }
        op.isMerged = true
        place(op)
    }

    // MARK: Placing

    /// Decides where the granules go and begins the slot write, if there is one.
    func place(_ op: WriteOp) {
        guard poison == nil, let activity = active[op.block] else { return }
        precondition(activity.writer === op)
        activity.directBusy = GranuleSet()
        let all = GranuleSet(op.granules)
        guard let slot = state.slot(of: op.block) else {
            return takeNewSlot(op, all, orElse: { self.waitingForSlot.append(op) })
        }
        isReferenced[slot] = true
        if op.coversBlock(geometry) {
            return takeNewSlot(op, all) {
                op.journaled = all
                self.record(op)
            }
        }
        let taken = state.present(slot: slot).union(activity.busy)
        let untouched = state.reuseLSN(slot) <= journal.sealed && !activity.isDestaging
        op.direct = untouched ? all.subtracting(taken) : GranuleSet()
        op.journaled = all.subtracting(op.direct)
        if op.direct.isEmpty { return record(op) }
        activity.directBusy = op.direct
        beginSlotWrite(op, slot, op.direct)
    }

    private func takeNewSlot(_ op: WriteOp, _ all: GranuleSet, orElse fallback: () -> Void) {
        guard let slot = takeSlot() else { return fallback() }
        op.newSlot = slot
        op.direct = all
        op.journaled = GranuleSet()
        beginSlotWrite(op, slot, all)
    }

    private func beginSlotWrite(_ op: WriteOp, _ slot: Int, _ granules: GranuleSet) {
        beginIO(slot)
        work.append(
            .writeSlot(
                SlotWrite(
                    block: op.block, slot: slot, granules: granules, buffer: op.buffer,
                    firstGranule: op.granules.lowerBound, purpose: .user(op),
                    incarnation: state.incarnation(slot))))
    }

    /// The slot write of a part has returned: now, and not before, its record may be made (I2).
    func userSlotWritten(_ op: WriteOp, _ write: SlotWrite) {
        endIO(write.slot)
        guard poison == nil, let activity = active[op.block], activity.writer === op else { return }
        let slot = state.slot(of: op.block)
        if let fresh = op.newSlot {
            // A fill gave the block a slot meanwhile: a part of it goes there, since the new slot
            // would hide the rest. A whole block replaces it.
            if slot != nil, !op.coversBlock(geometry) {
                op.newSlot = nil
                returnSlot(fresh)
                return place(op)
            }
        } else if slot != write.slot || state.incarnation(write.slot) != write.incarnation {
            // The block has left the slot meanwhile: begin again where it is now.
            return place(op)
        }
        record(op)
    }

    // MARK: Recording

    /// Makes the records of a part, as far as there is room; comes back for the rest.
    private func record(_ op: WriteOp, isResumed: Bool = false) {
        guard poison == nil, active[op.block]?.writer === op else { return }
        while let (record, data) = nextRecord(op) {
            let bytes = data.reduce(0) { $0 + $1.range.count }
            guard hasUserRoom(record, dataBytes: bytes, isResumed: isResumed) else {
                waitingForRoom.append { [unowned self] in self.record(op, isResumed: true) }
                reclaimTarget = journal.end
                return
            }
            let lsn = append(record, data: data)
            op.request.lsn = max(op.request.lsn, lsn)
            recorded(op, record, lsn)
        }
        complete(op, nil)
    }

    private func nextRecord(_ op: WriteOp) -> (Record, [DataPiece])? {
        if !op.direct.isEmpty { return (.map(mapRecord(op)), []) }
        guard let run = op.journaled.runs.first, let slot = state.slot(of: op.block) else { return nil }
        let size = geometry.granuleSize
        let granules = run.prefix(roomChunk / size)
        let part = GranuleSet(granules)
        let from = (granules.lowerBound - op.granules.lowerBound) * size
        let data = DataRecord(
            slot: UInt32(slot), block: op.block, firstGranule: granules.lowerBound,
            crcs: op.crcs(of: part), dataPosition: 0)
        return (.data(data), [DataPiece(op.buffer, from..<from + granules.count * size)])
    }

    private func mapRecord(_ op: WriteOp) -> MapRecord {
        let crcs = op.crcs(of: op.direct)
        let old = state.slot(of: op.block)
        guard let newSlot = op.newSlot else {
            let slot = UInt32(old ?? 0)
            return MapRecord(
                slot: slot, block: op.block, flags: [.extend, .keepBase], granules: op.direct,
                crcs: crcs)
        }
        var flags: MapRecord.Flags = []
        if let old {
            flags.insert(.keepBase)
            if state.slots.isZeroBase(old) { flags.insert(.zeroBase) }
        } else if absent.contains(op.block) {
            flags.insert(.zeroBase)
        }
        return MapRecord(
            slot: UInt32(newSlot), block: op.block, flags: flags,
            oldSlot: old.map { UInt32($0) } ?? Record.noSlot,
            base: absent.contains(op.block) ? .absent : .unknown, granules: op.direct, crcs: crcs)
    }

    /// Bookkeeping right after a record of a part was applied.
    private func recorded(_ op: WriteOp, _ record: Record, _ lsn: LSN) {
        switch record {
        case .map(let map):
            op.direct = GranuleSet()
            active[op.block]?.directBusy = GranuleSet()
            op.newSlot = nil
            noteTouched(op.block, map.flags.contains(.extend) ? map.granules : .all(geometry.granulesPerBlock))
            if map.oldSlot != Record.noSlot { noteFreed(Int(map.oldSlot), lsn: lsn) }
            absent.remove(op.block)
            isVerified[Int(map.slot)] = true
            isReferenced[Int(map.slot)] = true
        case .data(let data):
            noteTouched(op.block, GranuleSet(data.granules))
            for granule in data.granules { op.journaled.remove(granule) }
            isVerified[Int(data.slot)] = true
        case .clean, .evict, .epoch:
            break
        }
        queueDirty(op.block)
    }

    /// A part has all its records, or has failed: the next one of the block may begin.
    func complete(_ op: WriteOp, _ error: VolumeError?) {
        if let activity = active[op.block], activity.writer === op {
            activity.directBusy = GranuleSet()
            activity.writer = activity.queuedWrites.popFirst()
            if let next = activity.writer { prepare(next) } else { dropIfIdle(op.block) }
        }
        finish(op, error)
    }

    /// Counts the part as done; the last one sends the answer off when its LSN is written (I3).
    func finish(_ op: WriteOp, _ error: VolumeError?) {
        if let slot = op.newSlot {
            op.newSlot = nil
            if poison == nil { returnSlot(slot) }
        }
        let request = op.request
        if let error, request.error == nil { request.error = error }
        request.partsLeft -= 1
        guard request.partsLeft == 0 else { return }
        if poison != nil || request.lsn <= journal.written {
            answer(request, poison)
        } else {
            acks.append(request)
        }
    }
}
