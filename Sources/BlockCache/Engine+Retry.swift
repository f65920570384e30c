// What the store has not taken: when each block is tried again, and how much is asked of a store that
// takes nothing.

import BlockStore
import CacheFile

/// Whether the store takes blocks at all (a circuit breaker):
///
///     taking --`refusalsMax` failures in a row--> refusing --one success--> taking
///
/// Of a store that refuses, what has failed is tried again one block after the other, with pauses:
/// every block of a large cache asking for itself would be thousands of requests a second, for nothing.
/// Blocks that were never tried do not wait: the store may refuse others only, and their success ends
/// the refusal as well.
struct StoreRefusal {
    /// Requests for uploads and deletions that have failed since one has succeeded.
    var failures = 0
    /// Before this a refusing store is not asked again.
    var pauseUntilMs: UInt64 = 0
}

extension Engine {
    // MARK: The store as a whole

    var isRefusing: Bool { refusal.failures >= configuration.refusalsMax }

    /// A few may be under way: each of them may take long, while the store comes back meanwhile.
    private static var probesMax: Int { 4 }

    /// Whether what has failed may be tried again now.
    var mayTryAgain: Bool {
        guard isRefusing else { return true }
        return now >= refusal.pauseUntilMs
            && uploadsRunning + (zeroRun?.running ?? 0) < Self.probesMax
    }

    /// An upload or a deletion has been begun: of a refusing store that is the next question.
    func noteAsked() {
        guard isRefusing else { return }
        statistics.storeProbes += 1
        refusal.pauseUntilMs = now + configuration.retryDelayMs
    }

    /// The store has stored or deleted a block.
    func noteTaken() {
        refusal.failures = 0
        status.failuresNamed = 0
    }

    /// The store has failed with what was asked for an upload or a deletion.
    func noteRefused(_ error: StoreError) {
        guard error.kind != .conflict, error.kind != .overtaken else { return }
        refusal.failures += 1
    }

    // MARK: Blocks

    /// The block to be tried again next; nil: none is due, or may be tried now.
    func nextRetry() -> DirtyItem? {
        guard mayTryAgain else { return nil }
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
        statistics.storeErrors += 1
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
