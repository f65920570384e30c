import BlockCache
import BlockStore
import CacheFile
import FileIO
import TestSupport
import Testing

/// The engine in one thread, with a clock that only the test moves. The cache file is memory and
/// does at once what it is told; the store is a dictionary that may fail or keep uploads waiting.
final class EngineWorld {
    let engine: Engine
    private let file: any FileIO
    private(set) var objects: [UInt64: [UInt8]] = [:]
    private(set) var now: UInt64 = 1_000_000
    private(set) var lines: [String] = []
    /// Of work that follows from one request; a few hundred are usual.
    private static let roundsMax = 10_000
    /// Uploads fail.
    var isStoreDown = false
    /// Uploads of these blocks fail.
    var refused: Set<UInt64> = []
    /// Requests for uploads that the store has seen.
    private(set) var requests = 0
    /// Uploads wait for `answerUploads`.
    var holdsUploads = false
    private var held: [UploadTask] = []
    /// Reads of the cache file wait for `answerReads`.
    var holdsReads = false
    private var heldReads: [PlanTask] = []

    /// Of a request: nil while it is not answered.
    final class Answer: Sendable {
        private let result = Locked<VolumeError??>(nil)
        var isThere: Bool { result.withLock { $0 != nil } }
        var error: VolumeError? { result.withLock { $0 ?? nil } }
        func set(_ error: VolumeError?) { result.withLock { $0 = .some(error) } }
    }

    init(slots: Int = 8, _ change: (inout EngineConfiguration) -> Void = { _ in }) throws {
        file = try SmallWorld.make(slots: slots)
        let cache = try SessionStart.open(
            file, identity: SmallWorld.identity, info: SmallWorld.info())
        var configuration = EngineConfiguration()
        change(&configuration)
        engine = Engine(cache: cache, configuration: configuration, now: now)
        run()
    }

    // MARK: Requests

    /// Writes a whole block, or some granules of it.
    func write(_ block: UInt64, _ byte: UInt8, granules: Range<Int>? = nil) -> Answer {
        let answer = Answer()
        let geometry = engine.geometry
        let granules = granules ?? 0..<geometry.granulesPerBlock
        let buffer = AlignedBuffer(granules.count * geometry.granuleSize)
        buffer.mutableBytes.setBytes(0, [UInt8](repeating: byte, count: buffer.count))
        engine.write(
            WriteOp(
                block: block, granules: granules, buffer: buffer,
                userRange: 0..<granules.count * geometry.granuleSize,
                request: WriteRequest(parts: 1) { answer.set($0) }, geometry, engine.seeds))
        run()
        return answer
    }

    func trim(_ blocks: Range<UInt64>) -> Answer {
        let answer = Answer()
        engine.trim(Trim(blocks: blocks, request: WriteRequest(parts: 1) { answer.set($0) }))
        run()
        return answer
    }

    func sync() -> Answer {
        let answer = Answer()
        engine.sync { answer.set($0) }
        run()
        return answer
    }

    /// Reads a whole block, or some granules of it, which are here or in the store.
    func read(_ block: UInt64, granules: Range<Int>? = nil) {
        let geometry = engine.geometry
        let granules = granules ?? 0..<geometry.granulesPerBlock
        let buffer = AlignedBuffer(granules.count * geometry.granuleSize)
        let request = ReadRequest(buffer: buffer, range: 0..<buffer.count, parts: 1) { _ in }
        engine.read(
            ReadPart(
                block: block, granules: granules, targetOffset: 0,
                request: request))
        run()
    }

    /// Begins to read granules that are all in the slot of their block, and holds it.
    func beginHit(_ block: UInt64, granules: Range<Int>) -> SlotHit? {
        let hit = engine.beginHit(block, granules)
        run()
        return hit
    }

    /// Reads them and lets go of the slot.
    /// - Returns: nil: they are not what was written.
    func endHit(_ hit: SlotHit, granules: Int) -> [UInt8]? {
        let buffer = AlignedBuffer(granules * engine.geometry.granuleSize)
        let isGood = runner.read(hit, into: buffer.mutableBytes)
        engine.endHit(hit, isGood: isGood)
        run()
        return isGood ? Array(buffer.bytes) : nil
    }

    /// Time passes, in the steps of the timer.
    func pass(ms: UInt64) {
        let end = now + ms
        while now < end {
            now = min(now + 20, end)
            engine.tick(now)
            run()
        }
    }

    /// The clean stop, as far as it gets.
    func stop() {
        engine.beginStop()
        run()
        engine.beginFinalCheckpoint()
        run()
    }

