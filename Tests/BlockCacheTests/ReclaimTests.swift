import BlockCache
import Testing

/// How the ring gets room again, in the engine alone.
@Suite("ReclaimTests")
struct ReclaimTests {
    /// The block with the oldest data in the ring cannot be destaged while its slot is being read. A
    /// checkpoint would neither seal anything nor move the tail: it is not taken again and again.
    /// - Parameter pins: somebody else reads from the ring, so that its space does not come back.
    @Test(
        "a full ring waits for the reader of a slot, and writes nothing meanwhile",
        arguments: [false, true])
    func reader(pins: Bool) throws {
        let world = try EngineWorld(slots: 16)
        world.holdsUploads = true
        for block in 0..<UInt64(8) { #expect(world.write(block, 1).isThere) }
        world.pass(ms: 1000)
        #expect(world.uploadsHeld == 4)
        if pins { #expect(world.write(0, 2, granules: 0..<1).isThere) }
        #expect(world.write(1, 2, granules: 0..<1).isThere)
        #expect(world.sync().isThere)
        world.holdsReads = true
        if pins { world.read(0, granules: 0..<1) }
        world.read(1, granules: 1..<2)
        #expect(world.readsHeld == (pins ? 2 : 1))
        world.holdsReads = false

        var late: [EngineWorld.Answer] = []
        for round in 0..<UInt8(20) {
            for block in 2..<UInt64(8) {
                let answer = world.write(block, round, granules: 0..<1)
                if !answer.isThere { late.append(answer) }
            }
        }
        #expect(late.count > 20)
        // What these record takes the room that records of writes leave.
        while world.uploadsHeld > 0 {
            world.answerUploads(1)
            #expect(world.sync().isThere)
        }
        let before = world.checkpoints
        world.pass(ms: 10_000)
        #expect(world.checkpoints - before <= 1)
        #expect(late.contains { !$0.isThere })
        world.answerReads()
        #expect(late.allSatisfy { $0.isThere && $0.error == nil })
    }
}
