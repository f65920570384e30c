import BlockCache
import CacheFile
import Simulation
import Testing

/// Reads of what lies in one slot, in the engine alone.
@Suite("HitTests")
struct HitTests {
    /// Whoever waits for the slot goes on when the reader lets go of it; nothing else happens.
    @Test("a write that waits for the slot of a reader goes on at its end")
    func writer() throws {
        let world = try EngineWorld(slots: 8)
        for block in 0..<UInt64(8) { #expect(world.write(block, 1).isThere) }
        world.pass(ms: 1000)
        #expect(world.dirty.blocks == 0)
        let hits = (0..<UInt64(8)).compactMap { world.beginHit($0, granules: 0..<1) }
        #expect(hits.count > 4)
        let late = (8..<UInt64(12)).map { world.write($0, 2) }
        world.pass(ms: 1000)
        let waiting = late.count { !$0.isThere }
        #expect(waiting > 0 && (0..<UInt64(8)).contains { !world.has($0) })
        for hit in hits {
            #expect(world.endHit(hit, granules: 1)?.allSatisfy { $0 == 1 } == true)
        }
        #expect(late.count { !$0.isThere } < waiting)
        world.pass(ms: 1000)
        #expect(late.allSatisfy { $0.isThere && $0.error == nil })
    }

    @Test("a destage that waits for the reader of a slot goes on at its end")
    func destage() throws {
        let world = try EngineWorld(slots: 16)
        world.holdsUploads = true
        for block in 0..<UInt64(8) { #expect(world.write(block, 1).isThere) }
        #expect(world.write(0, 2, granules: 0..<1).isThere)
        #expect(world.sync().isThere)
        let hit = try #require(world.beginHit(0, granules: 1..<2))
        var late: [EngineWorld.Answer] = []
        for round in 0..<UInt8(20) {
            for block in 1..<UInt64(8) {
                let answer = world.write(block, round, granules: 0..<1)
                if !answer.isThere { late.append(answer) }
            }
        }
        while world.uploadsHeld > 0 {
            world.answerUploads(1)
            #expect(world.sync().isThere)
        }
        world.pass(ms: 10_000)
        #expect(late.contains { !$0.isThere })
        #expect(world.endHit(hit, granules: 1)?.allSatisfy { $0 == 1 } == true)
        #expect(late.allSatisfy { $0.isThere && $0.error == nil })
    }

    /// What is not in the slot as it has to be is left to those who look further.
    @Test("only whole, current content of a slot is a hit")
    func others() throws {
        let world = try EngineWorld(slots: 8)
        #expect(world.beginHit(0, granules: 0..<1) == nil)
        #expect(world.write(0, 1, granules: 0..<1).isThere)
        // Of a block nobody has, the rest is zeros.
        #expect(world.beginHit(0, granules: 0..<2) == nil)
        #expect(world.write(1, 1).isThere)
        #expect(world.write(1, 2, granules: 1..<2).isThere)
        // In the journal.
        #expect(world.beginHit(1, granules: 1..<2) == nil)
        #expect(world.beginHit(1, granules: 0..<2) == nil)
        let hit = try #require(world.beginHit(1, granules: 0..<1))
        let hits = world.engine.statistics.readHits
        #expect(world.endHit(hit, granules: 1) != nil)
        #expect(world.engine.statistics.readHits == hits + 1)
    }

    /// A reader finds what was current when it began, whatever becomes of the block (R4).
    @Test("what a reader of a slot finds", arguments: 0..<UInt64(40))
    func random(seed: UInt64) throws {
        var chance = SeededRandom(seed: seed)
        let world = try EngineWorld(slots: 8)
        let granules = 2
        var content: [UInt64: [UInt8]] = [:]
        var held: [(hit: SlotHit, block: UInt64, slot: Int?, range: Range<Int>, bytes: [UInt8])] =
            []
        var (ended, moved) = (0, 0)
        for step in 0..<1000 {
            let block = UInt64.random(in: 0..<16, using: &chance)
            switch Int.random(in: 0..<10, using: &chance) {
            case 0..<3:
                let first = Int.random(in: 0..<granules, using: &chance)
                let range = Bool.random(using: &chance) ? 0..<granules : first..<first + 1
                let answer = world.write(block, UInt8(step % 251 + 1), granules: range)
                while !answer.isThere, !held.isEmpty { end() }
                for _ in 0..<100 where !answer.isThere { world.pass(ms: 100) }
                #expect(answer.isThere && answer.error == nil)
                for granule in range {
                    content[block, default: [0, 0]][granule] = UInt8(step % 251 + 1)
                }
            case 3: world.pass(ms: 300)
            case 4: #expect(world.sync().isThere)
            case 5: world.read(block)
            case 6 where !held.isEmpty: end()
            default:
                let first = Int.random(in: 0..<granules, using: &chance)
                let range = Bool.random(using: &chance) ? 0..<granules : first..<first + 1
                guard held.count < 6, let hit = world.beginHit(block, granules: range) else {
                    continue
                }
                let bytes = Array((content[block] ?? [0, 0])[range])
                held.append((hit, block, hit.slot, range, bytes))
            }
        }
        while !held.isEmpty { end() }
        #expect(ended >= 60 && moved >= 20, "ended \(ended), moved meanwhile \(moved)")

        func end() {
            let one = held.remove(at: Int.random(in: held.indices, using: &chance))
            if world.engine.state.slot(of: one.block) != one.slot { moved += 1 }
            let found = world.endHit(one.hit, granules: one.range.count)
            let size = world.engine.geometry.granuleSize
            let wanted = one.bytes.flatMap { [UInt8](repeating: $0, count: size) }
            ended += 1
            #expect(found == wanted, "block \(one.block)")
        }
    }
}
