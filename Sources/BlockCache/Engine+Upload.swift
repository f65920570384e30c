// Dirty blocks on their way to the store. The stages of an upload are those of `Upload`; what
// comes of it is in Engine+Settle.swift.

import BlockStore
import CacheFile
import FileIO
import Journal

extension Engine {
    // MARK: Scheduling

    /// A block is dirty: it will be uploaded after the write delay.
    func queueDirty(_ block: UInt64) {
        let dueMs = now + configuration.writeDelayMs
        // Those that hold an intent must not wait behind those that need one.
        if !state.intents(of: block).isEmpty { return queueAgain(block, dueMs: dueMs) }
        if queuedDirty.insert(block).inserted {
            dirtyQueue.append(DirtyItem(block: block, sinceMs: now, dueMs: dueMs))
        }
    }

    /// Whether due times are ignored: stopping, an fsync waits for the store, or space is short.
    var isUrgent: Bool {
        isStopping || !remoteSyncs.isEmpty || isSomebodyWaiting || !waitingForExtents.isEmpty
            || !isRoomy && isShortOfClean
    }

    /// Whether soon there may be nothing to evict.
    private var isShortOfClean: Bool {
        state.dirtySlots * 4 > usableSlots * 3
            || usableSlots - state.dirtySlots < freeWanted + 2 * evictedTogether
    }

    /// Most uploads begun at a time. More than are sent, so that one flush makes the intents of many
    /// durable; each holds a copy of its block.
    private var uploadsAhead: Int {
        let ahead = min(Self.uploadBytesMax / geometry.blockSize, 256, usableSlots / 4)
        return max(configuration.uploadsMax, ahead)
    }

    private static var uploadBytesMax: Int { 16 << 20 }

    func pumpUploads() {
        guard !configuration.isReadOnly, finalStage == .running else { return }
        let urgent = isUrgent
        while uploadsRunning < uploadsAhead, let next = nextDirty(urgent: urgent) {
            startUpload(next)
        }
        commitIntents()
        pumpZeros(atMost: configuration.uploadsMax / 2)
        send()
        pumpZeros(atMost: configuration.uploadsMax)
    }

    private func nextDirty(urgent: Bool) -> DirtyItem? {
        guard refusedUploads.mayAsk(now, running: uploadsRunning) else { return nil }
        if refusedUploads.isTurnOfNew, let new = nextNew(urgent: urgent) { return new }
        return nextRetry() ?? nextNew(urgent: urgent)
    }

    /// The block that is dirty for the longest time and was never tried.
    private func nextNew(urgent: Bool) -> DirtyItem? {
        guard let first = dirtyQueue.first, urgent || first.dueMs <= now + hurryMs,
            mayAnnounce(first.block)
        else { return nil }
        dirtyQueue.removeFirst()
        return first
    }

    /// Whether the ring has room for the INTENT of a block besides those of the uploads begun (I9).
    func mayAnnounce(_ block: UInt64) -> Bool {
        !state.intents(of: block).isEmpty
            || (state.intentBlocks + uploadsRunning + 1) * CacheState.intentsPerBlock
                <= geometry.ring.intentsMax
    }

    private func startUpload(_ item: DirtyItem) {
        let block = item.block
        queuedDirty.remove(block)
        guard let slot = state.slot(of: block), state.slots.state(slot) == .dirty else { return }
        let activity = activity(block)
        // One upload per block: the one under way queues the block again when it ends.
        guard activity.upload == nil else { return }
        let upload = Upload(block: block, sinceMs: item.sinceMs)
        activity.upload = upload
        uploadsRunning += 1
        noteAsked(upload)
        if needsSettling(slot, block) { settle(upload) } else { snapshot(upload, fetched: nil) }
    }

    // MARK: Snapshot

    /// Brings the block together as of its last user write.
    func snapshot(_ upload: Upload, fetched: Fetched?) {
        let block = upload.block
        guard let slot = state.slot(of: block), state.slots.state(slot) == .dirty else {
            return end(upload)
        }
        let all = GranuleSet.all(geometry.granulesPerBlock)
        if !covered(block, fetched).isSuperset(of: all) {
            return fetch(block, for: .upload(upload))
        }
        upload.asOf = state.slots.dataLSN(slot)
        let plan = ReadPlan(
            block: block, slot: slot, target: AlignedBuffer(geometry.blockSize), wantsDigest: true)
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
        announce(upload, plan)
    }

    // MARK: Intent

