import CacheFile
import FileIO
import Journal

/// The cache as a state machine: events in, I/O to do out.
///
/// Every public or package method is an event. It changes memory only, never blocks, and leaves the
/// I/O it wants in `takeWork()`. Production threads call it under one short lock and do the work
/// outside it; the simulation drives the same code with a seeded scheduler. Not thread-safe.
///
/// The safety argument is in docs/format.md: the LSN ladder, rules R1-R9, invariants I1-I23.
package final class Engine {
    package let configuration: EngineConfiguration
    let file: any FileIO
    package internal(set) var geometry: Geometry
    package let seeds: SeedSpace
    package let state: CacheState
    let checkpointer: Checkpointer
    let isVolatile: Bool
    package internal(set) var journal: Journal
    package var statistics = VolumeStatistics()
    /// Tells tests which records were assigned; nil in production.
    package var trace: ((Record, LSN) -> Void)?

    package internal(set) var now: UInt64 = 0
    var work: [Work] = []
    package internal(set) var active: [UInt64: BlockActivity] = [:]
    /// Set once, by the first write-side error; nothing is acknowledged or recorded after (R9).
    package var poison: VolumeError?
    var isStopping = false

    // MARK: Read-ahead (Engine+ReadAhead)

    var streams: ReadAheadStreams
    /// Questions under way that nobody waited for when they were asked.
    var fetchesAhead = 0
    /// One more would be asked if it had a slot.
    var isSlotWantedAhead = false

    // MARK: Slots (Engine+Slots)

    var freeSlots: [UInt32] = []
    /// Freed by a record, not reusable before it is sealed.
    var pendingSlots: Fifo<(slot: Int, lsn: LSN)> = Fifo()
    var slotIO: [UInt32]
    /// The last `pump` found something to do with a slot that I/O uses.
    var isSlotAwaited = false
    var isReferenced: [Bool]
    var slotUse = SlotUse()
    var isVerified: [Bool]
    var clockHand = 0
    /// Slots looked at since the last eviction of a block that is not protected.
    var clockMisses = 0
    var waitingForSlot: Fifo<WriteOp> = Fifo()
    /// Since when the first of them waits, or the one before it was served.
    var slotWaitSinceMs: UInt64 = 0
    var absent: AbsentBlocks

    // MARK: Journal (Engine+Journal)

    var waitingForRoom: Fifo<() -> Void> = Fifo()
    var waitingInReserve: Fifo<() -> Void> = Fifo()
    /// Stale blocks whose EVICT waits for room, with those who wait for their content.
    var waitingToDrop: [(block: UInt64, fetch: Fetch, answer: Fetched)] = []
    var acks: Fifo<WriteRequest> = Fifo()
    var syncs: Fifo<SyncWaiter> = Fifo()
    var remoteSyncs: [RemoteSync] = []
    /// Highest LSN somebody wants durable, or sealed.
    var durableWanted: LSN = 0
    var sealWanted: LSN = 0
    var lastCommitMs: UInt64 = 0
    var unsyncedSinceMs: UInt64?
    /// Since when there are records that have not been handed out to be written; nil: there are none.
    var gatheringSinceMs: UInt64?
    var ringPins: [UInt64: Int] = [:]
    var plansRunning = 0

    // MARK: Reclaim (Engine+Reclaim)

    package var checkpointStage = CheckpointStage.idle
    var flushCovers = CheckpointStage.idle.flushPoint
    var diskTail: UInt64
    var lastCheckpointMs: UInt64 = 0
    var destagesRunning = 0
    var reclaimTarget: UInt64?
    var finalStage = FinalStage.running

    // MARK: Size (Engine+Resize)

    package internal(set) var resizeStage = ResizeStage.none
    /// How many slots the file is to have.
    var slotsWanted: Int
    /// Free for good, of those that are to go.
    var retiredSlots: [UInt32] = []
    /// Slots whose blocks are being copied away.
    var movesRunning: Set<Int> = []
    /// The next slot to be looked at, counted from the first that goes.
    var resizeHand = 0
    var resizeRestsUntil: UInt64 = 0
    var flushCoversSpace = false
    /// Why the size that was asked for cannot be had, or not yet.
    var resizeObstacle: String?

    // MARK: Uploads (Engine+Upload)

    var dirtyQueue: Fifo<DirtyItem> = Fifo()
    /// Blocks that are tried again, those with an intent apart: they need no room for another one, and
    /// must not wait for it behind those that do.
    var announcedRetries = DueQueue()
    var otherRetries = DueQueue()
    var queuedDirty: Set<UInt64> = []
    var failureCounts: [UInt64: Int] = [:]
    var refusedUploads: StoreRefusal
    var refusedDeletions: StoreRefusal
    package var uploadsRunning = 0
    var uploadsSending = 0
    /// Intent recorded, not yet durable; in the order of their intents.
    var uploadsAnnounced: Fifo<UploadTask> = Fifo()
    var wave = IntentWave(after: 0)
    /// Intent durable, not yet sent.
    var uploadsReady: Fifo<UploadTask> = Fifo()

    var status = UploadStatus()
    var flow = FlowState()

    // MARK: Outcomes (Engine+Settle)

    /// Dirty blocks of which the store may have a version that their base does not know.
    var uncertain: Set<UInt64> = []
    /// Dirty blocks of an earlier session, where somebody else may have been since.
    var leftBehind: Set<UInt64> = []
    /// Blocks with unanswered requests, and until when these may still arrive.
    var suspects: [UInt64: UInt64] = [:]
    var confirmations: [UInt64: Confirmation] = [:]
    /// Blocks with an upload given up since the last one that succeeded.
    var overtakenBlocks: Set<UInt64> = []

    // MARK: Survey (Engine+Survey, Engine+SurveyAnswer)

    var survey = Survey()

    /// Conflicts that the policy is to end.
    var unresolved: [UInt64] = []
    /// The store has not answered the last question.
    var isStoreFailing = false
    var storeProbeMs: UInt64 = 0

    // MARK: Trims (Engine+Zero, Engine+ZeroUpload)

    /// Those whose blocks have not all been looked at.
    var trims: [Trim] = []
    package internal(set) var waitingForExtents: Fifo<ExtentWaiter> = Fifo()
    /// The range of a zero extent that is being deleted in the store.
    var zeroRun: ZeroRun?
    /// When the next range may be begun.
    var zeroDueMs: UInt64 = 0
    /// What deletions of trimmed blocks carry.
    lazy var zeroBlock = AlignedBuffer.zeroed(geometry.blockSize)
    /// Extents of an earlier session, whose deletions may still arrive until `adoptedUntilMs`.
    var adoptedZeros = ZeroExtents()
    var adoptedUntilMs: UInt64 = 0

    /// - Parameter now: milliseconds of the clock that `tick` will show.
    package init(cache: OpenedCache, configuration: EngineConfiguration, now: UInt64) {
        self.configuration = configuration
        self.now = now
        file = cache.file
        geometry = cache.geometry
        seeds = cache.seeds
        state = cache.state
        checkpointer = cache.checkpointer
        isVolatile = cache.isVolatile
        journal = cache.makeJournal()
        diskTail = journal.tail
        refusedUploads = StoreRefusal(configuration)
        refusedDeletions = StoreRefusal(configuration)
        slotsWanted = cache.geometry.slotCount
        streams = ReadAheadStreams(
            volumeBlocks: cache.geometry.volumeBlocks, windowMax: configuration.readAheadMax,
            trigger: configuration.readAheadTrigger)
        slotIO = Array(repeating: 0, count: cache.geometry.slotCount)
        isReferenced = Array(repeating: false, count: cache.geometry.slotCount)
        isVerified = Array(repeating: false, count: cache.geometry.slotCount)
        absent = AbsentBlocks(count: cache.geometry.volumeBlocks)
        statistics.initialSize = cache.state.usedSlots
        statistics.ringBytes = cache.geometry.ringLength
        adoptSlotUse()
        adoptSlots()
        beginSurvey()
        pump()
    }

    /// The I/O wanted since the last call, in the order it should be begun.
    package func takeWork() -> [Work] {
        let taken = work
        work = []
        return taken
    }

    /// Time passed. Everything that depends on time happens here.
    package func tick(_ nowMs: UInt64) {
        now = max(now, nowMs)
        tickJournal()
        tickReclaim()
        tickIdle()
        pump()
        tickStatus()
    }

    /// Lets everything go on that can. Called at the end of each event.
    func pump() {
        guard poison == nil else { return }
        isSlotAwaited = false
        pumpSlots()
        pumpFlow()
        pumpReadAhead()
        pumpRoom()
        pumpSurvey()
        pumpConflicts()
        pumpUploads()
        pumpResize()
        pumpReclaim()
        pumpCheckpoint()
        pumpJournal()
    }

    // MARK: Activities

    func activity(_ block: UInt64) -> BlockActivity {
        if let known = active[block] { return known }
        let fresh = BlockActivity()
        active[block] = fresh
        return fresh
    }

    func dropIfIdle(_ block: UInt64) {
        if let known = active[block], known.isIdle { active[block] = nil }
    }

    func reply(_ body: @escaping @Sendable () -> Void) { work.append(.reply(body)) }

    func log(_ level: LogLine.Level, _ text: String) {
        work.append(.log(LogLine(level: level, text: text)))
    }

    // MARK: Numbers

    package func snapshotStatistics() -> VolumeStatistics {
        var all = statistics
        all.cacheSize = geometry.slotCount
        all.currentSize = state.usedSlots
        all.dirtyBlocks = state.dirtySlots
        all.dirtyBytes = state.dirtySlots * geometry.blockSize
        all.conflictBlocks = state.conflictSlots
        all.zeroBlocks = Int(state.zeros.blockCount)
        all.dirty = dirtyReport()
        all.ringBytesUsed = journal.usedBytes
        return all
    }

    /// Asked by tests after every event.
    package func checkInvariants() {
        journal.checkInvariants()
        precondition(journal.tail <= diskTail)
        let readers = plansRunning + destagesRunning + movesRunning.count
        precondition(readers > 0 || ringPins.isEmpty, "a ring pin was left behind")
        precondition(state.usedSlots <= geometry.slotCount)
        precondition(geometry == state.geometry && freeSlots.allSatisfy { $0 < usableSlots })
        state.zeros.checkInvariants()
        precondition(
            poison != nil || !checkpointStage.isIdle || canCarry, "I9: no room left to carry")
        precondition(state.zeros.count <= geometry.ring.extentsMax, "I9: more than can be carried")
        precondition(
            finalStage != .checkpointing || !journal.hasOpen, "a record beside the last checkpoint")
    }
}
