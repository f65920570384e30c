import BlockStore
import FileIO
import Foundation
import Logging
import S3IO
import S3TestServers
import Testing

/// The instrument itself: every fault is what its name says, and is counted.
@Suite(.enabled(if: serversAreWanted, "set S3BACKER_TEST_ALL=1 to use mitmproxy"))
struct FaultProxyTests {
    /// A store as simple as can be, which remembers.
    final class Objects: Sendable {
        let bodies = Locked<[String: [UInt8]]>([:])

        func answer(_ request: StubServer.Request) -> StubServer.Answer {
            bodies.withLock { bodies in
                switch request.method {
                case "PUT": bodies[request.path] = request.body
                case "DELETE":
                    bodies[request.path] = nil
                    return .status(204)
                default: break
                }
                guard let body = bodies[request.path] else { return .status(404) }
                let isRead = request.method == "GET"
                var headers = ["ETag: \"\(Digest.hex(body.withUnsafeBytes { Digest.md5($0) }))\""]
                if request.method == "HEAD" { headers.append("Content-Length: \(body.count)") }
                return .reply(status: 200, headers: headers, body: isRead ? body : [])
            }
        }
    }

    static let size = 4096
    static let old = [UInt8](repeating: 1, count: size)
    static let new = [UInt8](repeating: 2, count: size)

    @Test("every fault is what its name says, and is counted")
    func kinds() throws {
        let objects = Objects()
        let stub = try StubServer { _, request in objects.answer(request) }
        let proxy = try FaultProxy(to: stub.port, FaultProxy.Kind.allCases, rate: 0)
        defer {
            proxy.stop()
            stub.stop()
        }
        func ask(_ method: String, _ kind: FaultProxy.Kind?, _ body: [UInt8] = []) -> HTTPReply? {
            let headers = kind.map { ["X-Fault: \($0.rawValue)"] } ?? []
            return try? HTTPReply.get(
                port: proxy.port, method, "/b/k", headers: headers, body: body)
        }
        #expect(ask("PUT", nil, Self.old)?.status == 200)
        #expect(ask("PUT", nil, Self.new)?.status == 200)
        let tag = ask("GET", nil)?.headers["etag"]
        #expect(ask("GET", nil)?.body == Self.new)
        #expect(try proxy.faults().isEmpty)

        // These do not reach the server.
        let asked = stub.requests.count
        #expect(ask("PUT", .error500, Self.old)?.status == 500)
        let slow = ask("PUT", .slowDown, Self.old)
        #expect(slow?.status == 503 && slow?.text.contains("<Code>SlowDown</Code>") == true)
        #expect(slow?.headers["retry-after"] == nil)
        let later = ask("GET", .slowDownRetryAfter)
        #expect(later?.status == 503 && later?.headers["retry-after"] == "1")
        let skewed = ask("GET", .skewed)
        #expect(skewed?.status == 403 && skewed?.text.contains("RequestTimeTooSkewed") == true)
        for (kind, status) in [(FaultProxy.Kind.moved, 301), (.redirected, 307)] {
            let reply = ask("PUT", kind, Self.old)
            #expect(reply?.status == status)
            #expect(reply?.headers["location"] == proxy.url + "b/k")
        }
        #expect(ask("PUT", .cut, Self.old) == nil)
        #expect(ask("PUT", .dead, Self.old) == nil)
        #expect(stub.requests.count == asked)

        // These do.
        let wrong = ask("GET", .wrongTag)
        #expect(wrong?.status == 200 && wrong?.body == Self.new)
        #expect(wrong?.headers["etag"] != nil && wrong?.headers["etag"] != tag)
        let corrupt = ask("GET", .corrupt)
        #expect(corrupt?.headers["etag"] == tag && corrupt?.body.count == Self.size)
        #expect(zip(corrupt?.body ?? [], Self.new).filter { $0 != $1 }.count == 1)
        let stale = ask("GET", .stale)
        #expect(stale?.status == 200 && stale?.body == Self.old)
        #expect(stale?.headers["etag"] != nil && stale?.headers["etag"] != tag)
        #expect(ask("HEAD", .stale)?.headers["etag"] == stale?.headers["etag"])
        let short = ask("GET", .short)
        #expect(short?.headers["content-length"] == "2048" && short?.body.count == 2048)
        let truncated = ask("GET", .truncated)
        #expect(truncated?.headers["content-length"] == "4096" && truncated?.body.count == 2048)
        #expect(ask("GET", .stall)?.body == Self.new)
        #expect(ask("GET", .trickle)?.body == Self.new)
        #expect(ask("GET", .late)?.body == Self.new)
        #expect(ask("PUT", .lostAnd500, Self.old)?.status == 500)
        #expect(objects.bodies.withLock { $0["/b/k"] } == Self.old)
        #expect(ask("PUT", .lostAndCut, Self.new) == nil)
        #expect(objects.bodies.withLock { $0["/b/k"] } == Self.new)

        let counts = try proxy.counts()
        #expect(counts[.stale] == 2)
        for kind in FaultProxy.Kind.allCases where kind != .stale && kind != .frozen {
            #expect(counts[kind] == 1, "\(kind)")
        }
        let late = try proxy.faults().filter { $0.kind == "late" || $0.kind == "cut" }
        #expect(late.map(\.status).sorted() == [0, 200])
    }

