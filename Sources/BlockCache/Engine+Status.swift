// What is dirty, for the log and the statistics.

import BlockStore
import CacheFile

/// What the engine knows of uploads as a whole.
struct UploadStatus {
    var meter = UploadMeter()
    /// When the next line is due; nil: nothing is dirty.
    var dueMs: UInt64?
    /// Since when the store fails, and what it said last.
    var failure: (sinceMs: UInt64, message: String)?
    /// Blocks that were named as not uploaded since the store has taken one.
    var failuresNamed = 0
    /// Those who wait for the store have been told so.
    var hasToldWaiters = false
}

extension Engine {
    /// While stopping somebody waits for the end.
    private static var stoppingIntervalMs: UInt64 { 2000 }

    /// A line every interval while anything is dirty.
    func tickStatus() {
        tellWaiters()
        let interval = configuration.policy.statusIntervalMs
        guard interval > 0, poison == nil, !configuration.isReadOnly else { return }
        guard blocksLeft > 0 else {
            status.dueMs = nil
            return
        }
        guard let due = status.dueMs else {
            status.meter.restart(now)
            status.dueMs = now + interval
            return
        }
        let nextMs = isStopping ? min(interval, Self.stoppingIntervalMs) : interval
        if now >= due {
            log(.info, dirtyReport().text)
            status.dueMs = now + nextMs
        } else if due > now + nextMs {
            status.dueMs = now + nextMs
        }
    }

    func dirtyReport() -> DirtyReport {
        var report = DirtyReport()
        report.blocks = state.dirtySlots
        report.bytes = state.dirtySlots * geometry.blockSize
        report.deletions = Int(state.zeros.blockCount)
        report.bytesPerSecond = status.meter.bytesPerSecond(now)
        if let failure = status.failure {
            report.failingMs = now - min(now, failure.sinceMs)
            report.failure = failure.message
        }
        if report.blocks > 0 { report.oldestMs = now - min(now, oldestDirtyMs) }
        return report
    }

    /// Since when the oldest block waits for its upload: that which is first in one of the queues, or
    /// on its way.
    private var oldestDirtyMs: UInt64 {
        var oldest = dirtyQueue.first?.sinceMs ?? now
        for queue in [announcedRetries, otherRetries] {
            oldest = min(oldest, queue.oldestMs ?? now)
        }
        for activity in active.values {
            if let upload = activity.upload, !upload.isOfExtent {
                oldest = min(oldest, upload.sinceMs)
            }
        }
        return oldest
    }

    /// Says why a block is not uploaded; of a store that takes none, not for each of them.
    func nameFailure(_ block: UInt64, _ error: StoreError) {
        guard status.failuresNamed < configuration.failuresNamedMax else { return }
        status.failuresNamed += 1
        let isLast = status.failuresNamed == configuration.failuresNamedMax
        let rest = isLast ? "; further blocks are not named until the store takes one" : ""
        log(.warning, "block \(block) not uploaded yet: \(error.message)\(rest)")
    }

    /// The store has answered (nil), or failed.
    func noteStore(_ error: StoreError?) {
        guard let error else {
            status.failure = nil
            return
        }
        guard error.kind != .conflict, error.kind != .overtaken else { return }
        status.failure = (status.failure?.sinceMs ?? now, error.message)
    }
}

extension Result {
    var failure: Failure? {
        if case .failure(let error) = self { return error }
        return nil
    }
}
