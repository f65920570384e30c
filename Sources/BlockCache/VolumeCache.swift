import BlockStore
import CacheFile
import FileIO
import Logging

/// What a stop left behind.
public struct StopReport: Sendable {
    public let dirtyBlocksLeft: Int
    public let error: VolumeError?
}

/// The volume as the outside sees it: bytes at offsets, answered through closures.
///
/// It drives the engine with threads. Lock order: the engine lock alone; no I/O, no store call and
/// no reply happens under it. The thread that brings an event also carries out the quick work that
/// the event produced (journal writes, flushes, slot writes, reads), so a hit costs no wake-up;
/// store calls, destages and checkpoints have threads of their own.
public final class VolumeCache: @unchecked Sendable {
    /// As it was at the start: only for sizes that never change.
    private let geometry: Geometry
    let file: any FileIO
    let store: any BlockStore
    let logger: Logger
    let runner: PlanRunner
    /// Waits to go to the disk. Of what is destaged, which nobody waits for, less at a time, since a
    /// flush that somebody waits for has to write it.
    let writtenSlots = WriteBackBatch(bytesMax: 1 << 20)
    let destagedSlots = WriteBackBatch(bytesMax: 128 << 10)
    private let configuration: VolumeConfiguration
    private let cache: OpenedCache

    /// Guards `engine` and everything below it.
    let lock = Condition()
    private let engine: Engine
    private var isTimerIdle = false
    private var isClosed = false
    private let phases: PhaseFile?

    let fetchLane: FetchLane
    /// Brings blocks together for uploads, which takes a core's time: read, check, digest.
    let snapshotLane = WorkLane()
    let uploadLane = WorkLane()
    let backgroundLane = WorkLane()
    let surveyLane = WorkLane()
    private var timer: Worker?

    /// Writes that wait for the store at a time; few ever do.
    private static let writeFetchesMax = 4
    /// Digests make some 700 MB/s each; more threads would only take turns from the users'.
    private static let snapshotThreads = 2
    /// What the end of the process may take back of uploads and fills that nobody waited for.
    private static let recordDelayMs: UInt64 = 20
    /// Bytes of blocks destaged at a time.
    private static let destageBytesMax = 2 << 20

    /// Starts no thread.
    public init(
        cache: OpenedCache, store: any BlockStore, configuration: VolumeConfiguration,
        logger: Logger
    ) {
        precondition(store.blockSize == cache.geometry.blockSize)
        self.cache = cache
        self.store = store
        self.configuration = configuration
        self.logger = logger
        geometry = cache.geometry
        file = cache.file
        runner = PlanRunner(file: cache.file, geometry: cache.geometry, seeds: cache.seeds)
        var policy = EngineConfiguration()
        policy.writeDelayMs = UInt64(max(0, configuration.writeDelayMs))
        policy.uploadsMax = max(1, configuration.uploadThreads)
        policy.isReadOnly = configuration.isReadOnly
        policy.policy = configuration.policy
        policy.storeHonorsConditions = store.honorsConditions
        policy.storeLateMs = store.lateMs
        policy.storeDeletesTogether = store.deletedTogether
        policy.storeListsInOrder = store.listsInOrder
        policy.survey = configuration.survey
        policy.storeMayHaveChanged = configuration.storeMayHaveChanged
        policy.trustsCache = configuration.trustsCache
        policy.servesUnverified = configuration.servesUnverified
        policy.conflictPolicy = configuration.conflictPolicy
        policy.surveysMax = max(1, configuration.surveyThreads)
        policy.storeReadsParts = true
        policy.keepsAll = true
        policy.recordDelayMs = Self.recordDelayMs
        policy.destagesMax = max(4, min(32, Self.destageBytesMax / store.blockSize))
        let aheadMax = max(1, VolumeConfiguration.readAheadBytesMax / store.blockSize)
        policy.readAheadMax = max(0, min(configuration.readAhead, aheadMax))
        policy.readAheadTrigger = max(0, configuration.readAheadTrigger)
        engine = Engine(cache: cache, configuration: policy, now: Monotonic.nowMs)
        fetchLane = FetchLane(
            .init(
                reserved: max(1, configuration.fetchThreads),
                most: [
                    .write: Self.writeFetchesMax, .completion: policy.uploadsMax,
                    .readAhead: policy.readAheadMax,
                ]))
        phases = configuration.phaseFile.flatMap { PhaseFile($0) }
    }

