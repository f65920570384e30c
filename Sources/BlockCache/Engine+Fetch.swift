// Questions to the store, and what its answers mean.

import BlockStore
import CacheFile
import FileIO
import Journal

extension Engine {
    enum FetchWaiter {
        case reader(ReadPart)
        case writer(WriteOp)
        case upload(Upload)
        /// Nobody: the answer completes patches.
        case patch
        /// Nobody yet.
        case readAhead

        var urgency: FetchUrgency {
            switch self {
            case .reader: .read
            case .writer: .write
            case .upload, .patch: .completion
            case .readAhead: .readAhead
            }
        }
    }

    /// Lets someone wait for the store's answer about a block; asks unless asked already.
    func fetch(_ block: UInt64, for waiter: FetchWaiter) {
        let activity = activity(block)
        let fetch = activity.fetch ?? begin(block, activity, waiter.urgency)
        if fetch.urgency < waiter.urgency {
            fetch.urgency = waiter.urgency
            work.append(.hurry(fetch.task, waiter.urgency))
        }
        switch waiter {
        case .reader(let part): fetch.readers.append(part)
        case .writer(let op): fetch.writer = op
        case .upload(let upload): fetch.upload = upload
        case .patch, .readAhead: break
        }
    }

    private func begin(
        _ block: UInt64, _ activity: BlockActivity, _ urgency: FetchUrgency
    ) -> Fetch {
        let slot = state.slot(of: block)
        let base = slot.map { state.slots.base($0) }
        let kind: FetchTask.Kind = slot.map { needsVerification($0) } ?? false ? .head : .get
        let part = kind == .get && urgency < .read ? slot.flatMap { missingPart($0) } : nil
        var expected: ObjectVersion?
        if part != nil, case .tag(let tag)? = base.flatMap({ ObjectVersion($0) }) {
            expected = .tag(tag)
        }
        let task = FetchTask(
            block: block, kind: kind, urgency: urgency, part: part, expected: expected,
            blockSize: geometry.blockSize, granuleSize: geometry.granuleSize)
        let fetch = Fetch(task, base: base)
        activity.fetch = fetch
        if urgency == .readAhead { fetchesAhead += 1 }
        work.append(.fetch(task))
        return fetch
    }

    /// All granules that are missing and what lies between them, if that is at most half of the
    /// block: not worth fetching the other half, which nobody has asked for.
    private func missingPart(_ slot: Int) -> Range<Int>? {
        guard configuration.storeReadsParts else { return nil }
        let all = GranuleSet.all(geometry.granulesPerBlock)
        let runs = all.subtracting(state.local(slot: slot)).runs
        guard let first = runs.first, let last = runs.last else { return nil }
        let part = first.lowerBound..<last.upperBound
        return part.count * 2 <= geometry.granulesPerBlock ? part : nil
    }

    /// The store has answered, or failed.
    package func fetched(_ task: FetchTask, _ result: Result<Fetched, StoreError>) {
        guard let activity = active[task.block], let fetch = activity.fetch else {
            preconditionFailure("an answer nobody asked for")
        }
        activity.fetch = nil
        if task.urgency == .readAhead { fetchesAhead -= 1 }
        switch result {
        case .failure(let error): fetchFailed(task, fetch, error)
        case .success(let answer):
            isStoreFailing = false
            switch task.kind {
            case .head: verified(task.block, fetch, answer)
            case .get: gotBlock(task.block, activity, fetch, answer)
            }
        }
        dropIfIdle(task.block)
        pump()
    }

    private func fetchFailed(_ task: FetchTask, _ fetch: Fetch, _ error: StoreError) {
        if let upload = fetch.upload {
            noteRefused(upload, error)
        } else {
            statistics.storeErrors += 1
        }
        if task.kind == .head, error.kind == .temporary, configuration.servesUnverified {
            storeFails(error)
            for part in fetch.readers { resolve(part, fetched: nil) }
            fetch.readers = []
            if fetch.writer == nil, fetch.upload == nil { return }
        }
        streams.failed(task.block)
        if fetch.urgency == .readAhead { return }
        let failure = VolumeError(.store, error.message)
        log(.error, "block \(task.block) cannot be read from the store: \(error.message)")
        for part in fetch.readers { finish(part, failure) }
        if let op = fetch.writer { failWrite(op, failure) }
        if let upload = fetch.upload { retry(upload, error) }
    }

    // MARK: A store that does not answer

    private static var probeEveryMs: UInt64 { 10_000 }

    func storeFails(_ error: StoreError) {
        if !isStoreFailing {
            log(
                .warning,
                "the store does not answer; cached blocks that were not compared with it yet are "
                    + "served as they are: \(error.message)")
        }
        isStoreFailing = true
        storeProbeMs = now + Self.probeEveryMs
    }

    /// Whether a clean block from an earlier session is served although the store has not confirmed
    /// it: nobody else has mounted the volume since, and the store does not answer. Now and then it is
    /// asked whether it does again.
    func servesUnverified(_ block: UInt64) -> Bool {
        guard configuration.servesUnverified, isStoreFailing else { return false }
        if now >= storeProbeMs {
            storeProbeMs = now + Self.probeEveryMs
            if active[block]?.fetch == nil { fetch(block, for: .patch) }
        }
        statistics.servedUnverified += 1
        return true
    }

