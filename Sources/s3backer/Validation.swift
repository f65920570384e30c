import BlockStore
import Glibc
import VolumeOptions

/// Turns options into a plan, or says what is wrong with them. Nothing is created or changed here.
struct Validation {
    private let options: Options

    private static let threadsMax: UInt64 = 1000
    private static let writeDelayMaxMs: UInt64 = 24 * 3600 * 1000
    private static let nameBytesMax = 255

    private let environment: Environment

    init(_ options: Options, _ environment: Environment = .process) {
        self.options = options
        self.environment = environment
    }

    /// Checks everything that can be checked without opening the cache file.
    static func plan(
        _ options: Options, _ environment: Environment = .process
    ) throws(StartupError) -> MountPlan {
        try Validation(options, environment).plan()
    }

    private func plan() throws(StartupError) -> MountPlan {
        let (source, target) = try positionals()
        try SharingOptions.check(options)
        let sizes = try SizeRequest(options)
        // A bucket knows its sizes; a directory is told.
        let settled = options.test ? try sizes.settle(nil) : nil
        let statsFilename = try readStatsFilename()
        let (volume, prefix) = try readVolume(source)
        let cacheFile = try readCacheFile()
        let mountPoint = try target.map { target throws(StartupError) in
            try readMountPoint(target, volume, cacheFile)
        }
        var plan = MountPlan(
            source: volume,
            prefix: prefix,
            isHashed: options.storage.blockHashPrefix,
            codec: CodecPlan(),
            mountPoint: mountPoint ?? "",
            sizes: sizes,
            cacheFile: cacheFile,
            isCacheSizeGiven: options.blockCacheSize != nil,
            writeDelayMs: try OptionValue.number(
                "blockCacheWriteDelay", options.blockCacheWriteDelay, 0...Self.writeDelayMaxMs),
            uploadThreads: try OptionValue.number(
                "blockCacheThreads", options.blockCacheThreads, 1...Self.threadsMax),
            policy: try options.policy.plan(
                isFlush: options.maintenance.flush,
                hasCacheFile: cacheFile != nil, writeDelay: options.blockCacheWriteDelay),
            readAhead: try options.readAhead.plan(),
            filename: try readName("filename", options.filename),
            statsFilename: statsFilename,
            statsMirror: try options.statsMirror.plan(mountPoint: mountPoint),
            fileMode: try readFileMode(),
            uid: try readOwner("uid", options.uid, default: getuid()),
            gid: try readOwner("gid", options.gid, default: getgid()),
            consistency: try consistency(volume),
            reload: try options.reload.plan(hasCacheFile: cacheFile != nil),
            isReadOnly: options.readOnly,
            isShared: options.sharing.sharedDiskMode,
            isDirect: options.sharing.sharedDiskMode || options.sharing.directIO,
            isForced: options.force,
            isQuiet: options.quiet,
            isDebug: options.debug || options.trace,
            isTracing: options.trace,
            isForeground: options.foreground || options.trace,
            phaseFile: options.debugPhaseFile.map { PathChecks.absolute($0) },
            mountWords: options.fuse,
            notices: StorageValidation(options.storage).notices)
        if let settled { plan.settle(settled) }
        var codec = CodecValidation(options.codec, isReadOnly: options.readOnly)
        if options.test { try codec.refuseAll() }
        // Last, because it may ask for a password.
        plan.codec = try codec.plan(ask: Password.ask)
        plan.notices += codec.notices
        return plan
    }

    private func consistency(
        _ volume: VolumeSource
    ) throws(StartupError) -> ConsistencyGuard.Limits? {
        var pauses = (first: 200, sum: 30_000)
        if case .bucket(let bucket) = volume {
            pauses = (bucket.initialRetryPauseMs, bucket.maxRetryPauseMs)
        }
        return try options.consistency.limits(
            isReadOnly: options.readOnly, retryPauseMs: pauses.first, retrySumMs: pauses.sum)
    }

    func readVolume(
        _ source: String
    ) throws(StartupError) -> (volume: VolumeSource, prefix: String) {
        let address = try VolumeAddress(
            source, isTest: options.test, prefix: options.prefix, access: options.access,
            s3: options.s3, storage: options.storage, environment: environment)
        return (address.source, address.prefix)
    }

    // MARK: Positionals and names

    private func readMountPoint(
        _ target: String, _ volume: VolumeSource, _ cacheFile: MountPlan.CacheFilePlan?
    ) throws(StartupError) -> String {
        let mountPoint = try PathChecks.mountPoint(target)
        if case .directory(let directory) = volume {
            try PathChecks.apart(store: directory, mountPoint: mountPoint)
        }
        if let cacheFile {
            try PathChecks.outside(cacheFile.path, "blockCacheFile", mountPoint: mountPoint)
        }
        return mountPoint
    }

    /// - Returns: No mount point for `--flush`.
    private func positionals() throws(StartupError) -> (source: String, target: String?) {
        guard let source = options.source, !source.isEmpty else {
            throw StartupError(
                options.test
                    ? "--test needs a directory and a mount point: "
                        + "s3backer --test DIRECTORY MOUNTPOINT"
                    : "the bucket and the mount point are missing: s3backer BUCKET MOUNTPOINT")
        }
        if options.maintenance.flush { return (source, nil) }
        guard let target = options.mountPoint, !target.isEmpty else {
            throw StartupError(
                "the mount point is missing: s3backer "
                    + (options.test ? "--test " : "") + "\(source) MOUNTPOINT")
        }
        if let extra = options.extra.first {
            throw StartupError(
                "unexpected argument \(extra) after the mount point \(target); leave it out")
        }
        return (source, target)
    }

    private func readName(_ option: String, _ name: String) throws(StartupError) -> String {
        if name.isEmpty || name == "." || name == ".." || name.utf8.contains(0x2f) {
            throw StartupError("--\(option)=\(name): must be a name without \"/\"")
        }
        if name.utf8.count > Self.nameBytesMax {
            throw StartupError("--\(option): longer than \(Self.nameBytesMax) bytes; shorten it")
        }
        return name
    }

    private func readStatsFilename() throws(StartupError) -> String {
        let name = options.statsFilename
        if name.isEmpty { return name }
        if name == options.filename {
            throw StartupError("--statsFilename=\(name): is --filename too; choose two names")
        }
        return try readName("statsFilename", name)
    }

    private func readCacheFile() throws(StartupError) -> MountPlan.CacheFilePlan? {
        var ringBytes: Int?
        if let text = options.blockCacheRingSize {
            ringBytes = Int(try OptionValue.size("blockCacheRingSize", text))
        }
        guard let path = options.blockCacheFile else { return nil }
        return .init(path: try PathChecks.cacheFile(path), ringBytes: ringBytes)
    }

    // MARK: Numbers

    private func readOwner(
        _ option: String, _ text: String?, default: UInt32
    ) throws(StartupError) -> UInt32 {
        guard let text else { return `default` }
        return UInt32(try OptionValue.number(option, text, 0...UInt64(UInt32.max - 1)))
    }

    private func readFileMode() throws(StartupError) -> UInt32 {
        guard let text = options.fileMode else { return options.readOnly ? 0o400 : 0o600 }
        guard let mode = UInt32(text, radix: 8), mode <= 0o777 else {
            throw StartupError("--fileMode=\(text): must be an octal number from 0 to 0777")
        }
        return mode
    }
}
