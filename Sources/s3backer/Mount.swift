import BlockCache
import BlockStore
import CDaemon
import CacheFile
import Glibc
import Logging
import VolumeOptions

/// One mount from opening its files to its end, in the process that serves it.
struct Mount {
    private(set) var plan: MountPlan
    let readiness: Readiness?
    private let target: LogTarget
    let logger: Logger

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

    /// Locks the cache file, asks and takes the volume, and only then changes the file: what goes
    /// wrong leaves neither a token nor a new file.
    private func serve() throws(StartupError) -> Int32 {
        FuseLog.capture()
        let locked = try CacheOpening(plan, logger: logger, readiness: readiness).lock()
        if plan.isFlush { try requireFile(locked) }
        let home = makeHome()
        let claim = try home.claim(locked)
        var settled = self
        settled.plan.settle(claim.sizes)
        return try settled.serve(locked, home, claim)
    }

    private func makeHome() -> any VolumeHome {
        switch plan.source {
        case .directory(let directory): DirectoryHome(plan, directory: directory)
        case .bucket(let configuration): BucketHome(plan, configuration, logger: logger)
        }
    }

    private func serve(
        _ locked: LockedCacheFile?, _ home: any VolumeHome, _ claim: VolumeClaim
    ) throws(StartupError) -> Int32 {
        for notice in plan.notices { logger.notice("\(notice)") }
        if plan.isShared { return try serveShared(home) }
        let opening = CacheOpening(plan, logger: logger, readiness: readiness)
        let cache: OpenedCache
        let store: any BlockStore
        do throws(StartupError) {
            store = guarded(try home.openStore(plan))
            cache = try opening.open(locked, claim)
        } catch {
            home.abandon(hasDirty: locked != nil, isBound: locked != nil)
            throw error
        }
        if plan.policy.dropsPages { cache.dropPages() }
        let volume = makeVolume(cache, store, claim)
        let stop = Stop(plan, volume: volume, cache: cache, home: home, logger: logger)
        if plan.isFlush {
            start { volume.start() }
            prepare(volume, claim)
            return stop.flush()
        }
        let engine = FuseEngine(
            plan: plan, volume: volume, logger: logger
        ) { [self] in becomeReady(cache) }
        let session: FuseSession
        do throws(StartupError) {
            logger.info("mounting \(plan.mountPoint)")
            session = try FuseSession(engine)
            if readiness?.isAbandoned == true { throw StartupError("interrupted") }
            try session.mount()
        } catch {
            start { volume.start() }
            stop.abandon(isBound: locked != nil)
            if locked == nil { opening.discard() }
            throw error
        }
        FuseLog.forward(to: logger)
        start { volume.start() }
        if let slots = opening.slotsWanted(of: cache) { volume.resize(slots: slots) }
        prepare(volume, claim)
        let mirror = plan.statsMirror.map {
            StatsMirror($0, engine.statistics, logger: logger)
        }
        mirror?.start()
        let ending = session.loop()
        return withExtendedLifetime(engine) {
            defer { mirror?.end() }
            return stop.run(after: ending, session)
        }
    }

    private func requireFile(_ locked: LockedCacheFile?) throws(StartupError) {
        if locked != nil { return }
        throw StartupError(
            "--blockCacheFile=\(plan.cacheFile?.path ?? ""): there is no such file, so nothing is to be "
                + "flushed; name the cache file of the volume")
    }

    /// Before anybody else reads or writes.
    private func prepare(_ volume: VolumeCache, _ claim: VolumeClaim) {
        guard claim.isBlockZeroOld, !plan.isReadOnly else { return }
        if let error = BlockZero.rewrite(volume) {
            logger.warning("block 0 keeps the old size of the disk for now: \(error.message)")
        } else {
            logger.info("block 0 is written anew with the size of the disk")
        }
    }

    private func guarded(_ store: any BlockStore) -> any BlockStore {
        guard let limits = plan.consistency else { return store }
        return ConsistencyGuard(store, limits, clock: MonotonicClock())
    }

    private func makeVolume(
        _ cache: OpenedCache, _ store: any BlockStore, _ claim: VolumeClaim
    ) -> VolumeCache {
        var configuration = VolumeConfiguration()
        configuration.writeDelayMs = plan.writeDelayMs
        configuration.uploadThreads = plan.uploadThreads
        configuration.readAhead = plan.readAhead.blocksMax
        configuration.readAheadTrigger = plan.readAhead.trigger
        configuration.isReadOnly = plan.isReadOnly
        configuration.policy = plan.policy.cache
        configuration.phaseFile = plan.phaseFile
        configuration.storeMayHaveChanged = claim.continuity != .unbroken
        configuration.servesUnverified = claim.continuity == .unbroken && plan.cacheFile != nil
        configuration.conflictPolicy = plan.reload.conflictPolicy
        configuration.trustsCache = trustsCache(claim)
        configuration.survey = surveyExtent
        configuration.surveyThreads = plan.reload.listThreads
        return VolumeCache(
            cache: cache, store: store, configuration: configuration, logger: logger)
    }

    /// Lists that may lag behind are asked for only by those who want them.
    private var surveyExtent: SurveyExtent {
        if plan.reload.listsAll { return .all }
        guard case .bucket = plan.source, plan.consistency == nil else { return .none }
        return .cached
    }

    private func trustsCache(_ claim: VolumeClaim) -> Bool {
        guard plan.reload.trustsCache else { return false }
        guard claim.continuity == .broken else { return true }
        logger.warning(
            """
            --blockCacheNoVerify: \(plan.description) has been mounted by others since; the blocks \
            in the cache file are verified all the same
            """)
        return false
    }

    /// Starts the volume's threads with all signals blocked, so that only this thread gets them.
    func start(_ body: () -> Void) {
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        body()
        pthread_sigmask(SIG_SETMASK, &before, nil)
    }

    /// The kernel has found the mount answering.
    func becomeReady(_ cache: OpenedCache?) {
        cache?.setServing(true)
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
