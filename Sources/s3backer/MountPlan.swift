import BlockStore
import S3IO
import VolumeOptions

/// Everything a mount needs to know, checked and with absolute paths.
struct MountPlan: Equatable {
    struct CacheFilePlan: Equatable {
        var path: String
        /// Size of the journal ring of a new file; nil: the usual one.
        var ringBytes: Int?
    }

    var source: VolumeSource
    /// Begins the name of every block.
    var prefix: String
    /// Names of blocks have a hash.
    var isHashed: Bool
    /// For buckets.
    var codec: CodecPlan
    /// Empty: nothing is mounted, the cache file is uploaded.
    var mountPoint: String
    var isFlush: Bool { mountPoint.isEmpty }
    /// What was asked for; `settle` says what it came to.
    var sizes: SizeRequest
    private(set) var blockSize = 0
    private(set) var blockCount: UInt64 = 0
    var cacheFile: CacheFilePlan?
    /// Blocks the cache holds, at most `blockCount`.
    private(set) var cacheSlots = 0
    /// Whether the user chose `cacheSlots`.
    var isCacheSizeGiven: Bool
    var writeDelayMs: Int
    var uploadThreads: Int
    var policy: PolicyPlan
    var readAhead: ReadAheadPlan
    var filename: String
    /// Empty: there is no statistics file.
    var statsFilename: String
    var statsMirror: StatsMirrorPlan?
    var fileMode: UInt32
    var uid: UInt32
    var gid: UInt32
    /// For services that show changes late; nil: this one does not.
    var consistency: ConsistencyGuard.Limits?
    var reload: ReloadPlan
    var isReadOnly: Bool
    /// Several hosts have the volume mounted; nothing is cached.
    var isShared: Bool
    /// The kernel keeps nothing of the disk in its page cache.
    var isDirect: Bool
    /// Mount whatever the sizes or the token in the bucket say.
    var isForced: Bool
    var isQuiet: Bool
    var isDebug: Bool
    /// Log what libfuse sees.
    var isTracing: Bool
    var isForeground: Bool
    var phaseFile: String?
    /// Words for libfuse from the command line; they come after ours and so win.
    var mountWords: [String]
    /// What the user should know although nothing is wrong.
    var notices: [String] = []

    var fileSize: UInt64 { blockCount * UInt64(blockSize) }

    var address: VolumeAddress {
        VolumeAddress(source: source, prefix: prefix, isHashed: isHashed)
    }

    /// The volume, for logs and /proc/mounts.
    var description: String { address.description }

    /// Completes the plan with the sizes of the volume.
    mutating func settle(_ sizes: SizeRequest.Settled) {
        blockSize = sizes.blockSize
        blockCount = sizes.blockCount
        cacheSlots = sizes.cacheSlots
        notices += sizes.notices + policy.notices(slots: cacheSlots)
    }
}