    /// The version of a block that a restart left is known: keep it, or drop it.
    func verified(_ block: UInt64, _ fetch: Fetch, _ answer: Fetched) {
        if let slot = state.slot(of: block), needsVerification(slot) {
            if state.slots.base(slot) == Base(answer.version) {
                isVerified[slot] = true
                statistics.verified += 1
            } else if let poison {
                // The stale copy can no longer be given up, and must not be served.
                for part in fetch.readers { finish(part, poison) }
                return
            } else if canCarveOut(block),
                journal.hasRoom(recordBytes: 64, dataBytes: 0, reserved: true)
            {
                statistics.mismatch += 1
                let record = Record.evict(EvictRecord(slot: UInt32(slot), block: block))
                dropBlock(record, slot: slot, block: block)
            } else {
                waitingToDrop.append((block: block, fetch: fetch, answer: answer))
                if canCarveOut(block) { reclaimTarget = journal.end }
                return
            }
        }
        for part in fetch.readers { resolve(part, fetched: nil) }
        if let op = fetch.writer { resume(op, fetched: nil) }
        if let upload = fetch.upload { snapshot(upload, fetched: nil) }
    }

    private func gotBlock(
        _ block: UInt64, _ activity: BlockActivity, _ fetch: Fetch, _ answer: Fetched
    ) {
        statistics.storeGets += 1
        if answer.buffer == nil { statistics.zeroBlocksRead += 1 }
        // Granules named by a record since the question was asked are newer than the answer. If
        // they are not here any more, the answer cannot stand in for them: ask again.
        let slot = state.slot(of: block)
        let here = slot.map { state.local(slot: $0) } ?? GranuleSet()
        let isForeign = slot.map { isOfAnother($0, block, fetch, answer) } ?? false
        let isStale = isForeign || !here.isSuperset(of: fetch.overtaken)
        let usable = isStale ? nil : answer
        if !isStale { mergePatches(block, answer) }
        if slot == nil, answer.buffer == nil, fetch.overtaken.isEmpty { absent.insert(block) }
        for part in fetch.readers { resolve(part, fetched: usable) }
        if let op = fetch.writer { resume(op, fetched: usable) }
        if let upload = fetch.upload { snapshot(upload, fetched: usable) }
        if !isStale { fill(block, activity, answer) }
        dropIfUnread(block, fetch, answer)
    }

    /// Whether the answer is of another object than the one that the block's content derives from.
    /// A clean block is then compared again and dropped; of a dirty one, where what is not here can
    /// come from nowhere else, its upload decides.
    private func isOfAnother(
        _ slot: Int, _ block: UInt64, _ fetch: Fetch, _ answer: Fetched
    ) -> Bool {
        let base = state.slots.base(slot)
        guard base.kind != .unknown, base == fetch.base, base != Base(answer.version),
            state.intents(of: block).isEmpty
        else { return false }
        if state.slots.state(slot) == .clean {
            isVerified[slot] = false
            noteSurveyed(block)
            return true
        }
        uncertain.insert(block)
        return false
    }

    /// Granules that are here, or in an answer of the store.
    func covered(_ block: UInt64, _ answer: Fetched?) -> GranuleSet {
        let here = state.slot(of: block).map { state.local(slot: $0) } ?? GranuleSet()
        return here.union(answer?.covered(of: geometry.granulesPerBlock) ?? GranuleSet())
    }

    private func resume(_ op: WriteOp, fetched: Fetched?) {
        guard active[op.block]?.writer === op else { return }
        guard let fetched, covered(op.block, fetched).isSuperset(of: op.unmerged) else {
            return fetch(op.block, for: .writer(op))
        }
        merge(op, op.unmerged, slot: state.slot(of: op.block), fetched: fetched)
    }

    /// Patches and the store's answer become images: DATA+MERGE. Where the reserve has no room the
    /// patch stays and the next answer does it. Not where a direct write is under way or waits to be
    /// recorded: its record ends the patch, and an overlay would be destaged over its bytes (I4).
    private func mergePatches(_ block: UInt64, _ answer: Fetched) {
        guard poison == nil, let slot = state.slot(of: block) else { return }
        let size = geometry.granuleSize
        let busy = active[block]?.directBusy ?? GranuleSet()
        for patch in state.patched(block) where !busy.contains(patch.granule) {
            guard waitingInReserve.isEmpty,
                journal.hasRoom(recordBytes: 64, dataBytes: size, reserved: true)
            else { return }
            guard answer.covers(patch.granule) else { continue }
            let image = image(of: patch, over: answer)
            let crc = GranuleChecksum.of(
                image.bytes, block: block, granule: patch.granule, geometry, seeds)
            let record = DataRecord(
                slot: UInt32(slot), block: block, firstGranule: patch.granule, crcs: [crc],
                dataPosition: 0, isMerge: true)
            append(.data(record), data: [DataPiece(image, 0..<size)])
        }
    }
}
