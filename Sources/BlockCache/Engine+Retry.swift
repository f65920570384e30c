// What the store has not taken: when each block is tried again, and how much is asked of a store that
// takes nothing.

import BlockStore
import CacheFile

/// Whether the store takes blocks at all (a circuit breaker):
///
///     taking --`failuresMax` failures in a row--> refusing --one success--> taking
///
/// A store that refuses is asked with one block after the other, with pauses: every block of a large
/// cache asking for itself would be thousands of requests a second, for nothing. Blocks that have failed
/// take turns with those that were never tried, so that a store which refuses only some of them does not
/// hold up the others. Uploads and deletions have one of these each: who may not write, or has no space
/// left, may still be allowed to delete.
struct StoreRefusal {
    /// Failures in a row after which the store is taken to refuse everything.
    let failuresMax: Int
    let pauseMs: UInt64
    private var failures = 0
    private var pauseUntilMs: UInt64 = 0
    /// Of a store that refuses: one that was never tried is next, if there is any.
    private(set) var isTurnOfNew = false

    /// A few may be under way: each of them may take long, while the store comes back meanwhile.
    private static let probesMax = 4

    init(_ configuration: EngineConfiguration) {
        failuresMax = configuration.refusalsMax
        pauseMs = configuration.retryDelayMs
    }

    var isRefusing: Bool { failures >= failuresMax }

    /// Whether a request may be begun.
    /// - Parameter running: those under way.
    func mayAsk(_ now: UInt64, running: Int) -> Bool {
        !isRefusing || now >= pauseUntilMs && running < Self.probesMax
    }

    /// A request has been begun.
    mutating func asked(_ now: UInt64) {
        guard isRefusing else { return }
        pauseUntilMs = now + pauseMs
        isTurnOfNew.toggle()
    }

    mutating func failed() { failures += 1 }

    mutating func taken() {
        failures = 0
        isTurnOfNew = false
    }
}

extension Engine {
    // MARK: The store as a whole

    /// An upload or a deletion has been begun.
    func noteAsked(_ upload: Upload) {
        let isProbe = upload.isOfExtent ? refusedDeletions.isRefusing : refusedUploads.isRefusing
        if isProbe { statistics.storeProbes += 1 }
        if upload.isOfExtent { refusedDeletions.asked(now) } else { refusedUploads.asked(now) }
    }

    /// The store has stored or deleted a block.
    func noteTaken(_ upload: Upload) {
        if upload.isOfExtent { return refusedDeletions.taken() }
        refusedUploads.taken()
        status.failuresNamed = 0
    }

    /// The store has failed with what was asked for an upload or a deletion.
    func noteRefused(_ upload: Upload, _ error: StoreError) {
        guard error.kind != .overtaken else { return }
        statistics.storeErrors += 1
        guard error.kind != .conflict else { return }
        if upload.isOfExtent { refusedDeletions.failed() } else { refusedUploads.failed() }
    }

    // MARK: Blocks

    /// The block to be tried again next; nil: none is due.
    func nextRetry() -> DirtyItem? {
        while let first = announcedRetries.first, first.dueMs <= now {
            _ = announcedRetries.popFirst()
            if mayAnnounce(first.block) { return first }
            // Its intents are gone.
            otherRetries.append(first)
        }
        guard let first = otherRetries.first, first.dueMs <= now, mayAnnounce(first.block) else {
            return nil
        }
        return otherRetries.popFirst()
    }

    /// Tries again later, longer each time, without holding others up.
    func retry(_ upload: Upload, _ error: StoreError) {
        let block = upload.block
        if failureCounts[block, default: 0] == 0 { nameFailure(block, error) }
        let delay = retryDelay(block)
        guard isOver(upload) else { return }
        queueAgain(block, sinceMs: upload.sinceMs, dueMs: now + delay)
        dropIfIdle(block)
    }

    func queueAgain(_ block: UInt64, sinceMs: UInt64? = nil, dueMs: UInt64) {
        guard queuedDirty.insert(block).inserted else { return }
        let item = DirtyItem(block: block, sinceMs: sinceMs ?? now, dueMs: dueMs)
        if state.intents(of: block).isEmpty {
            otherRetries.append(item)
        } else {
            announcedRetries.append(item)
        }
    }

    /// Counts a failure of the store with a block; how long to wait before the next try.
    func retryDelay(_ block: UInt64) -> UInt64 {
        let failures = failureCounts[block, default: 0]
        failureCounts[block] = failures + 1
        return min(
            configuration.retryDelayMs << UInt64(min(failures, 8)), configuration.retryDelayMaxMs)
    }
}
