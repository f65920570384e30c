import BlockStore
import FileIO
import Foundation
import Logging
import S3IO
import S3TestServers
import TestSupport
import Testing

/// Dates, pauses, turns, and what a client learns of its server.
@Suite struct TransportTests {
    // MARK: Dates and pauses

    @Test("dates of every form")
    func dates() {
        #expect(S3Date.text(1_000_000_000) == "20010909T014640Z")
        #expect(S3Date.httpText(1_000_000_000) == "Sun, 09 Sep 2001 01:46:40 GMT")
        for text in [
            "20010909T014640Z", "2001-09-09T01:46:40Z", "2001-09-09T01:46:40.500Z",
            "Sun, 09 Sep 2001 01:46:40 GMT",
        ] {
            #expect(S3Date.seconds(text) == 1_000_000_000, "\(text)")
        }
        for text in ["", "Z", "yesterday", "2001-09-09", "99999999999999999999Z"] {
            #expect(S3Date.seconds(text) == nil || S3Date.seconds(text) != 1_000_000_000)
        }
    }

    @Test("the server's wish is a minimum, within the sum of all pauses")
    func wishes() {
        var pauses = RetryPauses(initialMs: 100, sumMs: 10_000)
        #expect(pauses.next(chance: 0, atLeast: 3000) == 3000)
        #expect(pauses.next(chance: 0) == 200)
        #expect(pauses.next(chance: 0, atLeast: 100) == 400)
        #expect(pauses.next(chance: 0, atLeast: 1_000_000) == 6400)
        #expect(pauses.next(chance: 0, atLeast: 1_000_000) == nil)
    }

