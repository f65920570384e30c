// Zero extents on their way to the store: their blocks are deleted, a range at a time. Where the store
// deletes many with one request, so many are under way at a time, and the driver sends them together.

import BlockStore
import CacheFile
import FileIO
import Journal

/// A range of one zero extent that is being deleted. Its blocks are requests of their own here.
final class ZeroRun {
    let blocks: Range<UInt64>
    /// The extent's LSN when the range was begun: what is newer stays.
    let asOf: LSN
    /// Blocks to be deleted that no request is under way for, the next one last.
    var todo: [UInt64]
    var retries: [(block: UInt64, dueMs: UInt64)] = []
    var running = 0
    /// It has been told that the store fails.
    var hasFailed = false
    /// What is still to be recorded as clean, once all has been sent.
    var clean: [Range<UInt64>]?

    init(blocks: Range<UInt64>, asOf: LSN, todo: [UInt64]) {
        self.blocks = blocks
        self.asOf = asOf
        self.todo = todo
    }

    var isSent: Bool { todo.isEmpty && retries.isEmpty && running == 0 }
}

extension Engine {
    /// Blocks deleted together: one CLEAN for all of them, and after a crash at most these again.
    private static var runBlocksMax: Int { 1024 }

    /// Begins, goes on with and ends the deletion of one range.
    /// - Parameter most: requests of it under way at a time, where each is one of the store.
    func pumpZeros(atMost most: Int) {
        if zeroRun == nil { beginZeroRun() }
        guard let run = zeroRun else { return }
        // No DELETE before the trim is durable (I8).
        if run.asOf > journal.durable {
            durableWanted = max(durableWanted, run.asOf)
            return
        }
        while deletesTogether
            ? run.running < configuration.storeDeletesTogether
            : run.running < most && uploadsSending < configuration.uploadsMax,
            let block = nextZero(run)
        {
            delete(block, run)
        }
        if run.isSent, run.clean == nil { finishZeroRun(run) }
    }

    /// Deletions share requests, so they are not counted with those that have their own.
    var deletesTogether: Bool { configuration.storeDeletesTogether > 1 }

    private func beginZeroRun() {
        guard !state.zeros.isEmpty, isUrgent || zeroDueMs <= now,
            let extent = state.zeros.items.first(where: { !isHeld($0) }),
            let known = knownToDelete(extent.blocks)
        else { return }
        var todo: [UInt64] = []
        var block = extent.blocks.lowerBound
        var steps = configuration.trimStepsMax
        while block < known, steps > 0, todo.count < Self.runBlocksMax {
            steps -= 1
            let passed = absent.passed(from: block)
            if passed > block {
                block = passed
                continue
            }
            if !absent.contains(block) { todo.append(block) }
            block += 1
        }
        let end = min(block, known)
        zeroRun = ZeroRun(
            blocks: extent.blocks.lowerBound..<end, asOf: extent.lsn, todo: todo.reversed())
    }

    private func nextZero(_ run: ZeroRun) -> UInt64? {
        guard refusedDeletions.mayAsk(now, running: run.running) else { return nil }
        if refusedDeletions.isTurnOfNew, let new = run.todo.popLast() { return new }
        if let at = run.retries.firstIndex(where: { $0.dueMs <= now }) {
            return run.retries.remove(at: at).block
        }
        return run.todo.popLast()
    }

    private func delete(_ block: UInt64, _ run: ZeroRun) {
        // A block in a slot is the uploader's; one that has left its slot is what the store has.
        guard state.slot(of: block) == nil, let extent = state.zeros.extent(at: block),
            extent.lsn <= run.asOf
        else { return }
        let activity = activity(block)
        precondition(activity.upload == nil, "two requests for one block")
        let upload = Upload(block: block, sinceMs: now, isOfExtent: true)
        upload.asOf = run.asOf
        activity.upload = upload
        if !deletesTogether { uploadsSending += 1 }
        run.running += 1
        noteAsked(upload)
        work.append(
            .upload(
                UploadTask(
                    upload: upload, block: block, buffer: zeroBlock, digest: nil, replacing: nil)))
    }

