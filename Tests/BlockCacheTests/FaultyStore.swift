import BlockStore
import FileIO
import Foundation
import Synchronization

struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// A store that fails, or is slow, whenever the test says so.
final class FaultyStore: BlockStore {
    struct Faults {
        var failsReads = false
        var failsWrites = false
        /// Changes are made, and reported as failed.
        var losesAnswers = false
        /// How long each call takes.
        var delayMs: UInt32 = 0
        /// Reads of these blocks wait until they are no longer among them.
        var held: Set<UInt64> = []
        /// Reads of these blocks fail.
        var failing: Set<UInt64> = []
    }

    /// One read: nil for all of the block.
    struct Read: Equatable {
        let block: UInt64
        var range: Range<Int>?
    }

    private let inner: any BlockStore
    private let faults = Locked(Faults())
    let failures = Atomic<Int>(0)
    let puts = Atomic<Int>(0)
    let gets = Atomic<Int>(0)
    /// Reads that have begun, in that order.
    let reads = Locked<[Read]>([])

    init(_ inner: any BlockStore, deletedTogether: Int = 1) {
        self.inner = inner
        self.deletedTogether = deletedTogether
    }

    var blockSize: Int { inner.blockSize }

    func set(_ change: (inout Faults) -> Void) { faults.withLock { change(&$0) } }

    private func check(isWrite: Bool, _ block: UInt64) throws(StoreError) {
        let now = faults.withLock { $0 }
        if now.delayMs > 0 { usleep(now.delayMs * 1000) }
        if isWrite ? now.failsWrites : now.failsReads {
            failures.add(1, ordering: .relaxed)
            throw StoreError(.temporary, "injected failure", block: block)
        }
    }

    private func begin(_ read: Read) throws(StoreError) {
        reads.withLock { $0.append(read) }
        while faults.withLock({ $0.held.contains(read.block) }) { usleep(500) }
        if faults.withLock({ $0.failing.contains(read.block) }) {
            throw StoreError(.temporary, "injected failure", block: read.block)
        }
        try check(isWrite: false, read.block)
        gets.add(1, ordering: .relaxed)
    }

    private func checkAnswer(_ block: UInt64) throws(StoreError) {
        guard faults.withLock({ $0.losesAnswers }) else { return }
        failures.add(1, ordering: .relaxed)
        throw StoreError(.temporary, "injected loss of an answer", block: block)
    }

    func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        try begin(Read(block: block))
        return try inner.get(block, into: target)
    }

    func read(
        _ block: UInt64, _ range: Range<Int>, into target: UnsafeMutableRawBufferPointer,
        _ condition: ReadCondition
    ) throws(StoreError) -> ReadAnswer {
        try begin(Read(block: block, range: range))
        return try inner.read(block, range, into: target, condition)
    }

    func head(_ block: UInt64) throws(StoreError) -> ObjectVersion {
        try check(isWrite: false, block)
        return try inner.head(block)
    }

    var honorsConditions: Bool { inner.honorsConditions }
    var lateMs: UInt64 { inner.lateMs }
    /// What is told to the cache.
    let deletedTogether: Int
    /// How many blocks each call had that deletes many.
    let bulkDeletes = Locked<[Int]>([])

    func delete(_ blocks: [UInt64]) -> [Result<StoreOutcome, StoreError>] {
        bulkDeletes.withLock { $0.append(blocks.count) }
        return blocks.map { block in
            do throws(StoreError) {
                return .success(try delete(block, replacing: nil))
            } catch {
                return .failure(error)
            }
        }
    }

    func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?,
        _ hints: PutHints
    ) throws(StoreError) -> StoreOutcome {
        try check(isWrite: true, block)
        puts.add(1, ordering: .relaxed)
        let outcome = try inner.put(block, source, replacing: replacing, hints)
        try checkAnswer(block)
        return outcome
    }

    func delete(_ block: UInt64, replacing: ObjectVersion?) throws(StoreError) -> StoreOutcome {
        try check(isWrite: true, block)
        let outcome = try inner.delete(block, replacing: replacing)
        try checkAnswer(block)
        return outcome
    }

    func list(_ part: ListPart, _ page: ([ListedBlock]) -> Bool) throws(StoreError) {
        try inner.list(part, page)
    }
}