    /// Starts the threads; call once, after any fork.
    public func start() {
        fetchLane.start { [self] in carryOut([.fetch($0)], isLane: true) }
        snapshotLane.start(name: "snapshot", threads: Self.snapshotThreads) { [self] in
            carryOut($0, isLane: true)
        }
        uploadLane.start(name: "upload", threads: max(1, configuration.uploadThreads)) { [self] in
            carryOut($0, isLane: true)
        }
        backgroundLane.start(name: "destage", threads: 2) { [self] in
            carryOut($0, isLane: true)
        }
        surveyLane.start(name: "list", threads: max(1, configuration.surveyThreads)) { [self] in
            carryOut($0, isLane: true)
        }
        timer = Worker(name: "timer") { [self] in runTimer() }
        carryOut(event { _ in }, isLane: false)
    }

    // MARK: Requests

    /// Size in bytes.
    public var size: UInt64 { geometry.volumeBlocks * UInt64(geometry.blockSize) }

    /// Reads bytes. Answered exactly once, from any thread, perhaps before this returns.
    /// Never blocks on the store.
    public func read(
        at offset: UInt64, count: Int,
        reply: @escaping @Sendable (Result<ReadReply, VolumeError>) -> Void
    ) {
        precondition(count > 0 && offset + UInt64(count) <= size)
        let granule = UInt64(geometry.granuleSize)
        let low = offset / granule * granule
        let high = (offset + UInt64(count) + granule - 1) / granule * granule
        let buffer = AlignedBuffer(Int(high - low))
        let range = Int(offset - low)..<Int(offset - low) + count
        if isHit(low, high, buffer) {
            return reply(.success(ReadReply(buffer: buffer, range: range)))
        }
        let spans = blockSpans(low, high)
        let request = ReadRequest(buffer: buffer, range: range, parts: spans.count, reply: reply)
        let work = event { engine in
            for span in spans {
                let part = ReadPart(
                    block: span.block, granules: span.granules,
                    targetOffset: Int(span.start - low), request: request)
                engine.read(part)
            }
        }
        carryOut(work, isLane: false)
    }

    /// Whether all was in the slot of one block, and now is in the buffer.
    private func isHit(_ low: UInt64, _ high: UInt64, _ buffer: AlignedBuffer) -> Bool {
        let block = low / UInt64(geometry.blockSize)
        guard (high - 1) / UInt64(geometry.blockSize) == block else { return false }
        let span = blockSpan(block, low, high)
        var hit: SlotHit?
        carryOut(event { hit = $0.beginHit(span.block, span.granules) }, isLane: false)
        guard let hit else { return false }
        let isGood = runner.read(hit, into: buffer.mutableBytes)
        carryOut(event { $0.endHit(hit, isGood: isGood) }, isLane: false)
        return isGood
    }

