import BlockCache
import BlockStore
import Glibc
import VolumeOptions

// --sharedDiskMode: no cache, no file, and a token that does not keep others of the kind away.

extension Mount {
    /// Serves until the mount ends. Blocks.
    ///
    /// - Returns: The process's exit status.
    func serveShared(_ home: any VolumeHome) throws(StartupError) -> Int32 {
        let volume: SharedVolume
        let engine: FuseEngine
        let session: FuseSession
        do throws(StartupError) {
            volume = SharedVolume(store: try home.openStore(plan), blockCount: plan.blockCount)
            engine = FuseEngine(plan: plan, volume: volume, logger: logger) { [self] in
                becomeReady(nil)
            }
            logger.info("mounting \(plan.mountPoint)")
            session = try FuseSession(engine)
            if readiness?.isAbandoned == true { throw StartupError("interrupted") }
            try session.mount()
        } catch {
            home.abandon(hasDirty: false, isBound: false)
            throw error
        }
        FuseLog.forward(to: logger)
        start { volume.start(threads: plan.uploadThreads) }
        let mirror = plan.statsMirror.map { StatsMirror($0, engine.statistics, logger: logger) }
        mirror?.start()
        let ending = session.loop()
        return withExtendedLifetime(engine) {
            defer { mirror?.end() }
            Stop.end(session, of: plan, after: ending, logger: logger)
            let limit = StopLimit(plan.policy.unmountTimeoutMs, home)
            volume.stop()
            if let problem = home.release(isComplete: true) { logger.notice("\(problem)") }
            limit.end()
            return ending >= 0 ? 0 : 1
        }
    }
}
