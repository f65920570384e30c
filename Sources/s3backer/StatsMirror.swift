import ArgumentParser
import FileIO
import Glibc
import Logging
import VolumeOptions

/// The part of the command line about a copy of the statistics in another file.
struct StatsMirrorOptions: ParsableArguments {
    @Option(
        name: .customLong("statsFileMirror"),
        help: ArgumentHelp("Copy the statistics to this file again and again.", valueName: "file"))
    var statsFileMirror: String?

    @Option(
        name: .customLong("statsFileMirrorInterval"),
        help: ArgumentHelp("How often.", valueName: "ms"))
    var statsFileMirrorInterval = "1000"
}

struct StatsMirrorPlan: Equatable {
    var path: String
    var intervalMs: UInt64
}

extension StatsMirrorOptions {
    private static let intervalMaxMs: UInt64 = 24 * 3600 * 1000

    /// - Returns: nil when no copy is wanted.
    func plan(mountPoint: String?) throws(StartupError) -> StatsMirrorPlan? {
        let interval = try OptionValue.number(
            "statsFileMirrorInterval", statsFileMirrorInterval, 1...Self.intervalMaxMs)
        guard let path = statsFileMirror else { return nil }
        if path.isEmpty { throw StartupError("--statsFileMirror needs the name of a file") }
        let absolute = PathChecks.absolute(path)
        if let mountPoint {
            try PathChecks.outside(absolute, "statsFileMirror", mountPoint: mountPoint)
        }
        return StatsMirrorPlan(path: absolute, intervalMs: UInt64(interval))
    }
}

/// Copies the statistics to a file, so that they can be read without the mount. Whoever removes the
/// file sets the counters to zero.
///
/// `@unchecked Sendable`: what changes is only touched by the thread, or under `condition`.
final class StatsMirror: @unchecked Sendable {
    private let plan: StatsMirrorPlan
    private let statistics: Statistics
    private let logger: Logger
    private let condition = Condition()
    private var isOver = false
    private var wasWritten = false
    private var worker: Worker?

    init(_ plan: StatsMirrorPlan, _ statistics: Statistics, logger: Logger) {
        self.plan = plan
        self.statistics = statistics
        self.logger = logger
    }

    func start() { worker = Worker(name: "mirror") { [self] in run() } }

    /// Copies once more and ends. Blocks for a moment.
    func end() {
        condition.withLock {
            isOver = true
            condition.broadcast()
        }
        worker?.join()
        worker = nil
    }

    private func run() {
        var isLast = false
        while true {
            if let problem = copy() {
                logger.error(
                    "--statsFileMirror=\(plan.path): \(problem); it is not written any more")
                return
            }
            if isLast { return }
            isLast = condition.withLock {
                if !isOver { condition.wait(ms: plan.intervalMs) }
                return isOver
            }
        }
    }

    /// Appears complete, by a rename.
    ///
    /// - Returns: Why it failed.
    private func copy() -> String? {
        if wasWritten, access(plan.path, F_OK) != 0, errno == ENOENT { statistics.reset() }
        let temporary = plan.path + ".new"
        let fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o644)
        if fd < 0 { return String(cString: strerror(errno)) }
        let text = statistics.text()
        var isGood = write(fd, text, text.count) == text.count
        var number = errno
        close(fd)
        if isGood {
            isGood = rename(temporary, plan.path) == 0
            number = errno
        }
        if isGood {
            wasWritten = true
            return nil
        }
        unlink(temporary)
        return String(cString: strerror(number))
    }
}
