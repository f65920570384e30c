/// Counters since the start, and gauges.
public struct VolumeStatistics: Sendable, Equatable {
    // Gauges.
    /// Blocks there is room for.
    public var cacheSize = 0
    public var currentSize = 0
    public var initialSize = 0
    public var dirtyBlocks = 0
    public var dirtyBytes = 0
    public var dirty = DirtyReport()
    public var conflictBlocks = 0
    /// Trimmed blocks in no slot that may still be in the store.
    public var zeroBlocks = 0
    public var ringBytesUsed = 0
    public var ringBytes = 0
    public var isPoisoned = false

    // Counters: blocks.
    public var readHits = 0
    public var readMisses = 0
    public var writeHits = 0
    public var writeMisses = 0
    public var verified = 0
    public var mismatch = 0
    public var conflicts = 0
    /// Reads answered from blocks that could not be compared with the store.
    public var servedUnverified = 0
    /// Asked for before somebody waited.
    public var readAheadBlocks = 0
    /// Of them, those that found no slot.
    public var readAheadDropped = 0

    // Counters: store.
    public var storeGets = 0
    public var storePuts = 0
    public var storeDeletes = 0
    /// Answers to questions which blocks there are.
    public var storeLists = 0
    public var zeroBlocksRead = 0
    public var zeroBlocksWritten = 0
    public var storeErrors = 0
    /// Uploads and deletions begun while the store refused everything.
    public var storeProbes = 0
    /// Puts given up because newer data came.
    public var storeCanceled = 0

    // Counters: cache file.
    public var groups = 0
    public var flushes = 0
    public var checkpoints = 0
    public var seals = 0
    public var carried = 0
    public var destagedGranules = 0
    public var evictions = 0
    /// Rounds for slots that ended before there were enough.
    public var evictionsCut = 0
    /// Blocks moved to another slot, so that the file can become smaller.
    public var moves = 0

    public init() {}

    /// Counters to zero; gauges stay.
    public mutating func reset() {
        var fresh = VolumeStatistics()
        fresh.initialSize = initialSize
        fresh.ringBytes = ringBytes
        fresh.isPoisoned = isPoisoned
        self = fresh
    }
}