    /// Writes bytes, which are copied before this returns. `reply(nil)`: acknowledged, survives
    /// the end of the process. Never blocks on the store or a flush.
    public func write(
        at offset: UInt64, from source: UnsafeRawBufferPointer,
        reply: @escaping @Sendable (VolumeError?) -> Void
    ) {
        precondition(source.count > 0 && offset + UInt64(source.count) <= size)
        let end = offset + UInt64(source.count)
        let spans = blockSpans(offset, end)
        let request = WriteRequest(parts: spans.count, reply: reply)
        let size = geometry.granuleSize
        let ops = spans.map { span -> WriteOp in
            let buffer = AlignedBuffer(span.granules.count * size)
            let low = max(span.start, offset)
            let high = min(span.start + UInt64(span.granules.count * size), end)
            let user = Int(low - span.start)..<Int(high - span.start)
            let bytes = source[Int(low - offset)..<Int(high - offset)]
            buffer.mutableSlice(user).copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes))
            return WriteOp(
                block: span.block, granules: span.granules, buffer: buffer, userRange: user,
                request: request, geometry, cache.seeds)
        }
        carryOut(event { engine in for op in ops { engine.write(op) } }, isLane: false)
    }

    /// Makes bytes zeros, as a write of zeros would; whole blocks go from the cache and the store.
    /// Takes no longer for a long range than for a short one. `reply` as for `write`.
    public func trim(
        at offset: UInt64, count: UInt64, reply: @escaping @Sendable (VolumeError?) -> Void
    ) {
        precondition(count > 0 && count <= size && offset <= size - count)
        let parts = TrimParts(offset..<offset + count, geometry)
        let request = WriteRequest(parts: parts.count, reply: reply)
        let ops = parts.partial.map { part in
            WriteOp(
                trimmed: part.block, granules: part.granules, userRange: part.userRange,
                request: request, geometry, cache.seeds)
        }
        let work = event { engine in
            for op in ops { engine.write(op) }
            if !parts.whole.isEmpty { engine.trim(Trim(blocks: parts.whole, request: request)) }
        }
        carryOut(work, isLane: false)
    }

    /// fsync: `reply(nil)` when everything acknowledged before is durable, in the cache file or,
    /// where that is only memory, in the store.
    public func sync(reply: @escaping @Sendable (VolumeError?) -> Void) {
        carryOut(event { $0.sync(reply) }, isLane: false)
    }

    private struct BlockSpan {
        let block: UInt64
        let granules: Range<Int>
        /// Volume offset of the first granule.
        let start: UInt64
    }

    /// The parts of a byte range by block, in whole granules.
    private func blockSpans(_ low: UInt64, _ high: UInt64) -> [BlockSpan] {
        let blockSize = UInt64(geometry.blockSize)
        return (low / blockSize...(high - 1) / blockSize).map { blockSpan($0, low, high) }
    }

    /// The part of a byte range that is in a block.
    private func blockSpan(_ block: UInt64, _ low: UInt64, _ high: UInt64) -> BlockSpan {
        let blockSize = UInt64(geometry.blockSize)
        let granule = geometry.granuleSize
        let base = block * blockSize
        let first = Int(max(low, base) - base) / granule
        let last = Int(min(high, base + blockSize) - 1 - base) / granule
        return BlockSpan(
            block: block, granules: first..<last + 1, start: base + UInt64(first * granule))
    }

    // MARK: Engine

    /// Brings an event to the engine and returns the work it wants.
    func event(_ body: (Engine) -> Void) -> [Work] {
        lock.withLock {
            engine.now = Monotonic.nowMs
            body(engine)
            if isTimerIdle, engine.hasTimedWork {
                isTimerIdle = false
                lock.broadcast()
            }
            if let phases { engine.report(to: phases) }
            return engine.takeWork()
        }
    }

    private func runTimer() {
        while true {
            let isOver = lock.withLock { () -> Bool in
                if isClosed { return true }
                isTimerIdle = !engine.hasTimedWork
                lock.wait(ms: isTimerIdle ? 1000 : 20)
                return isClosed
            }
            if isOver { return }
            carryOut(event { $0.tick(Monotonic.nowMs) }, isLane: false)
        }
    }

    // MARK: Size

    /// Makes the cache file hold so many blocks. Bigger, they are there soon; smaller may take until
    /// dirty blocks are uploaded. Reads and writes go on meanwhile; the log tells.
    public func resize(slots: Int) { carryOut(event { $0.resize(slots: slots) }, isLane: false) }

    /// Where it stands. Blocks that are on their way out of the end of the file are not asked for.
    var resizeState: ResizeState {
        lock.withLock {
            ResizeState(
                slots: engine.geometry.slotCount, isAtRest: engine.resizeStage.isNone,
                obstacle: engine.poison?.message ?? engine.resizeObstacle)
        }
    }

    // MARK: Numbers

    public var statistics: VolumeStatistics {
        lock.withLock { engine.snapshotStatistics() }
    }

    public func resetStatistics() { lock.withLock { engine.statistics.reset() } }

    // MARK: Stop

    /// Uploads what is dirty for at most `timeoutMs` (nil: until done; 0: nothing is sent any more),
    /// marks the cache file clean, ends all threads and lets go of the file. Call once. Blocks.
    /// The log tells of the progress.
    public func stop(timeoutMs: Int?) -> StopReport {
        carryOut(event { $0.beginStop(uploads: timeoutMs != 0) }, isLane: false)
        let begun = Monotonic.nowMs
        waitUntil { engine, now in
            if let timeoutMs, now >= begun + UInt64(timeoutMs) { return true }
            return engine.poison != nil || engine.isDrained
        }
        carryOut(event { $0.beginFinalCheckpoint() }, isLane: false)
        waitUntil { engine, _ in engine.isAtRest }
        fetchLane.close()
        snapshotLane.close()
        uploadLane.close()
        backgroundLane.close()
        surveyLane.close()
        lock.withLock {
            isClosed = true
            lock.broadcast()
        }
        timer?.join()
        return lock.withLock {
            StopReport(dirtyBlocksLeft: engine.blocksLeft, error: engine.poison)
        }
    }

    private func waitUntil(_ isDone: (Engine, UInt64) -> Bool) {
        lock.withLock {
            while !isDone(engine, Monotonic.nowMs) { lock.wait(ms: 20) }
        }
    }
}