    /// The oldest uploads that wait are answered.
    func answerUploads(_ count: Int = Int.max) {
        for task in held.prefix(count) { upload(task) }
        held.removeFirst(min(count, held.count))
        run()
    }

    /// The reads that wait are answered.
    func answerReads() {
        let tasks = heldReads
        heldReads = []
        for task in tasks { read(task) }
        run()
    }

    var readsHeld: Int { heldReads.count }
    var uploadsHeld: Int { held.count }
    var checkpoints: Int { engine.statistics.checkpoints }
    var groups: Int { engine.statistics.groups }
    var flushes: Int { engine.statistics.flushes }
    var isAllWritten: Bool { !engine.journal.hasUnwritten }
    var isAllDurable: Bool { engine.journal.durable >= engine.journal.lastRecordLSN }
    var epoch: UInt64 { engine.journal.epoch }
    var dirty: DirtyReport { engine.snapshotStatistics().dirty }

    func has(_ block: UInt64) -> Bool { engine.state.slot(of: block) != nil }

    // MARK: Work

    private func run() {
        var rounds = 0
        while rounds < Self.roundsMax {
            let work = engine.takeWork()
            if work.isEmpty { break }
            rounds += 1
            for item in work { perform(item) }
        }
        #expect(rounds < Self.roundsMax, "the engine makes work for itself without end")
        engine.checkInvariants()
    }

    private func read(_ task: PlanTask) {
        run(task.plan)
        engine.planDone(task)
    }

    private func write(_ pieces: [(bytes: UnsafeRawBufferPointer, offset: Int)]) -> FileError? {
        do throws(FileError) {
            for piece in pieces { try file.write(piece.bytes, at: piece.offset, .cached) }
            return nil
        } catch {
            return error
        }
    }

    private func write(_ pieces: [PlacedWrite]) -> FileError? {
        write(pieces.map { ($0.buffer.bytes, $0.offset) })
    }

    private var runner: PlanRunner {
        PlanRunner(file: file, geometry: engine.geometry, seeds: engine.seeds)
    }

    private func run(_ plan: ReadPlan) {
        runner.run(plan)
    }

    private func perform(_ item: Work) {
        switch item {
        case .writeGroup(let group, let offset):
            let pieces = group.imagePieces
            var error: FileError?
            do throws(FileError) {
                try file.write(pieces, at: offset, .cached)
            } catch let failure {
                error = failure
            }
            engine.groupWritten(group, error)
        case .flush: engine.flushed(nil)
        case .writeSlot(let slot): engine.slotWritten(slot, write(slot.writes))
        case .read(let task):
            if holdsReads { heldReads.append(task) } else { read(task) }
        case .destage(let task):
            run(task.plan)
            engine.destaged([(task, write(task.writes))])
        case .checkpoint(let writes): engine.checkpointWritten(write(writes))
        case .fetch(let task): engine.fetched(task, .success(fetch(task)))
        case .upload(let task):
            if holdsUploads { held.append(task) } else { upload(task) }
        case .settle(let task):
            requests += 1
            if isStoreDown { return engine.settled(task, .failure(Self.failure)) }
            let found = objects[task.block].map { bytes in
                bytes.withUnsafeBytes { Settled(version: version(task.block), content: $0) }
            }
            engine.settled(task, .success(found ?? Settled(version: .absent, content: nil)))
        case .goOn(let trim): engine.goOn(trim)
        case .reply(let body): body()
        case .hurry: break
        case .log(let line): lines.append(line.text)
        case .markPoisoned, .move, .reserve, .truncate, .survey:
            preconditionFailure("not in this world")
        }
    }

    private static let failure = StoreError(.temporary, "the store is down")

    private func upload(_ task: UploadTask) {
        requests += 1
        if isStoreDown || refused.contains(task.block) {
            return engine.uploaded(task, .failure(Self.failure))
        }
        objects[task.block] = task.isZero ? nil : Array(task.buffer.bytes)
        engine.uploaded(task, .success(StoreOutcome(version(task.block))))
    }

    private func version(_ block: UInt64) -> ObjectVersion {
        objects[block].map { bytes in
            .tag(bytes.withUnsafeBytes { Digest.hex(Digest.md5($0)) })
        } ?? .absent
    }

    private func fetch(_ task: FetchTask) -> Fetched {
        guard task.kind == .get, let bytes = objects[task.block] else {
            return Fetched(version: version(task.block), buffer: nil)
        }
        let buffer = AlignedBuffer(bytes.count)
        buffer.mutableBytes.setBytes(0, bytes)
        return Fetched(version: version(task.block), buffer: buffer)
    }
}
