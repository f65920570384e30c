/// Everything a mount needs to know, checked and with absolute paths.
struct MountPlan: Equatable {
    struct CacheFilePlan: Equatable {
        var path: String
        /// Size of the journal ring of a new file; nil: the usual one.
        var ringBytes: Int?
    }

    /// The directory with the blocks, without symbolic links.
    var directory: String
    var prefix: String
    var mountPoint: String
    var blockSize: Int
    var blockCount: UInt64
    var cacheFile: CacheFilePlan?
    /// Blocks the cache holds, at most `blockCount`.
    var cacheSlots: Int
    /// Whether the user chose `cacheSlots`.
    var isCacheSizeGiven: Bool
    var writeDelayMs: Int
    var uploadThreads: Int
    var filename: String
    /// Empty: there is no statistics file.
    var statsFilename: String
    var fileMode: UInt32
    var uid: UInt32
    var gid: UInt32
    var isReadOnly: Bool
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
    /// The volume, for logs and /proc/mounts.
    var description: String { "file://\(directory)/\(prefix)" }
}
