import BlockCache
import BlockStore
import CDaemon
import CacheFile
import Glibc
import Logging

/// One mount from opening its files to its end, in the process that serves it.
struct Mount {
    private let plan: MountPlan
    private let readiness: Readiness?
    private let target: LogTarget
    private let logger: Logger

    /// - Parameter readiness: The parent that waits for a daemon to be ready; nil: foreground.
    init(_ plan: MountPlan, readiness: Readiness?) {
        self.plan = plan
        self.readiness = readiness
        let target = LogTarget(isMuted: plan.isQuiet)
        self.target = target
        let level: Logger.Level = plan.isDebug ? .debug : .info
        logger = Logger(label: Program.name) { _ in LineLogHandler(target, level: level) }
    }

    /// Serves until the mount ends. Blocks.
    ///
    /// - Returns: The process's exit status.
    func run() -> Int32 {
        do throws(StartupError) {
            return try serve()
        } catch {
            if let readiness {
                readiness.fail(error.message)
            } else {
                printLine("\(Program.name): \(error.message)")
            }
            return 1
        }
    }

    private func serve() throws(StartupError) -> Int32 {
        FuseLog.capture()
        for notice in plan.notices { logger.notice("\(notice)") }
        let cache = try CacheOpening(plan, logger: logger, readiness: readiness).open()
        let store = try openStore()
        let volume = makeVolume(cache, store)
        let stop = Stop(plan, volume: volume, cache: cache, logger: logger)
        let engine = FuseEngine(
            plan: plan, volume: volume, slots: cache.slotCount, logger: logger
        ) { [self] in becomeReady(cache) }
        let session: FuseSession
        do throws(StartupError) {
            logger.info("mounting \(plan.mountPoint)")
            session = try FuseSession(engine)
            if readiness?.isAbandoned == true { throw StartupError("interrupted") }
            try session.mount()
        } catch {
            start(volume)
            stop.abandon()
            throw error
        }
        FuseLog.forward(to: logger)
        start(volume)
        let ending = session.loop()
        return withExtendedLifetime(engine) { stop.run(after: ending, session) }
    }

    private func openStore() throws(StartupError) -> DirectoryStore {
        do throws(StoreError) {
            return try DirectoryStore(
                directory: plan.directory, prefix: plan.prefix, blockSize: plan.blockSize,
                removeLeftovers: !plan.isReadOnly)
        } catch {
            throw StartupError(error.message)
        }
    }

    private func makeVolume(_ cache: OpenedCache, _ store: DirectoryStore) -> VolumeCache {
        var configuration = VolumeConfiguration()
        configuration.writeDelayMs = plan.writeDelayMs
        configuration.uploadThreads = plan.uploadThreads
        configuration.isReadOnly = plan.isReadOnly
        configuration.phaseFile = plan.phaseFile
        return VolumeCache(
            cache: cache, store: store, configuration: configuration, logger: logger)
    }

    /// Starts the volume's threads with all signals blocked, so that only this thread gets them.
    private func start(_ volume: VolumeCache) {
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        volume.start()
        pthread_sigmask(SIG_SETMASK, &before, nil)
    }

    /// The kernel has found the mount answering.
    private func becomeReady(_ cache: OpenedCache) {
        cache.setServing(true)
        logger.info("mounted \(plan.description) on \(plan.mountPoint)")
        target.unmute()
        // Refused without CAP_SYS_RESOURCE, or by an old kernel; then it is as without.
        if cdaemon_set_io_flusher() != 0 { logger.debug("PR_SET_IO_FLUSHER is not permitted") }
        if let readiness {
            target.switchToSystemLog()
            Daemon.detach()
            readiness.ready()
        }
    }
}
