/// How a volume is served.
public struct VolumeConfiguration: Sendable {
    public var writeDelayMs = 250
    public var uploadThreads = 20
    /// How much of the store is listed after the start, and how many requests do so at a time.
    public var survey = SurveyExtent.none
    public var surveyThreads = 4
    /// How many reads of the user are always asked of the store at a time, whatever else is.
    public var fetchThreads = 16
    /// Most blocks read ahead of those who read one block after the other; 0: none.
    public var readAhead = VolumeConfiguration.readAheadDefault
    /// How many blocks have to be read one after the other before; 0: nothing is read ahead.
    public var readAheadTrigger = 2
    /// Nothing is sent to the store.
    public var isReadOnly = false
    /// Somebody else may have mounted the volume since the cache file was last used.
    public var storeMayHaveChanged = false
    /// See `EngineConfiguration`.
    public var trustsCache = false
    public var servesUnverified = false
    public var conflictPolicy: ConflictPolicy?
    public var policy = CachePolicy()
    /// A test instrument: see `PhaseFile`.
    public var phaseFile: String?

    public init() {}

    /// Where the user does not say how far to read ahead.
    public static let readAheadDefault = 64
    /// Most bytes read ahead that are under way.
    static let readAheadBytesMax = 32 << 20
}
