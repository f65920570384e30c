// Dirty blocks on their way to the store. Per block: waiting -> (fetching what is missing) ->
// snapshot -> waiting until the snapshot's data is durable -> sent -> CLEAN record.

import BlockStore
import CacheFile
import FileIO
import Journal

extension Engine {
    // MARK: Scheduling

    /// A block is dirty: it will be uploaded after the write delay.
    func queueDirty(_ block: UInt64) {
        guard queuedDirty.insert(block).inserted else { return }
        dirtyQueue.append((block: block, dueMs: now + configuration.writeDelayMs))
    }

    /// Whether due times are ignored: stopping, an fsync waits for the store, or space is short.
    private var isUrgent: Bool {
        isStopping || !remoteSyncs.isEmpty || !waitingForSlot.isEmpty
            || state.dirtySlots * 4 > geometry.slotCount * 3
            || geometry.slotCount - state.dirtySlots < freeWanted + 2 * evictedTogether
    }

    func pumpUploads() {
        guard !configuration.isReadOnly, finalStage == .running else { return }
        let urgent = isUrgent
        while uploadsRunning < configuration.uploadsMax, let next = nextDirty(urgent: urgent) {
            startUpload(next)
        }
    }

    private func nextDirty(urgent: Bool) -> UInt64? {
        if let index = retryQueue.firstIndex(where: { $0.dueMs <= now }) {
            return retryQueue.remove(at: index).block
        }
        guard let first = dirtyQueue.first, urgent || first.dueMs <= now else { return nil }
        dirtyQueue.removeFirst()
        return first.block
    }

    private func startUpload(_ block: UInt64) {
        queuedDirty.remove(block)
        guard let slot = state.slot(of: block), state.slots.state(slot) == .dirty else { return }
        let activity = activity(block)
        // One upload per block: the one under way queues the block again when it ends.
        guard activity.upload == nil else { return }
        let upload = Upload(block: block)
        activity.upload = upload
        uploadsRunning += 1
        snapshot(upload, fetched: nil)
    }

    // MARK: Snapshot

    /// Brings the block together as of its last user write.
    func snapshot(_ upload: Upload, fetched: Fetched?) {
        let block = upload.block
        guard let slot = state.slot(of: block), state.slots.state(slot) == .dirty else {
            return end(upload)
        }
        let all = GranuleSet.all(geometry.granulesPerBlock)
        if fetched == nil, !state.local(slot: slot).isSuperset(of: all) {
            return fetch(block, for: .upload(upload))
        }
        upload.asOf = state.slots.dataLSN(slot)
        let plan = ReadPlan(block: block, slot: slot, target: AlignedBuffer(geometry.blockSize))
        for granule in 0..<geometry.granulesPerBlock {
            let source = state.source(slot: slot, block: block, granule: granule)
            add(source, granule, granule * geometry.granuleSize, to: plan, fetched: fetched)
        }
        begin(plan, .snapshot(upload))
    }

    func snapshotDone(_ upload: Upload, _ plan: ReadPlan) {
        if let error = plan.error {
            return retry(upload, StoreError(.temporary, "cache file: \(error.message)"))
        }
        guard plan.badGranules.isEmpty else {
            // Never sent, never returned as good; the other blocks go on.
            let error = rot(upload.block, plan.badGranules)
            return retry(upload, StoreError(.damaged, error.message))
        }
        let isZero = plan.target.bytes.isAllZero
        upload.task = UploadTask(
            upload: upload, block: upload.block, buffer: plan.target, isZero: isZero)
        uploadsAwaitingDurable.append(upload)
        durableWanted = max(durableWanted, upload.asOf)
        sendDurableUploads()
    }

    /// No PUT and no DELETE before the data it carries is durable here (I8): otherwise a power cut
    /// could leave the store ahead of the cache file.
    func sendDurableUploads() {
        guard poison == nil, !uploadsAwaitingDurable.isEmpty else { return }
        var waiting: [Upload] = []
        for upload in uploadsAwaitingDurable {
            guard upload.asOf <= journal.durable, let task = upload.task else {
                waiting.append(upload)
                continue
            }
            if task.isZero, isKnownAbsent(upload.block) {
                cleaned(upload, .absent)
            } else {
                uncertain.insert(upload.block)
                work.append(.upload(task))
            }
        }
        uploadsAwaitingDurable = waiting
    }

    /// Whether there is nothing to delete. An upload whose answer was lost may have landed.
    private func isKnownAbsent(_ block: UInt64) -> Bool {
        guard !uncertain.contains(block), let slot = state.slot(of: block) else { return false }
        return state.slots.base(slot) == .absent
    }

    // MARK: Outcome

    /// The store has the block, or failed.
    package func uploaded(_ task: UploadTask, _ result: Result<ObjectVersion, StoreError>) {
        switch result {
        case .failure(let error): retry(task.upload, error)
        case .success(let version):
            uncertain.remove(task.block)
            if task.isZero {
                statistics.storeDeletes += 1
                statistics.zeroBlocksWritten += 1
            } else {
                statistics.storePuts += 1
            }
            cleaned(task.upload, version)
        }
        pump()
    }

    /// - Parameter isResumed: it has waited for room; those behind it in the queue do not count.
    private func cleaned(_ upload: Upload, _ version: ObjectVersion, isResumed: Bool = false) {
        failureCounts[upload.block] = nil
        guard poison == nil, let slot = state.slot(of: upload.block) else { return end(upload) }
        let record = Record.clean(
            CleanRecord(
                slot: UInt32(slot), block: upload.block, asOf: upload.asOf, base: Base(version)))
        let size = record.encodedSize(geometry)
        if isResumed || waitingInReserve.isEmpty,
            journal.hasRoom(recordBytes: size, dataBytes: 0, reserved: true)
        {
            // An answer of the store from before this upload lacks the patches that went with it.
            var sent = GranuleSet()
            for patch in state.patched(upload.block) where patch.lsn <= upload.asOf {
                sent.insert(patch.granule)
            }
            append(record)
            noteTouched(upload.block, sent)
            end(upload)
        } else {
            // The slot may change while this waits: make the record anew.
            waitingInReserve.append { [unowned self] in
                cleaned(upload, version, isResumed: true)
            }
            reclaimTarget = journal.end
        }
    }

    /// The upload is over; a write that came meanwhile starts the next one.
    private func end(_ upload: Upload) {
        guard let activity = active[upload.block], activity.upload === upload else { return }
        activity.upload = nil
        uploadsRunning -= 1
        if let slot = state.slot(of: upload.block), state.slots.state(slot) == .dirty {
            queueDirty(upload.block)
        } else {
            noteClean(upload.block)
        }
        dropIfIdle(upload.block)
    }

    /// Tries again later, longer each time, without holding others up.
    func retry(_ upload: Upload, _ error: StoreError) {
        statistics.storeErrors += 1
        let block = upload.block
        let failures = failureCounts[block, default: 0]
        failureCounts[block] = failures + 1
        if failures == 0 { log(.warning, "block \(block) not uploaded yet: \(error.message)") }
        let delay = min(
            configuration.retryDelayMs << UInt64(min(failures, 8)), configuration.retryDelayMaxMs)
        guard let activity = active[block], activity.upload === upload else { return }
        activity.upload = nil
        uploadsRunning -= 1
        if queuedDirty.insert(block).inserted {
            retryQueue.append((block: block, dueMs: now + delay))
        }
        dropIfIdle(block)
    }

    /// A write that needed the store has failed with it.
    func failWrite(_ op: WriteOp, _ error: VolumeError) {
        guard active[op.block]?.writer === op else { return }
        complete(op, error)
    }
}
