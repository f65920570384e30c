import Foundation

/// Faults between a client and an S3 server: mitmdump with `Tests/Instruments/faults.py`, which says
/// what each kind does.
public final class FaultProxy: @unchecked Sendable {
    // Nothing changes after init.
    public enum Kind: String, CaseIterable, Sendable {
        case error500 = "500"
        case slowDown = "503"
        case slowDownRetryAfter = "503-retry-after"
        case skewed = "skew"
        case moved = "301"
        case redirected = "307"
        case cut, stall, dead
        case lostAnd500 = "lost-500"
        case lostAndCut = "lost-cut"
        case late
        case wrongTag = "etag"
        case corrupt, stale, short, truncated, frozen, trickle
    }

    /// One fault, as it was injected.
    public struct Fault: Decodable, Sendable {
        public var kind: String
        public var method: String
        public var path: String
        /// What the server said; 0: the request did not reach it.
        public var status: Int
    }

    public let port: UInt16
    public var url: String { "http://127.0.0.1:\(port)/" }

    private let process: ServerProcess
    private let directory: String
    private var logPath: String { directory + "/faults" }
    private var pausePath: String { logPath + ".pause" }

    /// Blocks until it listens.
    ///
    /// - Parameters:
    ///   - rate: Share of requests that get a fault, 0...1.
    ///   - streak: Most faults of one request in a row.
    ///   - only: Only requests whose path contains this.
    ///   - isPaused: No faults until `resume`.
    public init(
        to target: UInt16, _ kinds: [Kind], rate: Double, seed: UInt32 = 1, streak: Int = 3,
        stallSeconds: Double = 1, only: String = "", isPaused: Bool = false
    ) throws {
        directory = NSTemporaryDirectory() + "faults-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        let log = directory + "/faults"
        if isPaused { try Data().write(to: URL(fileURLWithPath: log + ".pause")) }
        let settings = [
            "confdir=\(directory)", "keep_host_header=true", "flow_detail=0",
            "termlog_verbosity=info", "http2=false",
            "faults_seed=\(seed)", "faults_rate=\(rate)", "faults_log=\(log)",
            "faults_kinds=\(kinds.map(\.rawValue).joined(separator: ","))",
            "faults_stall=\(stallSeconds)", "faults_streak=\(streak)", "faults_only=\(only)",
        ]
        let script =
            URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().path + "/Instruments/faults.py"
        do {
            process = try ServerProcess(
                "mitmdump",
                [
                    "--mode", "reverse:http://127.0.0.1:\(target)", "--listen-host", "127.0.0.1",
                    "--listen-port", "0", "-s", script,
                ] + settings.flatMap { ["--set", $0] },
                marks: ["listening at 127.0.0.1:"])
        } catch {
            try? FileManager.default.removeItem(atPath: directory)
            throw error
        }
        port = process.port
    }

    deinit { stop() }

    /// Ends it. Only this process is meant.
    public func stop() {
        process.stop()
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// No faults from now on.
    public func pause() { _ = FileManager.default.createFile(atPath: pausePath, contents: nil) }

    public func resume() { try? FileManager.default.removeItem(atPath: pausePath) }

    /// All faults so far.
    public func faults() throws -> [Fault] {
        guard let text = try? String(contentsOfFile: logPath, encoding: .utf8) else { return [] }
        return try text.split(separator: "\n").map {
            try JSONDecoder().decode(Fault.self, from: Data($0.utf8))
        }
    }

    public func counts() throws -> [Kind: Int] {
        var counts: [Kind: Int] = [:]
        for fault in try faults() {
            if let kind = Kind(rawValue: fault.kind) { counts[kind, default: 0] += 1 }
        }
        return counts
    }
}
