import Foundation

/// A server in a process of its own, on a port of 127.0.0.1 that it names in its log.
final class ServerProcess: @unchecked Sendable {
    // Nothing changes after init; `Process` itself is used by one thread at a time.
    let port: UInt16
    private let process: Process
    private let logPath: String

    private static let startSecondsMax = 60.0

    /// Blocks until the server listens.
    ///
    /// - Parameter marks: What comes before the port in the log.
    init(
        _ program: String, _ arguments: [String], environment: [String: String] = [:],
        marks: [String]
    ) throws {
        let logPath = NSTemporaryDirectory() + "s3server-\(UUID().uuidString).log"
        self.logPath = logPath
        try Data().write(to: URL(fileURLWithPath: logPath))
        process = Process()
        process.executableURL = URL(fileURLWithPath: try TestServer.find(program))
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let log = FileHandle(forWritingAtPath: logPath)
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = log
        process.standardError = log
        try process.run()
        var found: UInt16?
        let deadline = Date(timeIntervalSinceNow: Self.startSecondsMax)
        while found == nil {
            let text = (try? String(contentsOfFile: logPath, encoding: .utf8)) ?? ""
            guard process.isRunning, Date() < deadline else {
                kill(process.processIdentifier, SIGKILL)
                try? FileManager.default.removeItem(atPath: logPath)
                throw TestServer.Failure(description: "\(program) does not start: \(text)")
            }
            found = Self.port(in: text, after: marks)
            usleep(20_000)
        }
        port = found ?? 0
    }

    /// Ends the server. Only this process is meant.
    func stop() {
        if process.isRunning {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(atPath: logPath)
    }

    func send(signal: Int32) { kill(process.processIdentifier, signal) }

    private static func port(in log: String, after marks: [String]) -> UInt16? {
        for mark in marks {
            let parts = log.components(separatedBy: mark)
            guard parts.count > 1 else { continue }
            let digits = parts[1].prefix { $0.isNumber }
            if digits.endIndex < parts[1].endIndex { return UInt16(digits) }
        }
        return nil
    }
}