    @Test("Retry-After is waited for, as seconds and as a date")
    func retryAfter() throws {
        for header in [
            ["Retry-After: 1"],
            ["Date: Sun, 09 Sep 2001 01:46:40 GMT", "Retry-After: Sun, 09 Sep 2001 01:46:41 GMT"],
        ] {
            let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 60_000) { number, _ in
                number == 0
                    ? .reply(status: 503, headers: header, body: []) : ClientTests.block()
            }
            #expect(try setup.get() == .tag("t"))
            let requests = setup.stub.requests
            #expect(requests.count == 2 && requests[1].time - requests[0].time >= 1)
        }
    }

    @Test("bodies take turns, at the rate that all of them may have together")
    func turns() {
        let limit = RateLimit(bytesPerSecond: 1000)
        #expect(limit.turn(bytes: 500, nowNs: 1_000_000_000) == 1_000_000_000)
        #expect(limit.turn(bytes: 1000, nowNs: 1_000_000_001) == 1_500_000_000)
        #expect(limit.turn(bytes: 1, nowNs: 1_000_000_002) == 2_500_000_000)
        // Time that nobody used is over.
        #expect(limit.turn(bytes: 1, nowNs: 9_000_000_000) == 9_000_000_000)
        #expect(limit.speed(bytes: 100, timeoutMs: 30_000) == 1000)
        // A body that would take longer than its request may goes faster.
        #expect(limit.speed(bytes: 60_000, timeoutMs: 30_000) == 4000)
        for timeoutMs in [0, -5] { #expect(limit.speed(bytes: 1, timeoutMs: timeoutMs) == 2000) }
    }

    // MARK: Options of the connection

    private func setup(_ change: (inout S3Configuration) -> Void) throws -> ClientTests.Setup {
        try ClientTests.Setup(configure: change) { _, _ in ClientTests.block() }
    }

    @Test("connections are kept, unless they shall not be")
    func connections() throws {
        let kept = try setup { _ in }
        for _ in 0..<3 { _ = try kept.get() }
        #expect(Set(kept.stub.requests.map(\.connection)).count == 1)
        let fresh = try setup { $0.transport.keepsConnections = false }
        for _ in 0..<3 { _ = try fresh.get() }
        #expect(Set(fresh.stub.requests.map(\.connection)).count == 3)
    }

    @Test("with limits and marks every block still arrives")
    func limited() throws {
        let setup = try setup {
            $0.transport.uploadSpeedMax = 1 << 20
            $0.transport.downloadSpeedMax = 1 << 20
            $0.transport.typeOfService = 0x10
        }
        for _ in 0..<4 {
            #expect(try setup.put() == .tag("t"))
            #expect(try setup.get() == .tag("t"))
            #expect(setup.target.allSatisfy { $0 == 5 })
        }
        let puts = setup.stub.requests.filter { $0.method == "PUT" }
        #expect(
            puts.count == 4 && puts.allSatisfy { $0.body == [UInt8](repeating: 7, count: 4096) })
    }

    /// Passes only while somebody waits.
    private final class StillTime: Sendable {
        let nowNs = Locked<UInt64>(0)

        var time: ClientTime {
            ClientTime(
                nowNs: { self.nowNs.withLock { $0 } },
                sleep: { until in self.nowNs.withLock { $0 = max($0, until) } })
        }
    }

    @Test("all connections together stay within a limit", arguments: ["PUT", "GET"])
    func limitOfAll(method: String) throws {
        let count = 4
        let arrived = Locked(0)
        let still = StillTime()
        let setup = try ClientTests.Setup(
            time: still.time,
            configure: {
                if method == "PUT" { $0.transport.uploadSpeedMax = 1 << 20 }
                if method == "GET" { $0.transport.downloadSpeedMax = 1 << 20 }
            }
        ) { _, _ in
            // Nobody is answered before all are there: each has a connection of its own.
            arrived.withLock { $0 += 1 }
            try? waitFor("the others") { arrived.withLock { $0 } == count }
            return ClientTests.block()
        }
        let store = setup.store
        let workers = (0..<count).map { number in
            Worker(name: "client") {
                var bytes = Self.good
                if method == "PUT" {
                    _ = try? bytes.withUnsafeBytes { try store.put(UInt64(number), $0) }
                } else {
                    _ = try? bytes.withUnsafeMutableBytes {
                        try store.get(UInt64(number), into: $0)
                    }
                }
            }
        }
        for worker in workers { worker.join() }
        #expect(setup.stub.requests.map(\.method) == Array(repeating: method, count: count))
        #expect(Set(setup.stub.requests.map(\.connection)).count == count)
        // The last one waited until the others had had their time: 1/256 s for 4 KiB.
        #expect(still.nowNs.withLock { $0 } == UInt64(count - 1) * 1_000_000_000 / 256)
    }

    @Test("packets are marked with the type of service", arguments: [false, true])
    func typeOfService(isV6: Bool) throws {
        // Not every machine has IPv6.
        if isV6, (try? ListeningSocket(isV6: true).close()) == nil { return }
        for value in [nil, 0x10, 0xb8] {
            let setup = try ClientTests.Setup(
                isV6: isV6, configure: { $0.transport.typeOfService = value }
            ) { _, _ in ClientTests.block() }
            _ = try setup.get()
            #expect(setup.stub.requests.map(\.typeOfService) == [value ?? 0])
        }
    }

    @Test("TLS begins with the offer of HTTP/1.1 and nothing else")
    func noHTTP2() throws {
        let listener = try ListeningSocket()
        let hello = Locked<[UInt8]>([])
        Worker(name: "server") {
            let bytes = listener.firstBytes()
            listener.close()
            hello.withLock { $0 = bytes }
        }.detach()
        let endpoint = try S3Endpoint(
            baseURL: "https://127.0.0.1:\(listener.port)/", bucket: "bkt", region: "us-east-1",
            isVirtualHosted: false)
        let setup = try ClientTests.Setup(
            sumMs: 0, configure: { $0.endpoint = endpoint }
        ) { _, _ in .silence }
        _ = try setup.getError()
        try waitFor("the hello") { hello.withLock { !$0.isEmpty } }
        // Application-Layer Protocol Negotiation (RFC 7301): number 16, three lengths, the names.
        let offer = [0, 16, 0, 11, 0, 9, 8] + Array("http/1.1".utf8)
        #expect(Data(hello.withLock { $0 }).range(of: Data(offer)) != nil)
    }

    @Test("one handle takes every method in any order")
    func methods() throws {
        let setup = try setup { _ in }
        for round in 0..<3 {
            #expect(try setup.get() == .tag("t"))
            #expect(try setup.put() == .tag("t"))
            #expect(try setup.store.head(1) == .tag("t"))
            try setup.store.delete(2)
            #expect(try setup.store.head(1) == .tag("t"))
            #expect(try setup.put() == .tag("t"))
            #expect(setup.stub.requests.count == 6 * (round + 1))
        }
        let methods = ["GET", "PUT", "HEAD", "DELETE", "HEAD", "PUT"]
        #expect(setup.stub.requests.map(\.method) == methods + methods + methods)
        for request in setup.stub.requests where request.method != "PUT" {
            #expect(request.body.isEmpty && request.headers["content-type"] == nil)
        }
    }

    // MARK: The server's clock

    private static func skewed(_ date: String) -> StubServer.Answer {
        .reply(
            status: 403, headers: ["Date: " + date],
            body: Array("<Error><Code>RequestTimeTooSkewed</Code></Error>".utf8))
    }

    @Test("a refused date is corrected once, with a message, and stays so")
    func skew() throws {
        let log = RecordedLog()
        let theirs = Int(Date().timeIntervalSince1970) + 5000
        let setup = try ClientTests.Setup(logger: log.logger) { number, _ in
            number == 0 ? Self.skewed(S3Date.httpText(theirs)) : ClientTests.block()
        }
        #expect(try setup.get() == .tag("t"))
        #expect(try setup.put() == .tag("t"))
        let dates = setup.stub.requests.map { S3Date.seconds($0.headers["x-amz-date"] ?? "") ?? 0 }
        #expect(dates.count == 3 && dates[0] < theirs - 4000)
        #expect(dates.dropFirst().allSatisfy { $0 >= theirs && $0 < theirs + 600 })
        let lines = log.lines.filter { $0.contains("clock") }
        #expect(lines.count == 1 && lines[0].contains("s behind the server's"), "\(lines)")
    }

    @Test("a HEAD learns the time as well")
    func skewOfHead() throws {
        let theirs = Int(Date().timeIntervalSince1970) - 50_000
        let setup = try ClientTests.Setup { _, request in
            let date = S3Date.seconds(request.headers["x-amz-date"] ?? "") ?? 0
            return date > theirs + 1000
                ? Self.skewed(S3Date.httpText(theirs)) : ClientTests.block()
        }
        #expect(try setup.store.head(3) == .tag("t"))
        #expect(setup.stub.requests.map(\.method) == ["HEAD", "GET", "GET", "HEAD"])
    }

    @Test("a server that refuses its own time is not asked for ever")
    func hopeless() throws {
        let theirs = Int(Date().timeIntervalSince1970) + 5000
        let setup = try ClientTests.Setup { _, _ in Self.skewed(S3Date.httpText(theirs)) }
        let error = try setup.getError()
        #expect(error.kind == .permanent && error.message.contains("clock"))
        #expect(setup.stub.requests.count == 2)
        // It is not believed from then on.
        _ = try setup.getError()
        let dates = setup.stub.requests.map { S3Date.seconds($0.headers["x-amz-date"] ?? "") ?? 0 }
        #expect(dates.count == 4 && abs(dates[2] - dates[0]) < 1000)
    }

    // MARK: Entity tags

    private static func answer(_ tag: [UInt8], _ body: [UInt8]) -> StubServer.Answer {
        let tag = Digest.hex(tag.withUnsafeBytes { Digest.md5($0) })
        return .reply(status: 200, headers: ["ETag: \"\(tag)\""], body: body)
    }

    static let good = [UInt8](repeating: 9, count: ClientTests.blockSize)
    static let flipped: [UInt8] = good.dropLast() + [8]

    @Test("a body that is not what its MD5 says is asked for again")
    func damagedOnItsWay() throws {
        // 0: learns; 1, 2: damaged the same way twice, 3: whole.
        let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 5000) { number, _ in
            Self.answer(Self.good, number == 1 || number == 2 ? Self.flipped : Self.good)
        }
        for _ in 0..<2 {
            _ = try setup.get()
            #expect(setup.target == Self.good)
        }
        #expect(setup.stub.requests.count == 4)
    }

    @Test("what stays different is damaged, and never data")
    func damagedForGood() throws {
        let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 20) { number, _ in
            Self.answer(Self.good, number == 0 ? Self.good : Self.flipped)
        }
        _ = try setup.get()
        let error = try setup.getError()
        #expect(error.kind == .damaged && error.block == 3 && error.message.contains("MD5"))
    }

    @Test("tags that are no MD5 are taken as they are, after a second look at the first")
    func otherTags() throws {
        let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 5000) { _, _ in
            Self.answer(Self.flipped, Self.good)
        }
        for block in [UInt64(1), 1, 2, 3] {
            _ = try setup.get(block)
            #expect(setup.target == Self.good)
        }
        #expect(setup.stub.requests.count == 5)
    }

    @Test("an upload tells what the tags are")
    func learntFromUpload() throws {
        let body = [UInt8](repeating: 7, count: ClientTests.blockSize)
        for isMD5 in [false, true] {
            let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 20) { number, _ in
                number == 0
                    ? Self.answer(isMD5 ? body : Self.good, [])
                    : Self.answer(Self.good, Self.flipped)
            }
            _ = try setup.put()
            if isMD5 {
                #expect(try setup.getError().kind == .damaged)
            } else {
                _ = try setup.get()
                #expect(setup.stub.requests.count == 2)
            }
        }
    }

    @Test("one odd reply to an upload does not end the comparison")
    func learntAgain() throws {
        let body = [UInt8](repeating: 7, count: ClientTests.blockSize)
        let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 20) { number, _ in
            switch number {
            case 0: Self.answer(Self.good, [])
            case 1: Self.answer(body, [])
            default: Self.answer(Self.good, Self.flipped)
            }
        }
        for _ in 0..<2 { _ = try setup.put() }
        #expect(try setup.getError().kind == .damaged)
    }

    @Test("what the server encrypts with other keys has other tags")
    func encryptedByServer() throws {
        let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 20) { number, _ in
            if number == 0 { return Self.answer(Self.good, Self.good) }
            let tag = Digest.hex(Self.flipped.withUnsafeBytes { Digest.md5($0) })
            return .reply(
                status: 200,
                headers: ["ETag: \(tag)", "x-amz-server-side-encryption: aws:kms"], body: Self.good)
        }
        for _ in 0..<2 { _ = try setup.get() }
        #expect(setup.stub.requests.count == 2)
    }

    // MARK: Newer data

    @Test("an upload is cut off when newer bytes have come, where that cannot harm the object")
    func overtaken() throws {
        for isCutOff in [true, false] {
            let flag = CancelFlag()
            let setup = try ClientTests.Setup { _, _ in
                flag.set()
                return isCutOff ? .silence : ClientTests.block()
            }
            let store = S3Store(
                client: setup.client, prefix: "", blockSize: 4096, blockCount: 4,
                conditions: S3Conditions(whenPutting: isCutOff, whenDeleting: false))
            func put() throws -> StoreOutcome {
                try Self.good.withUnsafeBytes {
                    try store.put(1, $0, replacing: nil, PutHints(overtaken: flag))
                }
            }
            if isCutOff {
                #expect(try #require(throws: StoreError.self) { try put() }.kind == .overtaken)
            } else {
                #expect(try put().version == .tag("t"))
            }
            #expect(setup.stub.requests.count == 1)
        }
    }

    // MARK: The log

    @Test("the heads of requests and replies can be logged, without secrets")
    func heads() throws {
        let log = RecordedLog()
        let setup = try ClientTests.Setup(
            logger: log.logger,
            configure: {
                $0.logsHTTP = true
                $0.credentials = Credentials(
                    accessID: "id", accessKey: "SECRET", sessionToken: "TOKEN")
            }
        ) { _, _ in ClientTests.block() }
        _ = try setup.put()
        let text = log.lines.joined(separator: "\n")
        #expect(text.contains("> PUT http://127.0.0.1:") && text.contains("eTAG: \"t\""))
        #expect(text.contains("> authorization: (not shown)"))
        #expect(!text.contains("SECRET") && !text.contains("TOKEN") && !text.contains("Signature="))
    }
}

/// Keeps what is logged.
final class RecordedLog: Sendable {
    private let kept = Locked<[(level: Logger.Level, text: String)]>([])
    var lines: [String] { kept.withLock { $0.map(\.text) } }
    func lines(_ level: Logger.Level) -> [String] {
        kept.withLock { $0.filter { $0.level == level }.map(\.text) }
    }

    struct Handler: LogHandler {
        let log: RecordedLog
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            log.kept.withLock { $0.append((event.level, "\(event.message)")) }
        }
    }

    var logger: Logger { Logger(label: "test") { _ in Handler(log: self) } }
}
