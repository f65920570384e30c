import BlockCache
import BlockStore
import CacheFile
import FileIO

/// The engine of a mount in one thread: does at once what it wants done. The store is a dictionary.
final class EngineDriver {
    let engine: Engine
    private let file: any FileIO
    private var objects: [UInt64: [UInt8]] = [:]
    private var now: UInt64 = 1

    init(_ cache: OpenedCache) {
        var configuration = EngineConfiguration()
        configuration.writeDelayMs = 0
        configuration.checkpointIntervalMs = 1000
        configuration.storeHonorsConditions = true
        file = cache.file
        engine = Engine(cache: cache, configuration: configuration, now: now)
        run()
    }

    /// Until nothing is left to do without time passing.
    private func run() {
        var steps = 0
        while true {
            let work = engine.takeWork()
            if work.isEmpty { break }
            for item in work { perform(item) }
            steps += work.count
            check(steps < 100_000, "the engine does not come to rest")
        }
        if engine.poison == nil { engine.checkInvariants() }
    }

    /// Time passes: uploads, destages and checkpoints happen.
    func settle(_ seconds: Int) {
        for _ in 0..<seconds {
            now += 1000
            engine.tick(now)
            run()
        }
    }

    private final class Answer: @unchecked Sendable {
        var isThere = false
    }

    /// Reads a whole block; whether it can be read is all the same, but there has to be an answer.
    func read(_ block: UInt64) {
        let answer = Answer()
        let buffer = AlignedBuffer(engine.geometry.blockSize)
        let request = ReadRequest(buffer: buffer, range: 0..<buffer.count, parts: 1) { _ in
            answer.isThere = true
        }
        engine.read(
            ReadPart(
                block: block, granules: 0..<engine.geometry.granulesPerBlock, targetOffset: 0,
                request: request))
        run()
        for _ in 0..<100 where !answer.isThere { settle(1) }
        check(answer.isThere, "a read of block \(block) is not answered")
    }

    // MARK: Work

    private func attempt(_ body: () throws(FileError) -> Void) -> FileError? {
        do throws(FileError) {
            try body()
            return nil
        } catch {
            return error
        }
    }

    private func write(_ pieces: [(bytes: UnsafeRawBufferPointer, offset: Int)]) -> FileError? {
        attempt { () throws(FileError) in
            for piece in pieces { try file.write(piece.bytes, at: piece.offset, .cached) }
        }
    }

    private func write(_ pieces: [PlacedWrite]) -> FileError? {
        write(pieces.map { ($0.buffer.bytes, $0.offset) })
    }

    private func run(_ plan: ReadPlan) {
        PlanRunner(file: file, geometry: engine.geometry, seeds: engine.seeds).run(plan)
    }

    private func perform(_ item: Work) {
        switch item {
        case .writeGroup(let group, let offset):
            let error = attempt { () throws(FileError) in
                try file.write(group.imagePieces, at: offset, .cached)
            }
            engine.groupWritten(group, error)
        case .flush: engine.flushed(nil)
        case .writeSlot(let slot):
            engine.slotWritten(slot, write(slot.writes))
        case .read(let task):
            run(task.plan)
            engine.planDone(task)
        case .destage(let task):
            run(task.plan)
            let isGood = task.plan.error == nil && task.plan.badGranules.isEmpty
            engine.destaged([(task, isGood ? write(task.writes) : nil)])
        case .move(let task):
            run(task.plan)
            engine.moved(task, task.isReadable ? write(task.writes) : nil)
        case .reserve(let task):
            task.carryOut(file)
            engine.reserved(task)
        case .truncate(let size):
            engine.truncated(attempt { () throws(FileError) in try file.truncate(to: size) })
        case .checkpoint(let writes): engine.checkpointWritten(write(writes))
        case .markPoisoned(let writes): _ = write(writes)
        case .hurry: break
        case .fetch(let task): engine.fetched(task, .success(fetch(task)))
        case .upload(let task):
            objects[task.block] = task.isZero ? nil : Array(task.buffer.bytes)
            engine.uploaded(task, .success(StoreOutcome(version(task.block))))
        case .settle(let task):
            let settled =
                objects[task.block].map { bytes in
                    bytes.withUnsafeBytes { Settled(version: version(task.block), content: $0) }
                } ?? Settled(version: .absent, content: nil)
            engine.settled(task, .success(settled))
        case .survey: preconditionFailure("no survey was asked for")
        case .goOn(let trim): engine.goOn(trim)
        case .reply(let body): body()
        case .log: break
        }
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