    private func store(_ url: String, _ id: String, _ key: String, timeoutMs: Int) throws -> S3Store
    {
        let endpoint = try S3Endpoint(
            baseURL: url, bucket: "bkt", region: "us-east-1", isVirtualHosted: false)
        var configuration = S3Configuration(
            endpoint: endpoint, credentials: Credentials(accessID: id, accessKey: key))
        configuration.transport.timeoutMs = timeoutMs
        configuration.initialRetryPauseMs = 1
        // Some of the replies ask for a second.
        configuration.maxRetryPauseMs = 30_000
        return S3Store(
            client: S3Client(configuration, logger: Logger(label: "test")), prefix: "p/",
            blockSize: Self.size, blockCount: 64)
    }

    @Test("a body that freezes is asked for again after the time for one request")
    func frozen() throws {
        let objects = Objects()
        let stub = try StubServer { _, request in objects.answer(request) }
        let proxy = try FaultProxy(to: stub.port, [.frozen], rate: 1, streak: 1, isPaused: true)
        defer {
            proxy.stop()
            stub.stop()
        }
        let store = try store(proxy.url, "id", "key", timeoutMs: 1000)
        let version = try Self.new.withUnsafeBytes { try store.put(3, $0) }
        var target = Self.old
        _ = try target.withUnsafeMutableBytes { try store.get(3, into: $0) }
        #expect(try proxy.faults().isEmpty)
        proxy.resume()
        target = Self.old
        let read = try target.withUnsafeMutableBytes { try store.get(3, into: $0) }
        #expect(read == version && target == Self.new)
        #expect(try proxy.counts() == [.frozen: 1])
        proxy.pause()
        _ = try target.withUnsafeMutableBytes { try store.get(3, into: $0) }
        #expect(try proxy.faults().count == 1)
    }

    /// Over a server that checks signatures, so what passes has to pass unchanged.
    @Test("what can be cured is cured, and the same seed gives the same faults")
    func seeded() throws {
        let server = try TestServer.rclone(buckets: ["bkt"])
        defer { server.stop() }
        let kinds: [FaultProxy.Kind] = [
            .error500, .slowDown, .slowDownRetryAfter, .cut, .lostAnd500, .lostAndCut, .truncated,
        ]
        var rounds: [[String]] = []
        for seed in [UInt32(5), 5, 6] {
            let proxy = try FaultProxy(to: server.port, kinds, rate: 0.3, seed: seed)
            defer { proxy.stop() }
            let store = try store(
                proxy.url, server.accessID, server.accessKey, timeoutMs: 20_000)
            for number in 0..<100 {
                let block = UInt64(number % 20)
                let bytes = [UInt8](repeating: UInt8(number + 1), count: Self.size)
                let version = try bytes.withUnsafeBytes { try store.put(block, $0) }
                var target = [UInt8](repeating: 0, count: Self.size)
                let read = try target.withUnsafeMutableBytes { try store.get(block, into: $0) }
                #expect(read == version && target == bytes, "\(number)")
            }
            let counts = try proxy.counts()
            for kind in kinds { #expect(counts[kind, default: 0] >= 2, "\(kind): \(counts)") }
            rounds.append(
                try proxy.faults().map { "\($0.kind) \($0.method) \($0.path)" })
        }
        #expect(rounds[0] == rounds[1])
        #expect(rounds[0] != rounds[2])
    }
}
