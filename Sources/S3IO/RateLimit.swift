import FileIO

/// Gives bodies their turns, so that all connections together stay within a rate.
///
/// A body waits for those before it, then goes at the whole rate: connections that shared it would
/// all come close to their time limits, for nothing.
package final class RateLimit: Sendable {
    private let bytesPerSecond: Double
    /// When the next body may begin.
    private let freeNs = Locked<UInt64>(0)

    package init(bytesPerSecond: UInt64) {
        precondition(bytesPerSecond > 0)
        self.bytesPerSecond = Double(bytesPerSecond)
    }

    /// Takes the next turn.
    ///
    /// - Returns: When it begins, on the clock of `nowNs`; not before `nowNs`.
    package func turn(bytes: Int, nowNs: UInt64) -> UInt64 {
        let seconds = Double(bytes) / bytesPerSecond
        return freeNs.withLock { free in
            let start = max(free, nowNs)
            free = start + UInt64(min(seconds, 1e6) * 1e9)
            return start
        }
    }

    /// How fast a body goes in its turn: not so slow that its request takes more than half of the
    /// time it has.
    ///
    /// - Returns: Bytes per second.
    package func speed(bytes: Int, timeoutMs: Int) -> Int {
        // At the end of a start there may be no time left.
        let halfSeconds = Double(max(1, timeoutMs)) / 2000
        return Int(max(bytesPerSecond, Double(bytes) / halfSeconds).rounded(.up))
    }
}
