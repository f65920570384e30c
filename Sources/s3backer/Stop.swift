import BlockCache
import CacheFile
import Glibc
import Logging

/// The end of a mount: nothing is served any more, and what is dirty goes to the store.
struct Stop {
    private let plan: MountPlan
    private let volume: VolumeCache
    private let cache: OpenedCache
    private let home: any VolumeHome
    private let logger: Logger

    init(
        _ plan: MountPlan, volume: VolumeCache, cache: OpenedCache, home: any VolumeHome,
        logger: Logger
    ) {
        self.plan = plan
        self.volume = volume
        self.cache = cache
        self.home = home
        self.logger = logger
    }

    private var subject: String { plan.isFlush ? "flush" : "unmount \(plan.mountPoint)" }

    /// Uploads everything, with nothing mounted. Blocks.
    ///
    /// - Returns: The process's exit status: 0 if nothing is left.
    func flush() -> Int32 {
        let report = end()
        let conflicts = volume.statistics.conflictBlocks
        if conflicts > 0 {
            logger.error(
                """
                flush: \(conflicts) blocks in conflict are not uploaded; \
                end the conflicts with --resolveConflicts
                """)
        }
        return conclude(report) && report.dirtyBlocksLeft == 0 && conflicts == 0 ? 0 : 1
    }

    /// Blocks until the volume has ended.
    ///
    /// - Parameter ending: What `FuseSession.loop` returned.
    /// - Returns: The process's exit status.
    func run(after ending: Int32, _ session: FuseSession) -> Int32 {
        cache.setServing(false)
        Self.end(session, of: plan, after: ending, logger: logger)
        return conclude(end()) && ending >= 0 ? 0 : 1
    }

    /// Nothing is served from now on, and no signal cuts short what follows.
    static func end(
        _ session: FuseSession, of plan: MountPlan, after ending: Int32, logger: Logger
    ) {
        ignoreSignals()
        session.unmount()
        if ending < 0 {
            logger.error(
                "serving \(plan.mountPoint) failed: \(String(cString: strerror(-ending)))")
        } else if ending > 0 {
            logger.info("unmounting \(plan.mountPoint) because of signal \(ending)")
        }
    }

    private func end() -> StopReport {
        let limit = StopLimit(plan.policy.unmountTimeoutMs, home)
        announce()
        let report = volume.stop(timeoutMs: limit.uploadMs)
        release(report)
        limit.end()
        return report
    }

    private func announce() {
        let dirty = volume.statistics.dirty
        if dirty.isNothing || plan.isReadOnly { return }
        let limit = plan.policy.unmountTimeoutMs.map { ", for at most \($0 / 1000) s" } ?? ""
        logger.info("\(subject): \(dirty.text)\(limit)")
    }

    /// Ends a volume that was started and never served.
    ///
    /// - Parameter isBound: Its cache file was there before.
    func abandon(isBound: Bool) {
        let report = volume.stop(timeoutMs: 0)
        home.abandon(
            hasDirty: report.dirtyBlocksLeft > 0 || report.error != nil, isBound: isBound)
    }

    /// The volume is free for others once it has everything. Before this process lets go of the
    /// cache file, so that the next mount finds it so.
    private func release(_ report: StopReport) {
        let isComplete = report.dirtyBlocksLeft == 0 && report.error == nil
        if let problem = home.release(isComplete: isComplete) {
            logger.warning("\(subject): \(problem)")
        }
    }

    /// - Returns: Whether all went well.
    private func conclude(_ report: StopReport) -> Bool {
        if let error = report.error { logger.error("\(subject): \(error.message)") }
        let left = report.dirtyBlocksLeft
        if left > 0 {
            if let file = plan.cacheFile {
                logger.warning(
                    """
                    \(subject): \(left) dirty blocks stay in \(file.path); \
                    the next mount uploads them
                    """)
            } else {
                logger.error(
                    "\(subject): \(left) dirty blocks could not be uploaded")
            }
        } else if report.error == nil {
            logger.info("\(subject): completed")
        }
        return report.error == nil && (left == 0 || plan.cacheFile != nil)
    }

    /// A second signal must not cut short what the first one began.
    private static func ignoreSignals() {
        for number in [SIGTERM, SIGINT, SIGHUP] { signal(number, SIG_IGN) }
    }
}
