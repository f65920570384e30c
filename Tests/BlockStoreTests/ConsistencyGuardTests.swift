import BlockStore
import FileIO
import Synchronization
import Testing

/// A clock whose time passes only where somebody sleeps.
private final class TestClock: GuardClock {
    private let now = Atomic<UInt64>(1000)
    var nowMs: UInt64 { now.load(ordering: .relaxed) }

    func sleep(ms: UInt64) { now.add(ms, ordering: .relaxed) }
}

/// A store that shows the older versions of a block for as many reads as it is told.
private final class LateStore: BlockStore {
    private struct State {
        var now: [UInt64: UInt8] = [:]
        var old: [UInt64: UInt8] = [:]
        var lateReads = 0
        var reads = 0
        var failsWrites = false
    }
    private let state = Locked(State())
    let blockSize = 512
    let honorsConditions = true
    let lateMs: UInt64 = 7

    var reads: Int { state.withLock { $0.reads } }
    func show(old count: Int) { state.withLock { $0.lateReads = count } }
    func fail(_ fails: Bool) { state.withLock { $0.failsWrites = fails } }

    /// The byte of a block.
    private func look(_ block: UInt64) -> UInt8? {
        state.withLock { state in
            state.reads += 1
            if state.lateReads > 0 {
                state.lateReads -= 1
                return state.old[block]
            }
            return state.now[block]
        }
    }

    private static func version(_ byte: UInt8?) -> ObjectVersion {
        byte.map { .tag("\($0)") } ?? .absent
    }

    private func change(_ block: UInt64, _ byte: UInt8?) throws(StoreError) -> StoreOutcome {
        let fails = state.withLock { state in
            state.old[block] = state.now[block]
            state.now[block] = byte
            return state.failsWrites
        }
        if fails { throw StoreError(.temporary, "no answer", block: block) }
        return StoreOutcome(Self.version(byte))
    }

    func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        let byte = look(block)
        if let byte { for index in target.indices { target[index] = byte } }
        return Self.version(byte)
    }

    func head(_ block: UInt64) throws(StoreError) -> ObjectVersion { Self.version(look(block)) }

    func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?,
        _ hints: PutHints
    ) throws(StoreError) -> StoreOutcome { try change(block, source[0]) }

    func delete(_ block: UInt64, replacing: ObjectVersion?) throws(StoreError) -> StoreOutcome {
        try change(block, nil)
    }

    func list(_ part: ListPart, _ page: ([ListedBlock]) -> Bool) throws(StoreError) {
        let old = state.withLock { $0.old }
        let blocks = old.map { block, byte in
            ListedBlock(block: block, version: Self.version(byte), byteCount: 512)
        }
        _ = page(blocks)
    }
}

@Suite struct ConsistencyGuardTests {
    private let clock = TestClock()
    private let inner = LateStore()

    private func store(
        blocks: Int = 100, rememberMs: UInt64 = 10_000, writeDelayMs: UInt64 = 500
    ) -> ConsistencyGuard {
        ConsistencyGuard(
            inner,
            .init(blocks: blocks, rememberMs: rememberMs, writeDelayMs: writeDelayMs), clock: clock)
    }

    private func put(_ store: ConsistencyGuard, _ block: UInt64, _ byte: UInt8) throws {
        let version = try [UInt8](repeating: byte, count: 512).withUnsafeBytes {
            try store.put(block, $0)
        }
        #expect(version == .tag("\(byte)"))
    }

    private func get(_ store: ConsistencyGuard, _ block: UInt64) throws -> UInt8? {
        var target = [UInt8](repeating: 0xee, count: 512)
        let version = try target.withUnsafeMutableBytes { try store.get(block, into: $0) }
        return version == .absent ? nil : target[0]
    }

    @Test("an old version is not taken for the new one")
    func stale() throws {
        let store = store()
        try put(store, 1, 1)
        clock.sleep(ms: 500)
        try put(store, 1, 2)
        inner.show(old: 3)
        let before = clock.nowMs
        #expect(try get(store, 1) == 2)
        // 200, 400, 800.
        #expect(clock.nowMs - before == 1400)
        inner.show(old: 2)
        #expect(try store.head(1) == .tag("2"))
        var target = [UInt8](repeating: 0, count: 8)
        inner.show(old: 2)
        let part = try target.withUnsafeMutableBytes {
            try store.read(1, 8..<16, into: $0, .always)
        }
        #expect(part == .content(.tag("2")) && target == [UInt8](repeating: 2, count: 8))
        #expect(store.honorsConditions && store.lateMs == 7 && store.blockSize == 512)
    }

    @Test("a store that stays behind is an error, not old data")
    func behind() throws {
        let store = store(rememberMs: 0)
        try put(store, 1, 1)
        inner.show(old: 1000)
        let before = clock.nowMs
        let error = try #require(throws: StoreError.self) { try get(store, 1) }
        #expect(error.kind == .temporary && error.block == 1)
        #expect(clock.nowMs - before == 30_000)
        #expect(throws: StoreError.self) { try store.head(1) }
    }

