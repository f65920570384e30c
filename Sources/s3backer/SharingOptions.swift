import ArgumentParser
import VolumeOptions

/// The part of the command line about disks that several hosts have mounted, and about the kernel's
/// page cache. The names of the real s3backer mean the same here.
struct SharingOptions: ParsableArguments {
    @Flag(
        name: .customLong("sharedDiskMode"),
        help: """
            Several hosts mount the volume, for a file system made for that: nothing is cached, \
            every access is one to the bucket.
            """)
    var sharedDiskMode = false

    @Flag(
        name: .customLong("directIO"),
        help: "Keep the disk out of the kernel's page cache.")
    var directIO = false
}

extension SharingOptions {
    /// Refuses what makes no sense where nothing may be remembered.
    static func check(_ options: Options) throws(StartupError) {
        guard options.sharing.sharedDiskMode, let usual = try? Options.parse([]) else { return }
        let policy = options.policy
        let others: [(String, Bool)] = [
            ("blockCacheFile", options.blockCacheFile != nil),
            ("blockCacheSize", options.blockCacheSize != nil),
            ("blockCacheThreads", options.blockCacheThreads != usual.blockCacheThreads),
            ("blockCacheWriteDelay", options.blockCacheWriteDelay != usual.blockCacheWriteDelay),
            ("blockCacheNoVerify", options.reload.blockCacheNoVerify),
            ("blockCacheSync", policy.blockCacheSync),
            ("blockCacheMaxDirty", policy.blockCacheMaxDirty != usual.policy.blockCacheMaxDirty),
            ("blockCacheTimeout", policy.blockCacheTimeout != usual.policy.blockCacheTimeout),
            (
                "blockCacheNumProtected",
                policy.blockCacheNumProtected != usual.policy.blockCacheNumProtected
            ),
            ("blockCacheFileAdvise", policy.blockCacheFileAdvise),
            ("blockCacheRecoverDirtyBlocks", policy.blockCacheRecoverDirtyBlocks),
            ("readAhead", options.readAhead.readAhead ?? "0" != "0"),
            (
                "readAheadTrigger",
                options.readAhead.readAheadTrigger != usual.readAhead.readAheadTrigger
                    && options.readAhead.readAheadTrigger != "0"
            ),
            ("md5CacheSize", options.consistency.md5CacheSize != "0"),
            ("listBlocks", options.reload.listBlocks),
            ("flush", options.maintenance.flush),
        ]
        guard let other = others.first(where: \.1) else { return }
        throw StartupError(
            "--sharedDiskMode caches nothing, so --\(other.0) is of no use; leave one out")
    }
}
