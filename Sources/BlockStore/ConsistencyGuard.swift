import FileIO
import Glibc

/// Time as the guard needs it.
public protocol GuardClock: Sendable {
    var nowMs: UInt64 { get }
    /// Blocks.
    func sleep(ms: UInt64)
}

/// The time of day has no part in it.
public struct MonotonicClock: GuardClock {
    public init() {}

    public var nowMs: UInt64 { Monotonic.nowMs }

    public func sleep(ms: UInt64) {
        let until = nowMs + ms
        while nowMs < until { usleep(UInt32(min(until - nowMs, 1000)) * 1000) }
    }
}

/// Makes a store usable that for a while shows what was there before a change: the "MD5 cache" of the
/// real s3backer. It remembers what was written, and does not take anything else for it.
///
/// A read of a block that was written is repeated until the store shows that version; a block written
/// as zeros is not asked for; a block is not written again too soon; when there are too many to
/// remember, writing waits. All calls block. What was written is not remembered over a restart.
public final class ConsistencyGuard: BlockStore {
    public struct Limits: Sendable, Equatable {
        /// How many blocks are remembered (`--md5CacheSize`).
        public var blocks: Int
        /// How long each of them; 0: for ever (`--md5CacheTime`).
        public var rememberMs: UInt64
        /// Between two changes of one block (`--minWriteDelay`).
        public var writeDelayMs: UInt64
        /// Before the first repetition of a read; doubles.
        public var retryPauseMs: UInt64 = 200
        /// Sum of these pauses for one read.
        public var retrySumMs: UInt64 = 30_000

        /// `rememberMs` is 0 or at least `writeDelayMs`.
        public init(blocks: Int, rememberMs: UInt64, writeDelayMs: UInt64) {
            precondition(blocks > 0 && (rememberMs == 0 || rememberMs >= writeDelayMs))
            self.blocks = blocks
            self.rememberMs = rememberMs
            self.writeDelayMs = writeDelayMs
        }
    }

    private enum Entry {
        case writing
        /// Version nil: the change failed, and may have happened.
        case written(ObjectVersion?, atMs: UInt64)
    }

    private struct Table {
        var entries: [UInt64: Entry] = [:]
        /// Blocks in the order in which they were written; those written again since are stale here.
        var order: Fifo<(block: UInt64, atMs: UInt64)> = Fifo()
    }

    private let inner: any BlockStore
    private let limits: Limits
    private let clock: any GuardClock
    private let table = Locked(Table())

    /// How often a block that another thread is writing is looked at.
    private static let pollMs: UInt64 = 10

    public init(_ inner: any BlockStore, _ limits: Limits, clock: any GuardClock) {
        self.inner = inner
        self.limits = limits
        self.clock = clock
    }

    public var blockSize: Int { inner.blockSize }
    public var honorsConditions: Bool { inner.honorsConditions }
    public var lateMs: UInt64 { inner.lateMs }
    public var deletedTogether: Int { min(inner.deletedTogether, limits.blocks) }

    // MARK: Reading

