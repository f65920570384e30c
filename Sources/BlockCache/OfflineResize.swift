import BlockStore
import CacheFile
import FileIO
import Glibc
import Logging

/// How far a change of the number of slots has come.
struct ResizeState {
    let slots: Int
    let isAtRest: Bool
    /// Why it does not get on.
    let obstacle: String?
}

/// Gives a cache file another number of slots while no mount has it. The engine does it, just as it
/// would on a mount, so a crash leaves the old size or the new one; nothing is asked of the store,
/// and what is not there yet stays in the file.
public enum OfflineResize {
    public struct Outcome: Sendable {
        /// As the file is now.
        public let slots: Int
        /// Dirty blocks that have another slot now.
        public let moved: Int
        /// Clean blocks that gave way.
        public let dropped: Int
        /// Why it has not the size that was asked for, or was not closed.
        public let obstacle: String?
    }

    private static let pollMicroseconds: UInt32 = 2000
    /// The engine has nothing to wait for but the disk.
    private static let patienceMs: UInt64 = 120_000

    /// Blocks until the file has the size, or cannot have it, and is closed.
    ///
    /// - Parameters:
    ///   - cache: of a session that has just begun; it ends here.
    ///   - progress: called now and then: blocks moved and dropped so far.
    public static func run(
        _ cache: OpenedCache, slots: Int, logger: Logger, progress: (Int) -> Void = { _ in }
    ) -> Outcome {
        var configuration = VolumeConfiguration()
        configuration.isReadOnly = true
        configuration.uploadThreads = 1
        configuration.fetchThreads = 1
        configuration.surveyThreads = 1
        configuration.readAhead = 0
        configuration.policy.statusIntervalMs = 0
        let kept = cache.dirtyBlocks + cache.conflictBlocks
        let volume = VolumeCache(
            cache: cache, store: NoStore(blockSize: cache.geometry.blockSize),
            configuration: configuration, logger: logger)
        volume.start()
        var obstacle = kept > slots ? "\(kept) dirty blocks do not fit into \(slots)" : nil
        if obstacle == nil {
            volume.resize(slots: slots)
            obstacle = wait(volume, slots, progress)
        }
        let before = volume.statistics
        let report = volume.stop(timeoutMs: 0)
        return Outcome(
            slots: before.cacheSize, moved: before.moves, dropped: before.evictions,
            obstacle: report.error?.message ?? obstacle)
    }

    /// - Returns: Why it cannot have the size.
    private static func wait(
        _ volume: VolumeCache, _ slots: Int, _ progress: (Int) -> Void
    ) -> String? {
        var done = -1
        var sinceMs = Monotonic.nowMs
        while true {
            let state = volume.resizeState
            if let obstacle = state.obstacle { return obstacle }
            if state.isAtRest, state.slots == slots { return nil }
            let statistics = volume.statistics
            let now = statistics.moves + statistics.evictions
            if now != done {
                done = now
                sinceMs = Monotonic.nowMs
                progress(now)
            }
            if Monotonic.nowMs - sinceMs > patienceMs { return "it does not get on" }
            usleep(pollMicroseconds)
        }
    }
}

/// The store of those who work without one.
struct NoStore: BlockStore {
    let blockSize: Int

    var honorsConditions: Bool { false }
    var lateMs: UInt64 { 0 }

    private var error: StoreError { StoreError(.temporary, "not connected") }

    func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        throw error
    }

    func head(_ block: UInt64) throws(StoreError) -> ObjectVersion { throw error }

    func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?,
        _ hints: PutHints
    ) throws(StoreError) -> StoreOutcome {
        throw error
    }

    func delete(_ block: UInt64, replacing: ObjectVersion?) throws(StoreError) -> StoreOutcome {
        throw error
    }

    func list(
        _ part: ListPart, _ page: ([ListedBlock]) -> Bool
    ) throws(StoreError) {
        throw error
    }
}
