import BlockCache
import FileIO
import Glibc
import Logging

/// The one place where an error of the volume becomes an error number and a line in the log.
final class FailureLog: Sendable {
    private struct Recent {
        var nextMs: UInt64 = 0
        var suppressed = 0
    }
    private let logger: Logger
    /// One entry for each level, so that a flood of one does not hide the other.
    private let recent = Locked<[Logger.Level: Recent]>([:])

    /// A failing disk fails every request; one line a second says so.
    private static let pauseMs: UInt64 = 1000

    init(_ logger: Logger) { self.logger = logger }

    /// Logs `error` and returns what the kernel is told.
    ///
    /// - Parameter what: The request that failed.
    func report(_ error: VolumeError, _ what: String) -> Int32 {
        let (number, level): (Int32, Logger.Level) =
            switch error.kind {
            case .io, .damaged, .poisoned: (EIO, .error)
            case .store: (EIO, .warning)
            case .stopped: (ESHUTDOWN, .debug)
            }
        let now = Monotonic.nowMs
        let suppressed = recent.withLock { recent -> Int? in
            var entry = recent[level, default: Recent()]
            defer { recent[level] = entry }
            if now < entry.nextMs {
                entry.suppressed += 1
                return nil
            }
            let count = entry.suppressed
            entry = Recent(nextMs: now + Self.pauseMs)
            return count
        }
        if let suppressed {
            let more = suppressed > 0 ? " (and \(suppressed) more failures before)" : ""
            logger.log(level: level, "\(what) failed: \(error.message)\(more)")
        }
        return number
    }
}
