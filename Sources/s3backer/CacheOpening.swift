import BlockStore
import CacheFile
import FileIO
import Glibc
import Logging

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

    /// A tiny disk gets a cache larger than itself: fewer blocks than this cannot work.
    private var slots: Int { max(plan.cacheSlots, Geometry.slotsMin) }

    /// - Parameter readiness: The waiting parent of a daemon, to stop waiting when it is gone.
    init(_ plan: MountPlan, logger: Logger, readiness: Readiness?) {
        self.plan = plan
        self.logger = logger
        self.readiness = readiness
    }

    /// Blocks while another s3backer finishes with the file.
    func open() throws(StartupError) -> OpenedCache {
        let identity = Self.identity(plan)
        let info = Self.session(plan)
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
        let cache = try openFile(file, identity, info)
        report(cache, file.path)
        return cache
    }

    private func report(_ cache: OpenedCache, _ path: String) {
        for warning in cache.warnings { logger.warning("\(warning)") }
        if let summary = cache.recoverySummary { logger.notice("\(summary)") }
        if plan.isCacheSizeGiven && cache.slotCount != slots {
            logger.notice(
                """
                \(path) holds \(cache.slotCount) blocks, which stays so; \
                --blockCacheSize only counts for a new file
                """)
        }
        logger.info(
            "\(path): \(cache.cleanBlocks) clean and \(cache.dirtyBlocks) dirty blocks loaded")
    }

    // MARK: Opening and waiting

    private func openFile(
        _ file: MountPlan.CacheFilePlan, _ identity: VolumeIdentity, _ info: SessionInfo
    ) throws(StartupError) -> OpenedCache {
        var waiting = Waiting()
        var isCreated = false
        while true {
            do throws(CacheFileError) {
                return try CacheFiles.open(file.path, identity: identity, info: info)
            } catch {
                switch error.kind {
                case .missing where !isCreated:
                    try create(file, identity, info)
                    isCreated = true
                case .locked:
                    try wait(&waiting, file.path)
                default:
                    throw CacheFailure.explain(error, path: file.path)
                }
            }
        }
    }

    private func create(
        _ file: MountPlan.CacheFilePlan, _ identity: VolumeIdentity, _ info: SessionInfo
    ) throws(StartupError) {
        do throws(CacheFileError) {
            try CacheFiles.create(
                file.path, identity: identity, slots: slots, info: info,
                ringBytes: file.ringBytes)
        } catch {
            // Somebody else was faster: open theirs.
            if error.kind == .exists { return }
            throw CacheFailure.explain(error, path: file.path)
        }
        logger.notice("created \(file.path) for \(slots) blocks")
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

    static func identity(_ plan: MountPlan) -> VolumeIdentity {
        let text = Array(bindingText(plan).utf8)
        return VolumeIdentity(
            binding: text.withUnsafeBytes { Digest.sha256($0) },
            volumeUUID: [UInt8](repeating: 0, count: 16),
            blockSize: plan.blockSize,
            volumeBlocks: plan.blockCount)
    }

    /// What a cache file is bound to, as text; never change it.
    static func bindingText(_ plan: MountPlan) -> String {
        """
        s3backer-binding-1
        bucket=file://\(plan.directory)
        prefix=\(plan.prefix)
        blockSize=\(plan.blockSize)
        blockHashPrefix=0

        """
    }

    private static func session(_ plan: MountPlan) -> SessionInfo {
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        let name = host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return SessionInfo(
            creator: "\(Program.name) \(Program.version)",
            mounter: "pid \(getpid()), \(plan.mountPoint)",
            host: String(decoding: name, as: UTF8.self),
            bootID: bootID(),
            mountedAt: UInt64(max(0, time(nil))))
    }

    /// 16 bytes that change with every boot of this machine; zeros where unknown.
    private static func bootID() -> [UInt8] {
        var text = [UInt8](repeating: 0, count: 64)
        let fd = Glibc.open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        if fd >= 0 {
            _ = read(fd, &text, text.count)
            close(fd)
        }
        let digits = text.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        guard digits.count == 32 else { return [UInt8](repeating: 0, count: 16) }
        return stride(from: 0, to: 32, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