    /// Records what is about to be sent, so that it will be known again (I22).
    private func announce(_ upload: Upload, _ plan: ReadPlan, isResumed: Bool = false) {
        let block = upload.block
        guard poison == nil, finalStage == .running, let slot = state.slot(of: block),
            state.slots.state(slot) == .dirty
        else { return end(upload) }
        let digest = plan.digest
        if digest == nil, isKnownAbsent(slot, block) {
            return cleaned(upload, asOf: upload.asOf, .absent)
        }
        let base = upload.seen.map { Base($0) } ?? state.slots.base(slot)
        let intent = IntentRecord(
            slot: UInt32(slot), block: block, asOf: upload.asOf, base: base, digest: digest)
        let known = state.intents(of: block)
        if known.count == CacheState.intentsPerBlock, (suspects[block] ?? 0) > now,
            !known.contains(where: { $0.record.asOf == upload.asOf })
        {
            // One that may still arrive must not be forgotten.
            return retry(upload, StoreError(.temporary, "earlier requests are not answered"))
        }
        let record = Record.intent(intent)
        guard hasReserve(for: record, isResumed: isResumed) else {
            return waitInReserve { [unowned self] in announce(upload, plan, isResumed: true) }
        }
        upload.intentLSN = append(record)
        if wave.count == 0 { wave.sinceMs = now }
        wave.count += 1
        uploadsAnnounced.append(
            UploadTask(
                upload: upload, block: block, buffer: plan.target, digest: digest,
                replacing: configuration.storeHonorsConditions
                    ? upload.seen ?? ObjectVersion(base) : nil))
    }

    /// Whether there is nothing to delete. An upload whose answer was lost may have landed, or may
    /// still do so.
    private func isKnownAbsent(_ slot: Int, _ block: UInt64) -> Bool {
        state.slots.base(slot) == .absent && state.intents(of: block).isEmpty
            && (suspects[block] ?? 0) <= now && !uncertain.contains(block)
    }

    /// Intents made durable with one flush: nothing but a full wave, a little time, or somebody who
    /// waits for the store asks for it.
    private func commitIntents() {
        guard wave.count > 0, let newest = uploadsAnnounced.last else { return }
        let isWanted = isStopping || !remoteSyncs.isEmpty || isSomebodyWaiting
        let isAtRest = uploadsAnnounced.count == uploadsRunning
        if wave.count >= waveWanted || isWanted && isAtRest
            || now >= wave.sinceMs + configuration.intentDelayMs
        {
            durableWanted = max(durableWanted, newest.upload.intentLSN)
            wave = IntentWave(after: newest.upload.intentLSN)
        }
    }

    /// As many as are sent while the next ones are announced.
    private var waveWanted: Int { max(1, uploadsAhead / 2) }

    /// No PUT and no DELETE before its INTENT, and so the data it carries, is durable here (I8):
    /// otherwise a power cut could leave the store ahead of the cache file.
    private func send() {
        guard poison == nil else { return }
        while let task = uploadsAnnounced.first, task.upload.intentLSN <= journal.durable {
            uploadsAnnounced.removeFirst()
            // Another's flush was faster.
            if task.upload.intentLSN > wave.after { wave.count -= 1 }
            uploadsReady.append(task)
        }
        while uploadsSending < configuration.uploadsMax, let task = uploadsReady.popFirst() {
            uploadsSending += 1
            task.upload.isSending = true
            work.append(.upload(task))
        }
    }

    /// A write has come for a block: what is being sent of it is old. Not a second time before an
    /// upload of the block has succeeded, or one that is written all the time would never be stored.
    /// And only if all of the block is here: not every server keeps the old object when a new one
    /// breaks off, and nothing of the block may be in the store alone then.
    func overtake(_ block: UInt64) {
        guard let upload = active[block]?.upload, upload.isSending,
            let slot = state.slot(of: block),
            state.local(slot: slot).isSuperset(of: .all(geometry.granulesPerBlock)),
            overtakenBlocks.insert(block).inserted
        else { return }
        upload.overtaken.set()
    }

    /// What has not been sent stays dirty, to be sent by the next session.
    func abandonAnnounced() {
        wave = IntentWave(after: wave.after)
        while let task = uploadsAnnounced.popFirst() ?? uploadsReady.popFirst() {
            end(task.upload)
        }
    }

    // MARK: End

    /// The upload is over; a write that came meanwhile starts the next one.
    func end(_ upload: Upload) {
        guard isOver(upload) else { return }
        if let slot = state.slot(of: upload.block), state.slots.state(slot) == .dirty {
            queueDirty(upload.block)
        } else {
            noteClean(upload.block)
        }
        dropIfIdle(upload.block)
    }

    /// Takes an upload from its block; false when that has been done before.
    func isOver(_ upload: Upload) -> Bool {
        guard let activity = active[upload.block], activity.upload === upload else { return false }
        activity.upload = nil
        uploadsRunning -= 1
        return true
    }

    /// A write that needed the store has failed with it.
    func failWrite(_ op: WriteOp, _ error: VolumeError) {
        guard active[op.block]?.writer === op else { return }
        complete(op, error)
    }
}
