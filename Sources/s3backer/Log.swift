import CDaemon
import Glibc
import Logging
import Synchronization
import VolumeOptions

/// Where log lines go: standard error while starting and in the foreground, then the system log.
final class LogTarget: Sendable {
    private let isSystemLog = Atomic<Bool>(false)
    /// While starting with `--quiet` only warnings and errors are shown.
    private let isMuted: Atomic<Bool>

    init(isMuted: Bool) { self.isMuted = Atomic(isMuted) }

    func unmute() { isMuted.store(false, ordering: .relaxed) }

    func switchToSystemLog() {
        cdaemon_openlog(Self.ident)
        isSystemLog.store(true, ordering: .releasing)
    }

    /// openlog keeps the pointer.
    nonisolated(unsafe) private static let ident = strdup(Program.name)

    func write(_ level: Logger.Level, _ text: String) {
        if isMuted.load(ordering: .relaxed) && level < .warning { return }
        if isSystemLog.load(ordering: .acquiring) {
            cdaemon_syslog(Self.systemLevel(level), text)
        } else {
            printLine("\(Self.timestamp()) \(Self.name(level)): \(text)")
        }
    }

    private static func name(_ level: Logger.Level) -> String {
        switch level {
        case .trace, .debug: "DEBUG"
        case .info: "INFO"
        case .notice: "NOTICE"
        case .warning: "WARNING"
        case .error, .critical: "ERROR"
        }
    }

    private static func systemLevel(_ level: Logger.Level) -> Int32 {
        switch level {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error, .critical: 3
        }
    }

    /// Local time, `YYYY-MM-DD HH:MM:SS`.
    private static func timestamp() -> String {
        var now = time(nil)
        var parts = tm()
        localtime_r(&now, &parts)
        var text = [CChar](repeating: 0, count: 32)
        let length = strftime(&text, text.count, "%Y-%m-%d %H:%M:%S", &parts)
        return String(decoding: text[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Writes one line to standard error, in one piece.
func printLine(_ text: String) {
    let bytes = Array((text + "\n").utf8)
    _ = write(2, bytes, bytes.count)
}

/// The log format of the real s3backer.
struct LineLogHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    private let target: LogTarget

    init(_ target: LogTarget, level: Logger.Level) {
        self.target = target
        logLevel = level
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { target.write(event.level, "\(event.message)") }
}
