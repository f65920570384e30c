import Foundation
import Testing

/// Results of threads.
final class ResultCount: @unchecked Sendable {
    // Both under the condition.
    private var goodCount = 0
    private var allCount = 0
    private let condition = NSCondition()

    func add(_ isGood: Bool) {
        condition.withLock {
            allCount += 1
            if isGood { goodCount += 1 }
            condition.broadcast()
        }
    }

    var all: Int { condition.withLock { allCount } }
    var good: Int { condition.withLock { goodCount } }

    func wait(for count: Int) throws {
        let deadline = Date(timeIntervalSinceNow: 60)
        try condition.withLock {
            while allCount < count {
                try #require(condition.wait(until: deadline), "waited for \(count) results")
            }
        }
    }
}
