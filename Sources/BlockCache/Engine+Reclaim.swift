// Making room in the ring: destage, checkpoint, moving the tail. docs/format.md, "Checkpoint".

import CacheFile
import FileIO
import Journal

/// What the destage of a block waits for, if it is not under way.
private enum DestageStart {
    case running
    /// For all that is logged up to there.
    case waitsForSeal(LSN)
    /// For somebody who reads or writes the slot.
    case waitsForIO
}

extension Engine {
    // MARK: Policy

    func tickReclaim() {
        let due = now >= lastCheckpointMs + configuration.checkpointIntervalMs
        if due, poison == nil, finalStage == .running, checkpointStage.isIdle, reclaimTarget == nil,
            state.slots.hasDirtyPages || journal.usedBytes > 0
        {
            lastCheckpointMs = now
            reclaimTarget = journal.end
        }
    }

    /// Destages what lies before the target, then takes a checkpoint, which moves the tail.
    func pumpReclaim() {
        guard finalStage == .running || finalStage == .draining else { return }
        let length = geometry.ringLength
        if reclaimTarget == nil {
            if finalStage == .draining {
                guard state.oldestLiveMark() != nil else { return finalCheckpoint() }
                reclaimTarget = journal.end
            } else if Int(journal.end - diskTail) > length / 2 {
                // Bytes that only a reader holds come back without a checkpoint.
                reclaimTarget = journal.end - UInt64(length / 4)
            } else if state.slots.dirtyPageCount > configuration.dirtyPagesMax {
                reclaimTarget = journal.tail
            }
        }
        guard let target = reclaimTarget, checkpointStage.isIdle else { return }
        var isUnsealed = false
        var isBusy = false
        var tried: Set<UInt64> = []
        search: while destagesRunning < configuration.destagesMax,
            let mark = state.nextLiveMark(before: target, excluding: tried)
        {
            tried.insert(mark.block)
            switch startDestage(mark.block, mark: mark.lsn) {
            case .running: break
            case .waitsForIO: isBusy = true
            case .waitsForSeal(let lsn):
                sealWanted = max(sealWanted, lsn)
                isUnsealed = true
                // What follows was logged later still.
                if lsn == mark.lsn { break search }
            }
        }
        if destagesRunning > 0 { return }
        let oldest = state.oldestLiveMark()
        let isDone = oldest.map { $0.position >= target } ?? true
        // Without room for a SEAL the checkpoint's superblock seals instead.
        let mustSeal = isUnsealed && !journal.hasRoom(recordBytes: 0, dataBytes: 0, reserved: true)
        // A checkpoint that neither seals nor moves the tail would be followed by another one.
        let movesTail = oldest.map { $0.position > diskTail } ?? false
        if isDone || mustSeal || ((isBusy || isUnsealed) && movesTail) { startCheckpoint() }
    }

    // MARK: Destage

    /// Copies sealed overlays of a block into its slot. Only from full images, only onto granules
    /// that nothing else uses (R1, R4, R5).
    private func startDestage(_ block: UInt64, mark: LSN) -> DestageStart {
        if mark > journal.sealed { return .waitsForSeal(mark) }
        guard let slot = state.slot(of: block) else { preconditionFailure("a mark of no block") }
        let activity = activity(block)
        defer { dropIfIdle(block) }
        if activity.isDestaging { return .running }
        guard slotIO[slot] == 0 else {
            isSlotAwaited = true
            return .waitsForIO
        }
        let reuse = state.reuseLSN(slot)
        guard reuse <= journal.sealed else { return .waitsForSeal(reuse) }
        let items = state.destageable(block, upTo: journal.sealed)
        precondition(!items.isEmpty, "a sealed mark has something to destage")
        precondition(
            items.allSatisfy { !activity.directBusy.contains($0.granule) },
            "I4: a granule with a direct write has an overlay")
        let size = geometry.granuleSize
        let plan = ReadPlan(
            block: block, slot: slot, target: AlignedBuffer(items.count * size), needsZeroCRCs: true
        )
        for (number, item) in items.enumerated() { add(item, number * size, to: plan) }
        activity.isDestaging = true
        destagesRunning += 1
        beginIO(slot)
        work.append(
            .destage(
                DestageTask(
                    plan: plan, slot: slot, incarnation: state.incarnation(slot), items: items,
                    geometry)))
        return .running
    }

    package typealias Destaged = (task: DestageTask, error: FileError?)

    /// The granules are in the slots, unless an error says otherwise.
    package func destaged(_ done: [Destaged]) {
        for (task, error) in done { destaged(task, error) }
        if poison == nil { pump() }
    }

    private func destaged(_ task: DestageTask, _ error: FileError?) {
        endIO(task.slot)
        unpin(task.plan.ringPins)
        destagesRunning -= 1
        let block = task.plan.block
        if let activity = active[block] {
            activity.isDestaging = false
            dropIfIdle(block)
        }
        if let error { fail(error) }
        guard poison == nil else { return }
        if let error = task.plan.error { return fail(error) }
        guard task.plan.badGranules.isEmpty else {
            // The journal is the only copy of these bytes and it is rotten: stop before it spreads.
            let damage = rot(block, task.plan.badGranules)
            return fail(FileError(.io, damage.message))
        }
        if state.slot(of: block) == task.slot, state.incarnation(task.slot) == task.incarnation {
            for item in task.items {
                state.destaged(
                    slot: task.slot, block: block, granule: item.granule, lsn: item.lsn,
                    crc: item.crc ?? task.plan.zeroCRCs[item.granule] ?? 0)
            }
            statistics.destagedGranules += task.items.count
        }
    }
}
