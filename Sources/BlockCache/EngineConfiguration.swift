/// What the engine is told about its policy.
public struct EngineConfiguration: Sendable {
    public var writeDelayMs: UInt64 = 250
    public var uploadsMax = 20
    public var isReadOnly = false
    /// Written data is flushed after this long even if nobody asks.
    public var syncIntervalMs: UInt64 = 5000
    /// A seal follows the last commit after this long.
    public var sealDelayMs: UInt64 = 50
    public var checkpointIntervalMs: UInt64 = 60_000
    public var retryDelayMs: UInt64 = 1000
    public var retryDelayMaxMs: UInt64 = 30_000
    /// After so many failures in a row the store is taken to refuse everything.
    public var refusalsMax = 64
    public var dirtyPagesMax = 2048
    /// Blocks destaged at a time.
    public var destagesMax = 4
    /// How long records that nobody waits for gather, to be written with the next that somebody does
    /// wait for.
    public var recordDelayMs: UInt64 = 0
    /// How long an announced upload waits for others to share its flush.
    public var intentDelayMs: UInt64 = 200
    /// How long a write that found no free slot lets evictions gather, to share their flushes.
    public var gatherMs: UInt64 = 20
    /// See `BlockStore`.
    public var storeHonorsConditions = false
    public var storeLateMs: UInt64 = 0
    public var storeDeletesTogether = 1
    /// Whether less than all of a block is asked for where little is missing.
    public var storeReadsParts = false
    /// Most blocks read ahead of a stream of reads; 0: none.
    public var readAheadMax = 0
    /// How many blocks read one after the other are a stream; 0: nothing is read ahead.
    public var readAheadTrigger = 2
    /// Somebody else may have written to the store since this file was last open.
    public var storeMayHaveChanged = false
    /// nil: conflicts are kept until the user decides.
    public var conflictPolicy: ConflictPolicy?
    /// Clean blocks of an earlier session are not compared with the store.
    public var trustsCache = false
    /// While the store does not answer, clean blocks of an earlier session are served as they are.
    public var servesUnverified = false
    /// See `BlockStore`.
    public var storeListsInOrder = false
    /// Which blocks the store has is found out by listing them.
    public var survey = SurveyExtent.none
    /// List requests under way at a time.
    public var surveysMax = 4
    /// Blocks, or regions without cached blocks, that one event looks at for a survey.
    public var surveyStepsMax = 4096
    /// A trim of more blocks than this asks which of them there are before it deletes them.
    public var listedToDelete: UInt64 = 64
    /// Blocks, or regions without cached blocks, that one event looks at for a trim or its deletes.
    public var trimStepsMax = 4096
    /// Failing blocks that the log names before the store has taken one.
    public var failuresNamedMax = 10
    /// Slots that one event looks at for an eviction; the next one goes on from there. Sixteen times as
    /// many where protected blocks may have to be passed over.
    public var clockStepsMax = 4096
    /// Most zero extents, if fewer than the ring has room for.
    public var extentsMax = Int.max
    public var policy = CachePolicy()
    /// No block gives way to others while there is a slot for each, and one more.
    public var keepsAll = false

    public init() {}
}
