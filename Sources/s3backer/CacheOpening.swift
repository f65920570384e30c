import BlockStore
import CacheFile
import FileIO
import Glibc
import Logging
import VolumeOptions

/// Opens the cache file of a mount, making it first when there is none.
struct CacheOpening {
    private let plan: MountPlan
    private let logger: Logger
    private let readiness: Readiness?

    /// How long a holder that serves a mount may take to notice that it was unmounted.
    private static let graceMs: UInt64 = 2000
    /// How long a holder that is starting or stopping is waited for.
    private static let waitMaxMs: UInt64 = 3600 * 1000
    private static let pollMicroseconds: UInt32 = 50_000

    private var slots: Int {
        Geometry.slots(holding: plan.cacheSlots, of: plan.blockCount, blockSize: plan.blockSize)
    }

    /// - Parameter readiness: The waiting parent of a daemon, to stop waiting when it is gone.
    init(_ plan: MountPlan, logger: Logger, readiness: Readiness?) {
        self.plan = plan
        self.logger = logger
        self.readiness = readiness
    }

    /// Locks the cache file, so that the mount before this one has finished with the volume.
    /// Blocks while another s3backer finishes with the file.
    ///
    /// - Returns: nil when there is no file yet, or none is wanted.
    func lock() throws(StartupError) -> LockedCacheFile? {
        guard let file = plan.cacheFile else { return nil }
        var waiting = Waiting()
        while true {
            do throws(CacheFileError) {
                return try CacheFiles.lock(file.path)
            } catch {
                switch error.kind {
                case .missing: return nil
                case .locked: try wait(&waiting, file.path)
                default: throw CacheFailure.explain(error, path: file.path)
                }
            }
        }
    }

    /// Begins a session on the locked file, or on a new one.
    func open(
        _ locked: LockedCacheFile?, _ claim: VolumeClaim
    ) throws(StartupError) -> OpenedCache {
        let identity = Self.identity(plan, uuid: claim.volumeUUID)
        let info = Self.session(plan, token: claim.mountToken)
        guard let file = plan.cacheFile else {
            do throws(CacheFileError) {
                return try CacheFiles.openInMemory(
                    identity: identity, slots: slots, info: info)
            } catch {
                throw StartupError(
                    "cannot make a cache in memory: \(error.message); "
                        + "use another --blockCacheSize")
            }
        }
        if let locked { return try begin(locked, file, identity, info) }
        let isOurs = try create(file, identity, info)
        do throws(StartupError) {
            guard let made = try lock() else {
                throw StartupError(
                    "--blockCacheFile=\(file.path): disappeared; choose another file")
            }
            return try begin(made, file, identity, info)
        } catch {
            if isOurs { discard() }
            throw error
        }
    }

    /// How many blocks the cache file is to hold, if that is not what it has room for.
    func slotsWanted(of cache: OpenedCache) -> Int? {
        let isOther = plan.isCacheSizeGiven && plan.cacheFile != nil && cache.slotCount != slots
        return isOther ? slots : nil
    }

    /// Removes the cache file of a start that failed.
    func discard() {
        if let file = plan.cacheFile { unlink(file.path) }
    }

    private func begin(
        _ locked: LockedCacheFile, _ file: MountPlan.CacheFilePlan, _ identity: VolumeIdentity,
        _ info: SessionInfo
    ) throws(StartupError) -> OpenedCache {
        do throws(CacheFileError) {
            let cache = try CacheFiles.open(locked, identity: identity, info: info)
            report(cache, file.path)
            return cache
        } catch {
            throw CacheFailure.explain(error, path: file.path)
        }
    }

    private func report(_ cache: OpenedCache, _ path: String) {
        for warning in cache.warnings { logger.warning("\(warning)") }
        if let summary = cache.recoverySummary { logger.notice("\(summary)") }
        if cache.conflictBlocks > 0 {
            let fate =
                switch plan.reload.conflictPolicy {
                case nil:
                    "they are kept here and not uploaded; cachecheck list shows them, "
                        + "--resolveConflicts=local|remote decides"
                case .local: "those here are uploaded now (--resolveConflicts=local)"
                case .remote: "those here are given up now (--resolveConflicts=remote)"
                }
            logger.error(
                """
                \(path): \(cache.conflictBlocks) blocks were changed here and by somebody else in \
                the store; \(fate)
                """)
        }
        logger.info(
            "\(path): \(cache.cleanBlocks) clean and \(cache.dirtyBlocks) dirty blocks loaded")
    }

    // MARK: Opening and waiting

    /// - Returns: False when somebody else was faster.
    private func create(
        _ file: MountPlan.CacheFilePlan, _ identity: VolumeIdentity, _ info: SessionInfo
    ) throws(StartupError) -> Bool {
        do throws(CacheFileError) {
            try CacheFiles.create(
                file.path, identity: identity, slots: slots, info: info,
                ringBytes: file.ringBytes)
        } catch {
            if error.kind == .exists { return false }
            throw CacheFailure.explain(error, path: file.path)
        }
        logger.notice("created \(file.path) for \(slots) blocks")
        return true
    }

    private struct Waiting {
        let startMs = Monotonic.nowMs
        var servingSinceMs: UInt64?
        var isAnnounced = false
    }

    /// Sleeps a moment, or gives up.
    private func wait(_ waiting: inout Waiting, _ path: String) throws(StartupError) {
        let now = Monotonic.nowMs
        let holder = CacheFiles.holder(path)
        let mounter = holder?.mounter ?? ""
        let who = mounter.isEmpty ? "another process" : "s3backer (\(mounter))"
        if holder?.isServing ?? false {
            let since = waiting.servingSinceMs ?? now
            waiting.servingSinceMs = since
            if now - since >= Self.graceMs {
                throw StartupError(
                    "--blockCacheFile=\(path): in use by \(who); "
                        + "unmount that first or choose another file")
            }
        } else {
            waiting.servingSinceMs = nil
            if !waiting.isAnnounced {
                waiting.isAnnounced = true
                printLine("waiting for \(who) to finish with \(path)")
            }
        }
        if now - waiting.startMs >= Self.waitMaxMs {
            throw StartupError(
                "--blockCacheFile=\(path): \(who) did not finish with it in an hour; "
                    + "end that process or choose another file")
        }
        if readiness?.isAbandoned == true { throw StartupError("interrupted") }
        usleep(Self.pollMicroseconds)
    }

    // MARK: Identity

    static func identity(_ plan: MountPlan, uuid: [UInt8]) -> VolumeIdentity {
        VolumeIdentity(
            binding: plan.address.name.binding(blockSize: plan.blockSize),
            volumeUUID: uuid,
            blockSize: plan.blockSize,
            volumeBlocks: plan.blockCount)
    }

    private static func session(_ plan: MountPlan, token: UInt32?) -> SessionInfo {
        SessionInfo(
            creator: "\(Program.name) \(Program.version)",
            mounter: "pid \(getpid()), \(plan.isFlush ? "--flush" : plan.mountPoint)",
            host: ThisHost.name,
            bootID: ThisHost.bootIDBytes,
            mountedAt: UInt64(max(0, time(nil))),
            mountToken: token.map { UInt64($0) })
    }
}
