// What becomes of an upload: stored, not stored, nobody knows, or somebody else was there first.
// docs/format.md, "Uploads".

import BlockStore
import CacheFile
import FileIO
import Journal

/// An upload the store has confirmed while an earlier one of the block may still arrive.
struct Confirmation {
    let version: ObjectVersion
    let asOf: LSN
}

extension Engine {
    /// A block that an earlier session left dirty, perhaps in the middle of its upload.
    func adoptDirty(_ block: UInt64) {
        noteAdoptedLate(block)
        let wasAnnounced = !state.intents(of: block).isEmpty
        if wasAnnounced { noteLate(block) }
        if configuration.storeMayHaveChanged { leftBehind.insert(block) }
        if wasAnnounced || configuration.storeMayHaveChanged { uncertain.insert(block) }
        queueDirty(block)
    }

    // MARK: Answers

    /// The store has the block, or failed.
    package func uploaded(_ task: UploadTask, _ result: Result<StoreOutcome, StoreError>) {
        if !(task.upload.isOfExtent && deletesTogether) { uploadsSending -= 1 }
        let block = task.block
        noteStore(result.failure)
        if let error = result.failure {
            noteRefused(task.upload, error)
        } else {
            noteTaken(task.upload)
        }
        switch result {
        case _ where task.upload.isOfExtent: extentDeleted(task.upload, result)
        case .success(let outcome):
            count(task)
            overtakenBlocks.remove(block)
            uncertain.remove(block)
            if outcome.mayArriveAgain { noteLate(block) }
            stored(task.upload, asOf: task.upload.asOf, outcome.version)
        case .failure(let error):
            uncertain.insert(block)
            if error.kind == .conflict, failureCounts[block] == nil {
                // It is looked into at once; from the second time on after a pause.
                failureCounts[block] = 0
                settle(task.upload)
            } else if error.kind == .overtaken {
                // As good as unanswered, but nothing is wrong.
                statistics.storeCanceled += 1
                noteLate(block)
                end(task.upload)
            } else {
                if error.kind != .conflict { noteLate(block) }
                retry(task.upload, error)
            }
        }
        pump()
    }

    /// A request was not answered: it may arrive for a while yet.
    func noteLate(_ block: UInt64) {
        if configuration.storeLateMs > 0 { suspects[block] = now + configuration.storeLateMs }
    }

    private func count(_ task: UploadTask) {
        if task.isZero {
            statistics.storeDeletes += 1
            statistics.zeroBlocksWritten += 1
        } else {
            statistics.storePuts += 1
        }
    }

    /// The store has the content as of a user write. While another request may still arrive and
    /// replace it, the block is not clean: it could be evicted, and with it the only copy, and what
    /// the store shows later could not be told from somebody else's work (I18).
    private func stored(_ upload: Upload, asOf: LSN, _ version: ObjectVersion) {
        let block = upload.block
        guard let lateUntil = suspects[block], lateUntil > now else {
            suspects[block] = nil
            return cleaned(upload, asOf: asOf, version)
        }
        failureCounts[block] = nil
        confirmations[block] = Confirmation(version: version, asOf: asOf)
        uncertain.insert(block)
        guard isOver(upload) else { return }
        if let slot = state.slot(of: block), state.slots.dataLSN(slot) > asOf {
            queueDirty(block)
        } else {
            queueAgain(block, dueMs: lateUntil)
            noteClean(block)
        }
        dropIfIdle(block)
    }

    /// Records that the store has the content as of a user write (I7).
    func cleaned(
        _ upload: Upload, asOf: LSN, _ version: ObjectVersion, isResumed: Bool = false
    ) {
        let block = upload.block
        failureCounts[block] = nil
        confirmations[block] = nil
        guard poison == nil, let slot = state.slot(of: block) else { return end(upload) }
        let record = Record.clean(
            CleanRecord(slot: UInt32(slot), block: block, asOf: asOf, base: Base(version)))
        guard hasReserve(for: record, isResumed: isResumed) else {
            // The slot may change while this waits: make the record anew.
            return waitInReserve { [unowned self] in
                cleaned(upload, asOf: asOf, version, isResumed: true)
            }
        }
        // An answer of the store from before this upload lacks the patches that went with it.
        var sent = GranuleSet()
        for patch in state.patched(block) where patch.lsn <= asOf { sent.insert(patch.granule) }
        append(record)
        status.meter.add(geometry.blockSize, now)
        noteTouched(block, sent)
        end(upload)
    }

    // MARK: Settling

    /// Whether the store has to be asked what it has before this block is sent.
    func needsSettling(_ slot: Int, _ block: UInt64) -> Bool {
        if uncertain.contains(block) { return true }
        guard configuration.storeHonorsConditions else { return false }
        let kind = state.slots.base(slot).kind
        return kind == .unknown || kind == .hashed
    }

    func settle(_ upload: Upload) {
        work.append(.settle(SettleTask(upload: upload, wantsContent: false)))
    }

    /// The store has said what it has of a block.
    package func settled(_ task: SettleTask, _ result: Result<Settled, StoreError>) {
        noteStore(result.failure)
        switch result {
        case .failure(let error):
            noteRefused(task.upload, error)
            retry(task.upload, error)
        case .success(let answer): judge(task, answer)
        }
        pump()
    }

    /// Decides by docs/format.md, "Uploads", table of outcomes.
    private func judge(_ task: SettleTask, _ answer: Settled) {
        let upload = task.upload
        let block = upload.block
        guard let slot = state.slot(of: block), state.slots.state(slot) == .dirty else {
            if isToBecomeLocal(block) { return resolveLocally(upload, over: answer.version) }
            return end(upload)
        }
        let seen = Base(answer.version)
        let base = state.slots.base(slot)
        let intents = state.intents(of: block)
        if let known = confirmations[block], known.version == answer.version {
            let isNewer = state.slots.dataLSN(slot) > known.asOf
            if isNewer, (suspects[block] ?? 0) > now {
                // On top of a confirmed version that may yet be replaced.
                return go(upload, replacing: answer.version)
            }
            uncertain.remove(block)
            return stored(upload, asOf: known.asOf, answer.version)
        }
        if base.kind != .unknown, seen == base { return go(upload, replacing: answer.version) }
        let ours: Intent?
        if answer.version == .absent {
            ours = intents.last { $0.record.isDelete }
        } else if let digest = answer.digest {
            ours = intents.last { !$0.record.isDelete && $0.record.digest == digest }
        } else if intents.contains(where: { !$0.record.isDelete }) {
            work.append(.settle(SettleTask(upload: upload, wantsContent: true)))
            return
        } else {
            ours = nil
        }
        if let ours {
            uncertain.remove(block)
            return stored(upload, asOf: ours.record.asOf, answer.version)
        }
        // A blind write: nothing says what the store had. What it has now is what is replaced,
        // unless somebody else may have been there.
        if base.kind == .unknown, answer.version == .absent || !leftBehind.contains(block) {
            return go(upload, replacing: answer.version)
        }
        becomeConflict(upload, over: answer.version)
    }

    /// Nothing in the way: brings the block together and sends it.
    private func go(_ upload: Upload, replacing version: ObjectVersion) {
        uncertain.remove(upload.block)
        upload.seen = version
        snapshot(upload, fetched: nil)
    }

    /// Blocks that the store has, though the file calls them dirty (I18).
    package var heldBlocks: Int {
        confirmations.count { block, known in
            state.slot(of: block).map { state.slots.dataLSN($0) <= known.asOf } ?? false
        }
    }
}
