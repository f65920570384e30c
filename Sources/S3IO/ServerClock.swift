import Glibc
import Logging
import Synchronization

/// The time by which requests are dated: that of this machine, until the server says that it is
/// too far from its own.
final class ServerClock: Sendable {
    private let offset = Atomic<Int>(0)
    private let logger: Logger
    private let host: String

    /// Servers take what is up to 15 minutes off; less than this is no reason for a refusal.
    private static let offsetMin = 60

    init(host: String, logger: Logger) {
        self.host = host
        self.logger = logger
    }

    /// Seconds since 1970.
    var seconds: Int { time(nil) + offset.load(ordering: .relaxed) }

    /// Learns from a refusal that has the server's time in its header `Date`.
    ///
    /// - Parameter used: The date of the request that was refused.
    /// - Returns: Whether a request dated anew may succeed.
    func learn(_ date: String?, used: Int) -> Bool {
        guard let date, let theirs = S3Date.seconds(date), abs(theirs - used) >= Self.offsetMin
        else { return false }
        let new = theirs - time(nil)
        if abs(offset.exchange(new, ordering: .relaxed) - new) >= Self.offsetMin {
            let text = abs(new) < Self.offsetMin ? "as the server's again" : Self.text(new)
            logger.warning(
                "the clock of this machine is \(text) (\(host)); requests are dated by the server's"
            )
        }
        return true
    }

    /// The clock that was learnt is refused as well.
    func forget() { offset.store(0, ordering: .relaxed) }

    private static func text(_ offset: Int) -> String {
        "\(abs(offset)) s \(offset > 0 ? "behind" : "ahead of") the server's"
    }
}
