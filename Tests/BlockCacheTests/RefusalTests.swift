import BlockCache
import Testing

/// A store that takes nothing is asked little; one that refuses some blocks holds no others up.
@Suite("RefusalTests")
struct RefusalTests {
    private static let blocks = UInt64(24)
    /// As many as can be announced in so small a ring, but for one.
    private static let few = UInt64(3)

    /// Every block by itself would be tried again each second.
    private func world(_ change: (inout EngineConfiguration) -> Void = { _ in }) throws
        -> EngineWorld
    {
        try EngineWorld(slots: 32) {
            $0.retryDelayMs = 1000
            $0.retryDelayMaxMs = 1000
            $0.refusalsMax = 8
            change(&$0)
        }
    }

    /// Writes blocks, and waits until the store has refused them often enough.
    private func dirty(_ world: EngineWorld, _ count: UInt64) {
        for block in 0..<count { #expect(world.write(block, 1).isThere) }
        world.pass(ms: 10_000)
    }

    @Test("a store that takes nothing is asked once a second, whatever there is to upload")
    func down() throws {
        let world = try world()
        world.isStoreDown = true
        dirty(world, Self.blocks)
        let begun = world.requests
        world.pass(ms: 60_000)
        #expect((55...61).contains(world.requests - begun), "\(world.requests - begun)")
        #expect(world.dirty.blocks == Int(Self.blocks))
        #expect(world.engine.statistics.storeErrors == world.requests)
        world.isStoreDown = false
        world.pass(ms: 2500)
        #expect(world.dirty.isNothing && world.objects.count == Int(Self.blocks))
        #expect(world.objects.values.allSatisfy { $0.allSatisfy { $0 == 1 } })
    }

    @Test("all of them have their turn")
    func turns() throws {
        let world = try world()
        world.refused = Set(0..<Self.few)
        dirty(world, Self.few)
        // The last of all that are refused is taken, and nothing else.
        world.refused.remove(Self.few - 1)
        world.pass(ms: 30_000)
        #expect(world.objects.keys.sorted() == [Self.few - 1])
        #expect(world.dirty.blocks == Int(Self.few) - 1)
    }

    @Test("blocks that were never tried take turns with those that are refused")
    func others() throws {
        let world = try world()
        world.refused = Set(0..<Self.few)
        dirty(world, Self.few)
        for block in Self.few..<Self.few + 4 {
            #expect(world.write(block, 2).isThere)
            world.pass(ms: 3000)
            #expect(world.objects[block]?.first == 2)
        }
        #expect(world.dirty.blocks == Int(Self.few))
    }

    @Test("deletions of trimmed blocks are held back in the same way", arguments: [1, 1000])
    func deletions(together: Int) throws {
        let world = try world { $0.storeDeletesTogether = together }
        world.isStoreDown = true
        // Nobody knows whether the store has them.
        #expect(world.trim(0..<Self.blocks).isThere)
        world.pass(ms: 10_000)
        let begun = world.requests
        world.pass(ms: 60_000)
        #expect((55...61).contains(world.requests - begun), "\(world.requests - begun)")
        #expect(world.engine.state.zeros.blockCount == Self.blocks)
        #expect(world.engine.statistics.storeErrors == world.requests)
        world.isStoreDown = false
        world.pass(ms: 2500)
        #expect(world.engine.state.zeros.isEmpty && world.dirty.isNothing)
    }

    @Test("a store that only deletes is given what is to be deleted")
    func deletesOnly() throws {
        let world = try world()
        world.refused = Set(0..<Self.few)
        dirty(world, Self.few)
        #expect(world.trim(8..<32).isThere)
        world.pass(ms: 1000)
        #expect(world.engine.state.zeros.isEmpty)
        #expect(world.dirty.blocks == Int(Self.few))
    }

    @Test("what takes long does not keep others from asking whether the store is back")
    func slow() throws {
        let world = try world()
        world.isStoreDown = true
        dirty(world, Self.blocks)
        world.holdsUploads = true
        world.isStoreDown = false
        world.pass(ms: 20_000)
        #expect(world.uploadsHeld == 4)
        world.holdsUploads = false
        world.answerUploads(1)
        world.pass(ms: 2500)
        world.answerUploads()
        world.pass(ms: 2500)
        #expect(world.dirty.isNothing && world.objects.count == Int(Self.blocks))
    }
}