    public func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        switch try read(block, 0..<blockSize, into: target, .always) {
        case .content(let version): return version
        case .unchanged: preconditionFailure("a read without condition")
        }
    }

    public func read(
        _ block: UInt64, _ range: Range<Int>, into target: UnsafeMutableRawBufferPointer,
        _ condition: ReadCondition
    ) throws(StoreError) -> ReadAnswer {
        try patiently(block) { remembered throws(StoreError) in
            guard let remembered else {
                return try inner.read(block, range, into: target, condition)
            }
            switch condition {
            case .unlessKnown(remembered) where remembered == .absent: return .unchanged
            case .expecting(let expected) where expected != remembered:
                throw Self.changed(block)
            default: break
            }
            if remembered == .absent { return .content(.absent) }
            do throws(StoreError) {
                let answer = try inner.read(block, range, into: target, .expecting(remembered))
                return condition == .unlessKnown(remembered) ? .unchanged : answer
            } catch {
                if error.kind == .conflict { return nil }
                throw error
            }
        }
    }

    public func head(_ block: UInt64) throws(StoreError) -> ObjectVersion {
        try patiently(block) { remembered throws(StoreError) in
            if remembered == .absent { return .absent }
            let found = try inner.head(block)
            return remembered == nil || found == remembered ? found : nil
        }
    }

    /// Calls `body` with the version that the block must have, if one is remembered, until it does
    /// not return nil, which stands for an old version.
    private func patiently<Answer>(
        _ block: UInt64, _ body: (ObjectVersion?) throws(StoreError) -> Answer?
    ) throws(StoreError) -> Answer {
        var pauseMs = limits.retryPauseMs
        var leftMs = limits.retrySumMs
        while true {
            if let answer = try body(remembered(block)) { return answer }
            guard leftMs > 0 else {
                throw StoreError(
                    .temporary,
                    "block \(block): the store still has another version than was "
                        + "written; use a longer --maxRetryPause, or see who else changes it",
                    block: block)
            }
            let pause = min(pauseMs, leftMs)
            clock.sleep(ms: pause)
            leftMs -= pause
            pauseMs *= 2
        }
    }

    /// Waits where nobody knows whether a change has happened.
    private func remembered(_ block: UInt64) -> ObjectVersion? {
        while true {
            let now = clock.nowMs
            let (version, waitMs) = table.withLock { table -> (ObjectVersion?, UInt64) in
                forget(&table, now)
                switch table.entries[block] {
                case nil, .writing: return (nil, 0)
                case .written(let version, let atMs):
                    if version != nil { return (version, 0) }
                    let until = atMs + limits.writeDelayMs
                    return (nil, until > now ? until - now : 0)
                }
            }
            if waitMs == 0 { return version }
            clock.sleep(ms: waitMs)
        }
    }

    private static func changed(_ block: UInt64) -> StoreError {
        StoreError(.conflict, "block \(block): another version was written since", block: block)
    }

    // MARK: Writing

    public func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?,
        _ hints: PutHints
    ) throws(StoreError) -> StoreOutcome {
        try change(block) { () throws(StoreError) in
            try inner.put(block, source, replacing: replacing, hints)
        }
    }

    public func delete(
        _ block: UInt64, replacing: ObjectVersion?
    ) throws(StoreError) -> StoreOutcome {
        try change(block) { () throws(StoreError) in
            try inner.delete(block, replacing: replacing)
        }
    }

    public func delete(_ blocks: [UInt64]) -> [Result<StoreOutcome, StoreError>] {
        var results: [Result<StoreOutcome, StoreError>] = []
        var rest = blocks[...]
        while !rest.isEmpty {
            let some = Array(rest.prefix(limits.blocks))
            rest = rest.dropFirst(some.count)
            begin(some)
            let answers = inner.delete(some)
            for (block, answer) in zip(some, answers) { end(block, try? answer.get().version) }
            results += answers
        }
        return results
    }

    private func change(
        _ block: UInt64, _ body: () throws(StoreError) -> StoreOutcome
    ) throws(StoreError) -> StoreOutcome {
        begin([block])
        do throws(StoreError) {
            let outcome = try body()
            end(block, outcome.version)
            return outcome
        } catch {
            end(block, nil)
            throw error
        }
    }

    /// Waits until all of them may be written and there is room to remember them; all or none, so that
    /// two callers never wait for each other.
    private func begin(_ blocks: [UInt64]) {
        while true {
            let now = clock.nowMs
            let waitMs = table.withLock { table -> UInt64 in
                forget(&table, now)
                let waitMs = delay(blocks, table, now)
                if waitMs == 0 { for block in blocks { table.entries[block] = .writing } }
                return waitMs
            }
            if waitMs == 0 { return }
            clock.sleep(ms: waitMs)
        }
    }

    /// Milliseconds until it makes sense to look again; 0: now.
    private func delay(_ blocks: [UInt64], _ table: Table, _ now: UInt64) -> UInt64 {
        var waitMs: UInt64 = 0
        var added = 0
        for block in blocks {
            switch table.entries[block] {
            case nil: added += 1
            case .writing: waitMs = max(waitMs, Self.pollMs)
            case .written(_, let atMs):
                let until = atMs + limits.writeDelayMs
                if until > now { waitMs = max(waitMs, until - now) }
            }
        }
        if table.entries.count + added > limits.blocks {
            let oldest = limits.rememberMs > 0 ? table.order.first?.atMs : nil
            let until = oldest.map { $0 + limits.rememberMs } ?? now + Self.pollMs
            waitMs = max(waitMs, until > now ? until - now : Self.pollMs)
        }
        return waitMs
    }

    private func end(_ block: UInt64, _ version: ObjectVersion?) {
        let now = clock.nowMs
        table.withLock { table in
            table.entries[block] = .written(version, atMs: now)
            if limits.rememberMs > 0 { table.order.append((block, now)) }
        }
    }

    private func forget(_ table: inout Table, _ now: UInt64) {
        guard limits.rememberMs > 0 else { return }
        while let first = table.order.first, first.atMs + limits.rememberMs <= now {
            table.order.removeFirst()
            if case .written(_, first.atMs) = table.entries[first.block] {
                table.entries[first.block] = nil
            }
        }
    }

    // MARK: Listing

    /// The store's list may lack what was written, and have what was removed: the first part tells of
    /// blocks that are remembered, and all leave them out.
    public func list(
        _ part: ListPart, _ page: ([ListedBlock]) -> Bool
    ) throws(StoreError) {
        let now = clock.nowMs
        let known = table.withLock { table in
            forget(&table, now)
            return table.entries
        }
        if part.index == 0 {
            let written = known.compactMap { block, entry -> ListedBlock? in
                guard case .written(.some(.tag(let tag)), _) = entry else { return nil }
                return ListedBlock(
                    block: block, version: .tag(tag), byteCount: UInt64(inner.blockSize))
            }
            if !written.isEmpty && !page(written) { return }
        }
        try inner.list(part) { blocks in
            let others = blocks.filter {
                if case .written(.some, _) = known[$0.block] { false } else { true }
            }
            return others.isEmpty || page(others)
        }
    }
}
