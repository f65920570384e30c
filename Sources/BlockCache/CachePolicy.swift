/// What the user may choose about dirty blocks: the part of the configuration that the program hands
/// to the engine as it is.
public struct CachePolicy: Sendable, Equatable {
    /// While anything is dirty, a line in the log so often; 0: never.
    public var statusIntervalMs: UInt64 = 0
    /// Uploads hurry the more the nearer the dirty blocks come to what there may be of them, and in
    /// the end writers are slowed down.
    public var hasFlowControl = false
    /// Most dirty blocks; 0: as many as fit.
    public var dirtyMax = 0
    /// Clean blocks unused for so long are evicted; 0: never.
    public var cleanTimeoutMs: UInt64 = 0
    /// Blocks below this number are evicted last.
    public var protectedBlocks: UInt64 = 0
    /// A write is acknowledged when the store has its blocks.
    public var isSynchronous = false
    public var fsync = FsyncMode.local

    public init() {}
}

/// When an fsync is answered.
public enum FsyncMode: String, Sendable, CaseIterable {
    /// The cache file has everything; where there is none, the store.
    case local
    /// The store has everything.
    case remote
    /// At once. Nothing is promised then.
    case none
}
