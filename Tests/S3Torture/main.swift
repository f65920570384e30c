import BlockStore
import Foundation
import Logging
import S3IO
import S3TestServers

/// s3torture [--operations N] [--threads N] [--keys N] [--seed S]
///
/// Load on an S3 server of this machine through a proxy with faults. Exit status 1 with what was wrong.

private func residentBytes() -> Int {
    let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
    return (line.flatMap { Int($0.filter(\.isNumber)) } ?? 0) * 1024
}

private func store(_ url: String, _ server: TestServer, _ prefix: String) throws -> any BlockStore {
    var configuration = S3Configuration(
        endpoint: try S3Endpoint(
            baseURL: url, bucket: "bkt", region: "us-east-1", isVirtualHosted: false),
        credentials: Credentials(accessID: server.accessID, accessKey: server.accessKey))
    configuration.transport.timeoutMs = Torture.Settings.timeoutMs
    configuration.initialRetryPauseMs = 5
    configuration.maxRetryPauseMs = 20_000
    let client = S3Client(
        configuration, logger: Logger(label: "torture") { _ in SwiftLogNoOpLogHandler() })
    let plain = S3Store(
        client: client, prefix: prefix, blockSize: Torture.Settings.blockSize,
        blockCount: UInt64(1) << 20)
    var limits = ConsistencyGuard.Limits(blocks: 1000, rememberMs: 0, writeDelayMs: 0)
    limits.retryPauseMs = 5
    return ConsistencyGuard(plain, limits, clock: MonotonicClock())
}

private func settings() -> Torture.Settings? {
    var settings = Torture.Settings()
    var rest = CommandLine.arguments.dropFirst()
    while let name = rest.popFirst() {
        guard let value = rest.popFirst().flatMap({ Int($0) }), value > 0 else { return nil }
        switch name {
        case "--operations": settings.operations = value
        case "--threads": settings.threads = value
        case "--keys": settings.keys = value
        case "--seed": settings.seed = UInt64(value)
        default: return nil
        }
    }
    return settings.threads <= settings.keys ? settings : nil
}

guard let settings = settings() else {
    print("usage: s3torture [--operations N] [--threads N] [--keys N] [--seed S]")
    exit(64)
}
let server = try TestServer.rclone(buckets: ["bkt"])
// A request that stalls here goes on to the server later, also when the client has given it up and
// sent newer data: that no client can see, and `mayArriveAgain` tells its caller.
let kinds = FaultProxy.Kind.allCases.filter { $0 != .stall }
let proxy = try FaultProxy(
    to: server.port, kinds, rate: settings.rate, seed: UInt32(truncatingIfNeeded: settings.seed),
    stallSeconds: Double(Torture.Settings.timeoutMs) * 1.5 / 1000)
var warm = settings
warm.operations = settings.operations / 4
// Pools and arenas fill.
let first = Torture(warm, try store(proxy.url, server, "warm/"))
first.run()
let before = residentBytes()
let torture = Torture(settings, try store(proxy.url, server, "volume/"))
torture.run()
let grown = residentBytes() - before
let result = torture.report(try proxy.counts(), grown: grown)
proxy.stop()
server.stop()
print(result.line)
for problem in result.problems.prefix(20) { print("WRONG \(problem)") }
exit(result.problems.isEmpty ? 0 : 1)