    /// The store has deleted a block of the range, or failed.
    func extentDeleted(_ upload: Upload, _ result: Result<StoreOutcome, StoreError>) {
        guard let run = zeroRun else { preconditionFailure("a deletion without its range") }
        let block = upload.block
        run.running -= 1
        var isLate = true
        switch result {
        case .success(let outcome):
            isLate = outcome.mayArriveAgain
            failureCounts[block] = nil
            overtakenBlocks.remove(block)
            statistics.storeDeletes += 1
            statistics.zeroBlocksWritten += 1
            if state.slot(of: block) == nil, state.zeros.contains(block) { absent.insert(block) }
        case .failure(let error):
            if !run.hasFailed {
                log(.warning, "trimmed block \(block) not deleted yet: \(error.message)")
            }
            run.hasFailed = true
            run.retries.append((block: block, dueMs: now + retryDelay(block)))
        }
        if isLate { noteLate(block) }
        active[block]?.upload = nil
        // A write may have come meanwhile, and waits for this.
        if let slot = state.slot(of: block), state.slots.state(slot) == .dirty { queueDirty(block) }
        dropIfIdle(block)
    }

    // MARK: Clean

    /// All of the range is deleted. Blocks whose deletion may arrive once more stay zero extents by
    /// themselves until it cannot: a crash must not make forget that (I18).
    private func finishZeroRun(_ run: ZeroRun) {
        let late = suspects.compactMap { block, until in
            until > now && run.blocks.contains(block) ? block : nil
        }.sorted()
        // Each of them may make one extent more.
        guard late.isEmpty || state.zeros.count + late.count <= extentsMax else { return }
        var clean: [Range<UInt64>] = []
        var from = run.blocks.lowerBound
        for block in late {
            clean.append(from..<block)
            from = block + 1
        }
        clean.append(from..<run.blocks.upperBound)
        run.clean = clean.filter { state.zeros.overlaps($0, upTo: run.asOf) }
        recordClean(run)
    }

    private func recordClean(_ run: ZeroRun, isResumed: Bool = false) {
        guard poison == nil else { return }
        var isResumed = isResumed
        while let range = run.clean?.first {
            let record = Record.cleanRange(CleanRangeRecord(blocks: range, asOf: run.asOf))
            guard hasReserve(for: record, isResumed: isResumed) else {
                return waitInReserve { [unowned self] in recordClean(run, isResumed: true) }
            }
            isResumed = false
            append(record)
            run.clean?.removeFirst()
        }
        zeroRun = nil
        if suspects.count > Self.suspectsKept { suspects = suspects.filter { $0.value > now } }
        noteClean(nil)
        pumpExtents()
    }

    private static var suspectsKept: Int { 4096 }

    // MARK: Late deletions

    /// Whether an extent is one block that the store has deleted, or that has a slot since, and that
    /// may be deleted once more.
    func isHeld(_ extent: ZeroExtents.Extent) -> Bool {
        let block = extent.blocks.lowerBound
        return extent.blocks.count == 1 && (suspects[block] ?? 0) > now
            && (absent.contains(block) || state.slot(of: block) != nil)
    }

    /// Extents of which nothing is left to be deleted.
    var heldExtents: Int { state.zeros.items.count { isHeld($0) } }

    /// Deletions of an earlier session may still arrive.
    func adoptZeros() {
        guard !state.zeros.isEmpty else { return }
        zeroDueMs = now + configuration.writeDelayMs
        adoptedZeros = state.zeros
        adoptedUntilMs = now + configuration.storeLateMs
    }

    /// A block gets a slot, or has one dirty: what is sent of it must outlast deletions under way from before.
    func noteAdoptedLate(_ block: UInt64) {
        guard adoptedUntilMs > now, adoptedZeros.contains(block) else { return }
        suspects[block] = max(suspects[block] ?? 0, adoptedUntilMs)
    }
}
