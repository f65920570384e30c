import BlockCache
import Simulation
import Testing

/// Blocks that wait for times of their own.
@Suite("DueQueueTests")
struct DueQueueTests {
    private func item(_ block: UInt64, due: UInt64, since: UInt64 = 0) -> DirtyItem {
        DirtyItem(block: block, sinceMs: since, dueMs: due)
    }

    @Test(
        "the one that is due first is in front, whatever comes and goes", arguments: 0..<UInt64(40))
    func order(seed: UInt64) {
        var chance = SeededRandom(seed: seed)
        var queue = DueQueue()
        var waiting: [UInt64: UInt64] = [:]
        var popped = 0
        for block in 0..<UInt64(2000) {
            if chance.chance(60) {
                let due = UInt64(chance.below(300))
                queue.append(item(block, due: due))
                waiting[block] = due
            } else if let first = queue.popFirst() {
                popped += 1
                #expect(first.dueMs == waiting.values.min())
                #expect(waiting.removeValue(forKey: first.block) == first.dueMs)
            } else {
                #expect(waiting.isEmpty)
            }
            #expect(queue.isEmpty == waiting.isEmpty)
            #expect(queue.first?.dueMs == waiting.values.min())
        }
        #expect(popped > 500)
        while let first = queue.popFirst() {
            #expect(waiting.removeValue(forKey: first.block) == first.dueMs)
        }
        #expect(waiting.isEmpty)
    }

    @Test("the one that has waited longest is found, wherever it is")
    func oldest() {
        var queue = DueQueue()
        #expect(queue.oldestMs == nil)
        for block in 0..<UInt64(100) {
            queue.append(item(block, due: 100 - block, since: 1000 + (block * 37) % 100))
        }
        #expect(queue.oldestMs == 1000)
        while let first = queue.popFirst(), first.sinceMs != 1000 {
            #expect(queue.oldestMs == 1000)
        }
        #expect(queue.isEmpty)
    }
}
