// Checkpoints, which move the tail of the ring, and the last one of a clean stop. docs/format.md,
// "Checkpoint".

import CacheFile
import FileIO
import Journal

/// Where a checkpoint stands. Each stage waits for what its comment says.
package enum CheckpointStage {
    case idle
    /// For `written >= plan.lsn`.
    case frozen(CheckpointPlan)
    /// For the page writes to return.
    case writingPages(CheckpointPlan)
    /// For a flush that begins now or later.
    case pagesWritten(CheckpointPlan)
    /// For the superblock writes to return.
    case writingSuperblock(CheckpointPlan, Superblock)
    /// For a flush that begins now or later.
    case superblockWritten(CheckpointPlan, Superblock)

    package enum FlushPoint { case none, pages, superblock }

    /// What a flush that begins in this stage covers.
    var flushPoint: FlushPoint {
        switch self {
        case .pagesWritten: .pages
        case .superblockWritten: .superblock
        default: .none
        }
    }

    var needsFlush: Bool { flushPoint != .none }

    package var isIdle: Bool {
        if case .idle = self { return true }
        return false
    }
}

/// How far a clean stop has come.
enum FinalStage { case running, draining, checkpointing, done }

extension Engine {
    func startCheckpoint() {
        carry()
        journal.closeOpen()
        let oldest = state.oldestNeeded()
        let tail = oldest.flatMap { journal.point(at: $0) } ?? journal.nextPoint
        precondition(oldest == nil || tail.position == oldest)
        let plan = checkpointer.begin(
            state, lsn: journal.assigned, tail: tail, epoch: journal.epoch)
        checkpointStage = .frozen(plan)
    }

    /// Logs patches, zero extents and intents in the older half of the used ring again, so that they
    /// never hold the tail back while the store is away (I9).
    private func carry() {
        let middle = journal.tail + UInt64(journal.usedBytes / 2)
        for (block, patch) in state.patches(before: middle) {
            guard carry(patch, of: block) else { return }
        }
        for extent in state.zeros.before(middle) {
            guard carry(extent) else { return }
        }
        for intent in state.intents(before: middle) {
            guard carry(intent) else { return }
        }
    }

    /// Whether all that has to be carried before the tail can move has room (I9). Asked by tests.
    var canCarry: Bool {
        let middle = journal.tail + UInt64(journal.usedBytes / 2)
        let patches = state.patches(before: middle)
        var bytes = patches.count * 1200
        for intent in state.intents(before: middle) {
            bytes += Record.intent(intent.record).encodedSize(geometry)
        }
        bytes += state.zeros.before(middle).count * 64
        return journal.hasRoomToCarry(
            recordBytes: bytes, dataBytes: patches.count * geometry.granuleSize)
    }

    private func carry(_ intent: Intent) -> Bool {
        guard let slot = state.slot(of: intent.record.block) else { return true }
        let record = intent.carried(in: slot)
        let size = Record.intent(record).encodedSize(geometry)
        guard journal.hasRoomToCarry(recordBytes: size, dataBytes: 0) else { return false }
        append(.intent(record))
        statistics.carried += 1
        return true
    }

    private func carry(_ patch: Patch, of block: UInt64) -> Bool {
        guard let slot = state.slot(of: block) else { return true }
        let (record, payload) = patch.carried(of: block, in: slot, geometry, seeds)
        let size = Record.patch(record).encodedSize(geometry)
        guard journal.hasRoomToCarry(recordBytes: size, dataBytes: payload.count) else {
            return false
        }
        append(.patch(record), data: [DataPiece(payload, 0..<payload.count)])
        statistics.carried += 1
        return true
    }

    func pumpCheckpoint() {
        switch checkpointStage {
        case .frozen(let plan):
            guard journal.written >= plan.lsn else { return }
            checkpointStage = .writingPages(plan)
            work.append(.checkpoint(plan.writes))
        default:
            break
        }
    }

    /// The writes of a checkpoint step have returned.
    package func checkpointWritten(_ error: FileError?) {
        if let error { return fail(error) }
        guard poison == nil else { return }
        switch checkpointStage {
        case .writingPages(let plan): checkpointStage = .pagesWritten(plan)
        case .writingSuperblock(let plan, let sb): checkpointStage = .superblockWritten(plan, sb)
        default: preconditionFailure("no checkpoint write under way")
        }
        pump()
    }

    /// A flush has returned that began when the checkpoint was at `point`.
    func checkpointFlushed(_ point: CheckpointStage.FlushPoint) {
        switch (checkpointStage, point) {
        case (.pagesWritten(let plan), .pages):
            // The flush began after `written >= plan.lsn`, so that is durable now as well.
            precondition(journal.durable >= plan.lsn)
            let isFinal = finalStage == .checkpointing
            let sb = checkpointer.superblock(
                for: plan, cleanEnd: isFinal ? journal.nextPoint : nil)
            checkpointStage = .writingSuperblock(plan, sb)
            work.append(.checkpoint(checkpointer.writes(sb)))
        case (.superblockWritten(let plan, let sb), .superblock):
            checkpointer.finish(plan, sb, state)
            checkpointStage = .idle
            let hasMoved = plan.tail.position > diskTail
            diskTail = plan.tail.position
            journal.superblockDurable(vouchingFor: plan.lsn)
            moveLimit()
            statistics.checkpoints += 1
            lastCheckpointMs = now
            // Whoever still waits for room needs more than this has made.
            let isWanted = !waitingForRoom.isEmpty || !waitingInReserve.isEmpty
            reclaimTarget = isWanted && hasMoved ? journal.end : nil
            if finalStage == .checkpointing { finalStage = .done }
            switchedOver()
        default:
            break
        }
    }

    // MARK: Clean stop

    /// No more writes are taken; what is dirty is uploaded at once, or nothing more is.
    package func beginStop(uploads: Bool = true) {
        isStopping = true
        if uploads { pump() } else { beginFinalCheckpoint() }
    }

    /// Destages, and then marks the file clean. Uploads end first: the caller sees to it.
    package func beginFinalCheckpoint() {
        guard poison == nil, finalStage == .running else { return }
        finalStage = .draining
        abandonAnnounced()
        // Uploads have ended, so no slot will become free for these.
        let stopped = VolumeError(.stopped, "the volume is stopping")
        while let op = waitingForSlot.popFirst() { complete(op, stopped) }
        abandonTurns(stopped)
        abandonTrims(stopped)
        abandonRemoteSyncs(stopped)
        pump()
    }

    /// Nothing is under way and the journal has nothing that the slots lack: the last checkpoint.
    func finalCheckpoint() {
        guard checkpointStage.isIdle, destagesRunning == 0, active.isEmpty, acks.isEmpty,
            waitingInReserve.isEmpty, trims.isEmpty, movesRunning.isEmpty, resizeStage.isNone
        else { return }
        finalStage = .checkpointing
        startCheckpoint()
    }

    /// The clean stop is complete, or will never be.
    package var isAtRest: Bool { poison != nil || finalStage == .done }
}
