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
    private func prepare(_ op: WriteOp) {
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
    private func isMisplaced(_ op: WriteOp) -> Bool {
        let slot = state.slot(of: op.block)
        if op.newSlot != nil {
            // A fill gave the block a slot: a part of it goes there, since the new slot would hide
            // the rest. A whole block replaces it.
            return slot != nil && op.direct.count < geometry.granulesPerBlock
        }
        guard let target = op.target else { return true }
        return slot != target.slot || state.incarnation(target.slot) != target.incarnation
    }

    // MARK: Recording

    /// Makes the records of a part, as far as there is room; comes back for the rest.
    private func record(_ op: WriteOp, isResumed: Bool = false) {
        guard poison == nil, active[op.block]?.writer === op else { return }
        if op.isWholeTrim, isBlank(op.block, state.slot(of: op.block)) { return completeBlank(op) }
        if !op.isWholeTrim, isMisplaced(op) { return place(op) }
        while true {
            let next: (record: Record, data: [DataPiece])
            switch nextStep(op) {
            case .done: return complete(op, nil)
            case .merge: return prepare(op)
            case .ask: return fetch(op.block, for: .writer(op))
            case .record(let record, let data): next = (record, data)
            case .waitForExtents: return waitForExtents(op)
            }
            let bytes = next.data.reduce(0) { $0 + $1.range.count }
            guard hasUserRoom(next.record, dataBytes: bytes, isResumed: isResumed) else {
                waitingForRoom.append { [unowned self] in self.record(op, isResumed: true) }
                reclaimTarget = journal.end
                return
            }
            let lsn = append(next.record, data: next.data)
            op.request.lsn = max(op.request.lsn, lsn)
            recorded(op, next.record, lsn)
        }
    }

    enum Step {
        case done
        /// The rest of a partial granule is here now: no patch, but an image of it.
        case merge
        /// Too many patches already: this one waits for the store.
        case ask
        /// There are too many zero extents already: this one waits for the store.
        case waitForExtents
        case record(Record, [DataPiece])
    }

    private func nextStep(_ op: WriteOp) -> Step {
        if op.isWholeTrim { return trimStep(op) }
        if op.newSlot != nil || !op.direct.isEmpty { return .record(.map(mapRecord(op)), []) }
        guard let slot = state.slot(of: op.block) else {
            preconditionFailure("a part is recorded without a slot")
        }
        if let run = op.journaled.intersection(op.zeros).runs.first {
            return .record(
                .zero(ZeroRecord(slot: UInt32(slot), block: op.block, granules: run)), [])
        }
        if let run = op.journaled.runs.first { return dataRecord(op, slot, run) }
        if let granule = op.unmerged.runs.first?.lowerBound { return patchStep(op, slot, granule) }
        return .done
    }

    private func dataRecord(_ op: WriteOp, _ slot: Int, _ run: Range<Int>) -> Step {
        let size = geometry.granuleSize
        let granules = run.prefix(roomChunk / size)
        let from = op.place(granules.lowerBound, geometry).lowerBound
        let data = DataRecord(
            slot: UInt32(slot), block: op.block, firstGranule: granules.lowerBound,
            crcs: op.crcs(of: GranuleSet(granules)), dataPosition: 0)
        return .record(.data(data), [DataPiece(op.buffer, from..<from + granules.count * size)])
    }

    /// Part of a granule whose rest is not here: acknowledged as a patch, never waiting for the
    /// store, unless the ring holds too many of them (I9).
    private func patchStep(_ op: WriteOp, _ slot: Int, _ granule: Int) -> Step {
        if !source(slot, op.block, granule).isMissing { return .merge }
        let user = op.userBytes(granule, geometry)
        let from = op.place(granule, geometry).lowerBound
        let payload = AlignedBuffer.zeroed((user.count + 4095) & ~4095)
        payload.mutableSlice(0..<user.count)
            .copyMemory(from: op.buffer.slice(from + user.lowerBound..<from + user.upperBound))
        if let older = state.patch(op.block, granule) {
            let all = Patch.union(older.ranges + [user])
            if all == [0..<geometry.granuleSize] {
                op.complete(granule, from: older.buffer.bytes, geometry, seeds)
                return nextStep(op)
            }
            if all.count > Self.patchRangesMax { return .ask }
        } else if state.patchCount >= geometry.ring.patchesMax {
            return .ask
        }
        var patch = PatchRecord(
            slot: UInt32(slot), block: op.block, granule: granule, ranges: [user], crc: 0)
        patch.crc = patch.checksum(payload.slice(0..<user.count), geometry, seeds)
        return .record(.patch(patch), [DataPiece(payload, 0..<payload.count)])
    }

    private static var patchRangesMax: Int { 32 }

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
        } else if isZeroWithoutSlot(op.block) {
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
            op.target = (Int(map.slot), state.incarnation(Int(map.slot)))
            noteTouched(
                op.block,
                map.flags.contains(.extend) ? map.granules : .all(geometry.granulesPerBlock))
            if map.oldSlot != Record.noSlot {
                noteOverwritten(op.block, in: Int(map.oldSlot))
                noteFreed(Int(map.oldSlot), lsn: lsn)
            } else if map.flags.contains(.extend) {
                noteOverwritten(op.block, in: Int(map.slot))
            }
            absent.remove(op.block)
            noteAdoptedLate(op.block)
            isVerified[Int(map.slot)] = true
            noteUse(Int(map.slot))
        case .data(let data):
            noteTouched(op.block, GranuleSet(data.granules))
            for granule in data.granules { op.journaled.remove(granule) }
            noteOverwritten(op.block, in: Int(data.slot))
        case .patch(let patch):
            op.unmerged.remove(patch.granule)
            // A fill must not name the granule over the patch; a later answer is merged with it.
            active[op.block]?.fillOvertaken.insert(patch.granule)
            noteOverwritten(op.block, in: Int(patch.slot))
            // The rest is asked for at once, so that patches stay few.
            fetch(op.block, for: .patch)
        case .zero(let zero):
            noteTouched(zero.block, zero.granules.map { GranuleSet($0) } ?? .all(op.granules.count))
            if let granules = zero.granules {
                op.journaled = op.journaled.subtracting(GranuleSet(granules))
            } else {
                op.isPlaced = true
            }
            noteOverwritten(op.block, in: Int(zero.slot))
        case .zeroRange(let zero):
            op.isPlaced = true
            return noteTrimmed(zero.blocks)
        case .clean, .evict, .intent, .epoch, .cleanRange:
            break
        }
        overtake(op.block)
        queueDirty(op.block)
    }

    /// The user has written over what the slot held. If that was never compared with the store, it
    /// has to be before the block replaces what is there.
    private func noteOverwritten(_ block: UInt64, in slot: Int) {
        if !isVerified[slot] { uncertain.insert(block) }
        isVerified[slot] = true
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
        endTurn(op)
        if configuration.policy.isSynchronous { op.request.blocks.append(op.block) }
        finishPart(of: op.request, error)
    }

    func finishPart(of request: WriteRequest, _ error: VolumeError?) {
        if let error, request.error == nil { request.error = error }
        request.partsLeft -= 1
        guard request.partsLeft == 0 else { return }
        if poison != nil || request.lsn <= journal.written {
            if let poison { answer(request, poison) } else { acknowledge(request) }
        } else {
            acks.append(request)
        }
    }
}
