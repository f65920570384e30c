import Foundation
import Testing

/// Waits for a condition with a deadline, without a fixed delay.
package func waitFor(
    _ what: String, seconds: Double = 30, _ condition: () throws -> Bool
) throws {
    let deadline = Date(timeIntervalSinceNow: seconds)
    while try !condition() {
        try #require(Date() < deadline, "waited \(seconds) s for \(what)")
        // Lets others run; a poll interval, never something to rely on.
        usleep(2000)
    }
}

/// What random tests begin with: 1, or what the environment says.
package let testSeed =
    ProcessInfo.processInfo.environment["S3B_SEED"].flatMap { UInt64($0) } ?? 1
