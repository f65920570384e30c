import BlockCache
import CacheFile
import Testing

/// When records are written, in the engine alone.
@Suite("GroupTests")
struct GroupTests {
    /// Blocks 0 and 1 in the store but for the answers, which are held; all recorded is durable.
    private func uploading(delayMs: UInt64 = 1000) throws -> EngineWorld {
        let world = try EngineWorld(slots: 8) {
            $0.recordDelayMs = delayMs
            $0.writeDelayMs = 100
            $0.sealDelayMs = 1 << 40
        }
        world.holdsUploads = true
        for block in 0..<UInt64(2) { #expect(world.write(block, 1).isThere) }
        #expect(world.sync().isThere)
        world.pass(ms: 1000)
        #expect(world.uploadsHeld == 2 && world.isAllWritten)
        return world
    }

    @Test("what uploads record is written with the next write of the user")
    func withTheNext() throws {
        let world = try uploading()
        let before = world.groups
        world.answerUploads()
        #expect(world.dirty.blocks == 0 && world.groups == before)
        #expect(!world.isAllWritten)
        #expect(world.write(5, 1).isThere)
        #expect(world.groups == before + 1 && world.isAllWritten)
    }

    @Test("or after the delay, by itself, and together")
    func afterTheDelay() throws {
        let world = try uploading()
        let before = world.groups
        world.answerUploads(1)
        world.pass(ms: 900)
        world.answerUploads()
        #expect(world.groups == before)
        world.pass(ms: 100)
        #expect(world.groups == before + 1 && world.isAllWritten)
        #expect(world.dirty.blocks == 0)
    }

    @Test("without a delay at once")
    func atOnce() throws {
        let world = try uploading(delayMs: 0)
        let before = world.groups
        world.answerUploads(1)
        #expect(world.groups == before + 1 && world.isAllWritten)
    }

    /// The records of uploads are promised to nobody: an fsync that has all it promises on the
    /// medium needs no flush, and one that has not needs one, and nothing else.
    @Test("an fsync waits for what was acknowledged, and for nothing else")
    func fsync() throws {
        let world = try uploading()
        let before = (world.groups, world.flushes)
        world.answerUploads()
        #expect(world.sync().isThere)
        #expect((world.groups, world.flushes) == before)
        #expect(world.write(5, 1).isThere)
        let epoch = world.epoch
        #expect(world.sync().isThere)
        #expect((world.groups, world.flushes) == (before.0 + 1, before.1 + 1))
        #expect(world.isAllDurable)
        #expect(world.epoch == epoch + 1)
    }

    /// What the next epoch records must not join a group of the one before.
    @Test("a group has one epoch")
    func epochs() throws {
        let world = try uploading()
        #expect(world.write(5, 1).isThere)
        world.answerUploads()
        #expect(!world.isAllWritten)
        #expect(world.sync().isThere)
        #expect(world.isAllWritten)
        let before = world.groups
        #expect(world.write(6, 1).isThere)
        #expect(world.groups == before + 1)
        let state = world.engine.state
        let epochs = [UInt64(5), 6].compactMap { block in
            state.slot(of: block).map { state.slots.epoch($0) }
        }
        #expect(epochs == [world.epoch - 1, world.epoch])
    }

    @Test("a stop writes what has gathered")
    func stop() throws {
        let world = try uploading(delayMs: 1 << 40)
        world.answerUploads()
        #expect(!world.isAllWritten)
        world.stop()
        #expect(world.engine.isAtRest && world.isAllWritten)
    }
}
