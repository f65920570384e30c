import FileIO
import Glibc

enum Output {
    /// Whether all of `text` was written.
    static func write(_ text: String, to fd: Int32) -> Bool {
        var text = text
        return text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let put = Glibc.write(fd, bytes.baseAddress! + done, bytes.count - done)
                if put > 0 { done += put } else if errno != EINTR { return false }
            }
            return true
        }
    }

    /// One line on standard error.
    static func complain(_ line: String) {
        _ = write("cachecheck: \(line)\n", to: STDERR_FILENO)
    }

    /// Writes a report to standard output; its status, or that of the failure to write it.
    static func finish(_ text: String, _ status: Int32) -> Int32 {
        if write(text, to: STDOUT_FILENO) { return status }
        complain("cannot write the report")
        return status | ExitStatus.operational
    }
}

/// Text for standard output that may become long: written in pieces.
struct OutputStream {
    private var pending = ""
    private(set) var hasFailed = false
    private static let pieceBytes = 64 << 10

    mutating func line(_ text: String) {
        pending += text
        pending += "\n"
        if pending.utf8.count >= Self.pieceBytes { flush() }
    }

    mutating func flush() {
        if !hasFailed, !Output.write(pending, to: STDOUT_FILENO) {
            hasFailed = true
            Output.complain("cannot write the report")
        }
        pending = ""
    }

    /// The status of the command, or that of the failure to write.
    mutating func finish(_ status: Int32) -> Int32 {
        flush()
        return hasFailed ? status | ExitStatus.operational : status
    }
}

/// One line on a terminal that says how far long work has come, and when it will end.
final class Progress {
    private let isWanted: Bool
    private let what: String
    private let begun = Monotonic.nowMs
    private var shownMs: UInt64 = 0

    init(_ what: String, _ options: CommonOptions) {
        self.what = what
        isWanted = !options.json && !options.quiet && isatty(STDERR_FILENO) == 1
    }

    func show(_ done: Int, _ all: Int) {
        let now = Monotonic.nowMs
        guard isWanted, done > 0, now - shownMs >= 200 || done == all else { return }
        shownMs = now
        let left = (now - begun) * UInt64(max(0, all - done)) / UInt64(done) / 1000
        let percent = done * 100 / max(1, all)
        _ = Output.write(
            "\r\(what): \(percent) %, block \(done) of \(all), \(Self.duration(left)) left\u{1b}[K",
            to: STDERR_FILENO)
    }

    private static func duration(_ seconds: UInt64) -> String {
        if seconds < 100 { return "\(seconds) s" }
        return seconds < 6000 ? "\((seconds + 59) / 60) min" : "\((seconds + 3599) / 3600) h"
    }

    func clear() {
        if shownMs > 0 { _ = Output.write("\r\u{1b}[K", to: STDERR_FILENO) }
    }
}
