import FileIO
import Glibc

/// The time by which a client makes pauses. Requests themselves take that of libcurl.
package struct ClientTime: Sendable {
    package let nowNs: @Sendable () -> UInt64
    /// Blocks until then.
    package let sleep: @Sendable (_ untilNs: UInt64) -> Void

    package init(
        nowNs: @escaping @Sendable () -> UInt64, sleep: @escaping @Sendable (UInt64) -> Void
    ) {
        self.nowNs = nowNs
        self.sleep = sleep
    }

    package static let machine = ClientTime(
        nowNs: { Monotonic.nowNs },
        sleep: { until in
            let now = Monotonic.nowNs
            if now < until { usleep(UInt32(clamping: (until - now) / 1000 + 1)) }
        })

    var nowMs: UInt64 { nowNs() / 1_000_000 }
}
