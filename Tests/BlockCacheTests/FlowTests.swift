import BlockCache
import Testing

/// How many blocks may be dirty, and what that does to writers. Blocks are of 8 KiB, and there are 32.
@Suite("FlowTests")
struct FlowTests {
    @Test("at --blockCacheMaxDirty writers wait; whoever overwrites a dirty block does not")
    func limit() throws {
        let world = try EngineWorld(slots: 16) { $0.policy.dirtyMax = 3 }
        world.holdsUploads = true
        for block in 0..<UInt64(3) { #expect(world.write(block, 1).isThere) }
        let late = [world.write(10, 1), world.write(11, 1)]
        world.pass(ms: 60_000)
        #expect(!late[0].isThere && !late[1].isThere)
        #expect(world.write(1, 2).isThere && world.uploadsHeld == 3)
        world.answerUploads(1)
        #expect(late[0].isThere && late[0].error == nil && !late[1].isThere)
        #expect(world.dirty.blocks == 3)
        world.holdsUploads = false
        world.answerUploads()
        world.pass(ms: 5000)
        #expect(late[1].isThere && late[1].error == nil && world.dirty.isNothing)
    }

    @Test(
        "a store that is down for an hour makes writers wait, and is no error", arguments: [0, 5])
    func outage(dirtyMax: Int) throws {
        let world = try EngineWorld(slots: 8) {
            $0.policy.dirtyMax = dirtyMax
            $0.policy.hasFlowControl = true
        }
        world.isStoreDown = true
        let writes = (0..<UInt64(20)).map { world.write($0, UInt8($0 + 1)) }
        world.pass(ms: 3_600_000)
        #expect(writes.count { $0.isThere } == (dirtyMax == 0 ? 8 : 5))
        world.isStoreDown = false
        world.pass(ms: 60_000)
        #expect(writes.allSatisfy { $0.isThere && $0.error == nil })
        #expect(world.dirty.isNothing && world.objects.count == 20)
        #expect(
            world.objects.allSatisfy {
                $0.value.allSatisfy { [block = $0.key] in
                    $0 == UInt8(block + 1)
                }
            })
    }

    @Test("in the last eighth of the cache turns are spaced out, the more the fuller it is")
    func slowDown() throws {
        let world = try EngineWorld(slots: 24) { $0.policy.hasFlowControl = true }
        world.holdsUploads = true
        for block in 0..<UInt64(23) { #expect(world.write(block, 1).isThere, "\(block)") }
        let late = world.write(23, 1)
        #expect(!late.isThere)
        world.pass(ms: 40)
        #expect(late.isThere && late.error == nil)
        // Nobody is slowed down where that is not wanted.
        let other = try EngineWorld(slots: 24)
        other.holdsUploads = true
        for block in 0..<UInt64(24) { #expect(other.write(block, 1).isThere, "\(block)") }
    }

    @Test("the write delay shrinks with the share of dirty blocks")
    func hurry() throws {
        for isOn in [true, false] {
            let world = try EngineWorld(slots: 20) {
                $0.writeDelayMs = 10_000
                $0.policy.hasFlowControl = isOn
            }
            for block in 0..<UInt64(9) { _ = world.write(block, 1) }
            world.pass(ms: 4900)
            #expect(world.objects.isEmpty)
            // Half of the 18 blocks that leave no delay.
            world.pass(ms: 600)
            #expect(world.objects.isEmpty != isOn)
            world.pass(ms: 6000)
            #expect(world.objects.count == 9)
        }
    }

    @Test("a stop ends the waiting")
    func stop() throws {
        let world = try EngineWorld(slots: 16) { $0.policy.dirtyMax = 1 }
        world.isStoreDown = true
        _ = world.write(0, 1)
        let late = world.write(1, 1)
        world.pass(ms: 1000)
        world.engine.beginStop(uploads: false)
        world.pass(ms: 1000)
        #expect(late.error?.kind == .stopped && world.engine.isAtRest)
    }

    // MARK: Clean blocks

    @Test("clean blocks unused for --blockCacheTimeout go, dirty ones stay")
    func timeout() throws {
        let world = try EngineWorld(slots: 8) { $0.policy.cleanTimeoutMs = 10_000 }
        for block in 0..<UInt64(2) { _ = world.write(block, 1) }
        world.pass(ms: 6000)
        #expect(world.dirty.isNothing && world.has(0) && world.has(1))
        world.read(0)
        world.isStoreDown = true
        _ = world.write(2, 1)
        world.pass(ms: 6000)
        #expect(world.has(0) && !world.has(1))
        world.pass(ms: 20_000)
        #expect(!world.has(0) && world.has(2))
    }

    @Test("protected blocks are evicted last")
    func protected() throws {
        for count in [UInt64(2), 32] {
            let world = try EngineWorld(slots: 8) { $0.policy.protectedBlocks = count }
            for block in 0..<UInt64(30) {
                let write = world.write(block, 1)
                world.pass(ms: 3000)
                #expect(write.isThere && write.error == nil)
            }
            #expect(world.has(0) == (count == 2) && world.has(1) == (count == 2))
            #expect(!world.has(2))
        }
    }

    // MARK: Answers that wait for the store

    @Test("with --blockCacheSync a write is answered when the store has its block")
    func synchronous() throws {
        let world = try EngineWorld {
            $0.writeDelayMs = 0
            $0.policy.isSynchronous = true
        }
        world.holdsUploads = true
        let write = world.write(3, 7)
        world.pass(ms: 1000)
        #expect(!write.isThere && world.uploadsHeld == 1)
        world.answerUploads()
        #expect(write.isThere && write.error == nil && world.objects[3]?.first == 7)
    }

    @Test("fsync: the cache file, the store, or nothing", arguments: FsyncMode.allCases)
    func fsync(mode: FsyncMode) throws {
        let world = try EngineWorld { $0.policy.fsync = mode }
        world.isStoreDown = true
        _ = world.write(3, 7)
        let flushes = world.engine.statistics.flushes
        let sync = world.sync()
        #expect(sync.isThere == (mode != .remote))
        #expect((world.engine.statistics.flushes > flushes) == (mode != .none))
        world.pass(ms: 40_000)
        let told = world.lines.filter { $0.contains("waits for the store, which fails: the store") }
        #expect(told.count == (mode == .remote ? 1 : 0))
        #expect(sync.isThere == (mode != .remote))
        world.isStoreDown = false
        world.pass(ms: 40_000)
        #expect(sync.isThere && sync.error == nil)

        world.isStoreDown = true
        _ = world.write(4, 7)
        let last = world.sync()
        world.engine.beginStop(uploads: false)
        world.pass(ms: 1000)
        #expect(last.error?.kind == (mode == .remote ? .stopped : nil) && last.isThere)
    }
}
