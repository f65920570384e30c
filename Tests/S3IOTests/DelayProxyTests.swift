import Foundation
import S3TestServers
import TestSupport
import Testing

/// The instrument itself: what tests and the bench measure with has to do what it says.
@Suite struct DelayProxyTests {
    static let body = [UInt8](repeating: 9, count: 1000)

    func server() throws -> StubServer {
        try StubServer { _, _ in .reply(status: 200, headers: [], body: Self.body) }
    }

    func get(_ proxy: DelayProxy) throws -> HTTPReply {
        try HTTPReply.get(port: proxy.port, "GET", "/x", headers: [])
    }

    @Test("bytes pass unchanged, both ways, and are counted")
    func passing() throws {
        let stub = try StubServer { _, request in
            .reply(status: 200, headers: [], body: request.body.reversed())
        }
        let proxy = try DelayProxy(to: stub.port)
        defer {
            proxy.stop()
            stub.stop()
        }
        let bytes = (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 8 ^ $0 >> 16) }
        for _ in 0..<3 {
            let reply = try HTTPReply.get(port: proxy.port, "PUT", "/x", headers: [], body: bytes)
            #expect(reply.status == 200 && reply.body == bytes.reversed())
        }
        let counts = proxy.counts
        #expect(counts.connections == 3)
        #expect(counts.bytesToServer > 15_000_000 && counts.bytesToClient > 15_000_000)
    }

    /// A lower bound only: how much longer it takes is the machine's affair.
    @Test("a round trip takes at least the delay, and a new connection one more")
    func delay() throws {
        let stub = try server()
        let proxy = try DelayProxy(to: stub.port, delayMs: 60)
        defer {
            proxy.stop()
            stub.stop()
        }
        func seconds() throws -> Double {
            let begun = ProcessInfo.processInfo.systemUptime
            #expect(try get(proxy).body == Self.body)
            return ProcessInfo.processInfo.systemUptime - begun
        }
        #expect(try seconds() >= 0.120)
        proxy.setDelay(ms: 100)
        #expect(try seconds() >= 0.200)
        proxy.setDelay(ms: 0)
        #expect(try get(proxy).status == 200)
    }

    @Test("it delays and does not throttle: many replies under way at a time")
    func pipelined() throws {
        let stub = try server()
        let proxy = try DelayProxy(to: stub.port, delayMs: 400)
        defer {
            proxy.stop()
            stub.stop()
        }
        // One after the other these would take 24 s.
        let begun = ProcessInfo.processInfo.systemUptime
        let good = ResultCount()
        for _ in 0..<30 {
            let thread = Thread {
                let reply = try? HTTPReply.get(port: proxy.port, "GET", "/x", headers: [])
                good.add(reply?.body == Self.body)
            }
            thread.start()
        }
        try good.wait(for: 30)
        #expect(good.good == 30)
        #expect(ProcessInfo.processInfo.systemUptime - begun >= 0.8)
        #expect(proxy.counts.connections == 30)
    }

    @Test("cut resets and refuses, and passes again after")
    func cut() throws {
        let stub = try StubServer { number, _ in
            number == 0 ? .silence : .reply(status: 200, headers: [], body: Self.body)
        }
        let proxy = try DelayProxy(to: stub.port)
        defer {
            proxy.stop()
            stub.stop()
        }
        let waiting = ResultCount()
        let thread = Thread {
            // Ends without a reply.
            waiting.add((try? HTTPReply.get(port: proxy.port, "GET", "/", headers: [])) == nil)
        }
        thread.start()
        try waitFor("the request") { !stub.requests.isEmpty }
        proxy.set(.cut)
        try waiting.wait(for: 1)
        #expect(waiting.good == 1)
        #expect(throws: TestServer.Failure.self) { try get(proxy) }
        #expect(stub.requests.count == 1)
        proxy.set(.on)
        #expect(try get(proxy).body == Self.body)
    }

    @Test("hang answers nothing, and goes on where it stopped")
    func hang() throws {
        let stub = try server()
        let proxy = try DelayProxy(to: stub.port)
        defer {
            proxy.stop()
            stub.stop()
        }
        #expect(try get(proxy).status == 200)
        proxy.set(.hang)
        let waiting = ResultCount()
        for _ in 0..<3 {
            let thread = Thread {
                let reply = try? HTTPReply.get(port: proxy.port, "GET", "/", headers: [])
                waiting.add(reply?.body == Self.body)
            }
            thread.start()
        }
        // The order took effect before any of them came, so the server must not see them.
        #expect(stub.requests.count == 1 && waiting.all == 0)
        proxy.set(.on)
        try waiting.wait(for: 3)
        #expect(waiting.good == 3)
        #expect(stub.requests.count == 4)
    }

    @Test("reset ends the connections there are, and a server that is not there resets")
    func reset() throws {
        let stub = try StubServer { number, _ in
            number == 0 ? .silence : .reply(status: 200, headers: [], body: Self.body)
        }
        let proxy = try DelayProxy(to: stub.port)
        defer { proxy.stop() }
        let waiting = ResultCount()
        let thread = Thread {
            waiting.add((try? HTTPReply.get(port: proxy.port, "GET", "/", headers: [])) == nil)
        }
        thread.start()
        try waitFor("the request") { !stub.requests.isEmpty }
        proxy.resetConnections()
        try waiting.wait(for: 1)
        #expect(waiting.good == 1)
        #expect(try get(proxy).body == Self.body)
        stub.stop()
        let nobody = try ListeningSocket()
        nobody.close()
        let astray = try DelayProxy(to: nobody.port)
        defer { astray.stop() }
        #expect(throws: TestServer.Failure.self) { try get(astray) }
    }
}