    @Test("what was written long ago is not remembered")
    func forgotten() throws {
        let store = store()
        try put(store, 1, 1)
        clock.sleep(ms: 500)
        try put(store, 1, 2)
        clock.sleep(ms: 9999)
        inner.show(old: 1)
        #expect(try get(store, 1) == 2)
        clock.sleep(ms: 10_000)
        inner.show(old: 1)
        #expect(try get(store, 1) == 1)
    }

    @Test("zeros are not asked for")
    func zeros() throws {
        let store = store()
        try put(store, 1, 1)
        clock.sleep(ms: 500)
        try store.delete(1)
        let reads = inner.reads
        #expect(try get(store, 1) == nil)
        #expect(try store.head(1) == .absent)
        #expect(inner.reads == reads)
    }

    @Test("conditions are those of what was written")
    func conditions() throws {
        let store = store()
        try put(store, 1, 1)
        func read(_ condition: ReadCondition) throws -> ReadAnswer {
            var target = [UInt8](repeating: 0, count: 512)
            return try target.withUnsafeMutableBytes {
                try store.read(1, 0..<512, into: $0, condition)
            }
        }
        #expect(try read(.unlessKnown(.tag("1"))) == .unchanged)
        #expect(try read(.unlessKnown(.tag("0"))) == .content(.tag("1")))
        #expect(try read(.expecting(.tag("1"))) == .content(.tag("1")))
        #expect(
            try #require(throws: StoreError.self) { try read(.expecting(.tag("0"))) }.kind
                == .conflict)
        clock.sleep(ms: 500)
        try store.delete(1)
        #expect(try read(.unlessKnown(.absent)) == .unchanged)
        #expect(try read(.always) == .content(.absent))
    }

    @Test("a block is not written again too soon")
    func writeDelay() throws {
        let store = store()
        let begun = clock.nowMs
        try put(store, 1, 1)
        try put(store, 2, 1)
        #expect(clock.nowMs == begun)
        try put(store, 1, 2)
        #expect(clock.nowMs == begun + 500)
        _ = store.delete([1, 2])
        #expect(clock.nowMs == begun + 1000)
    }

    @Test("after a failure nobody knows, and a read waits")
    func failure() throws {
        let store = store()
        try put(store, 1, 1)
        clock.sleep(ms: 500)
        inner.fail(true)
        #expect(throws: StoreError.self) { try put(store, 1, 2) }
        inner.fail(false)
        let begun = clock.nowMs
        #expect(try get(store, 1) == 2)
        #expect(clock.nowMs == begun + 500)
    }

    @Test("when no more can be remembered, writing waits")
    func full() throws {
        let store = store(blocks: 3)
        let begun = clock.nowMs
        for block in UInt64(0)..<3 {
            try put(store, block, 1)
            clock.sleep(ms: 100)
        }
        try put(store, 3, 1)
        #expect(clock.nowMs == begun + 10_000)
        try put(store, 4, 1)
        #expect(clock.nowMs == begun + 10_100)
        #expect(store.delete(Array(10..<17)).count == 7)
    }

    @Test("a list has what was written, and not what was removed")
    func listing() throws {
        let store = store()
        for block in UInt64(0)..<4 { try put(store, block, 1) }
        clock.sleep(ms: 500)
        try put(store, 1, 2)
        try store.delete(2)
        var found: [UInt64: ObjectVersion] = [:]
        try store.list(.all) { page in
            for block in page { found[block.block] = block.version }
            return true
        }
        #expect(found == [0: .tag("1"), 1: .tag("2"), 3: .tag("1")])
        // Long after, it is the store's business again.
        clock.sleep(ms: 20_000)
        var later: Set<UInt64> = []
        try store.list(.all) { page in
            later.formUnion(page.map(\.block))
            return true
        }
        #expect(later == [1, 2])
    }

    @Test("many threads write and read the same blocks")
    func threads() throws {
        let store = store(blocks: 5, rememberMs: 50, writeDelayMs: 10)
        let failures = Atomic<Int>(0)
        let workers = (0..<4).map { number in
            Worker(name: "guard-\(number)") {
                for round in 0..<50 {
                    let block = UInt64(number * 10 + round % 4)
                    let byte = UInt8(round + 1)
                    let put = try? [UInt8](repeating: byte, count: 512).withUnsafeBytes {
                        try store.put(block, $0)
                    }
                    if put != .tag("\(byte)") { failures.add(1, ordering: .relaxed) }
                    if (try? store.head(block)) != put { failures.add(1, ordering: .relaxed) }
                }
            }
        }
        for worker in workers { worker.join() }
        #expect(failures.load(ordering: .relaxed) == 0)
    }
}
