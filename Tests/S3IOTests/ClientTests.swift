import BlockStore
import FileIO
import Foundation
import Logging
import S3IO
import S3TestServers
import TestSupport
import Testing

/// The store against a server that says what the test wants.
@Suite struct ClientTests {
    static let blockSize = 4096

    final class Setup {
        let stub: StubServer
        let client: S3Client
        let store: S3Store
        let objects: BucketObjects

        init(
            timeoutMs: Int = 10_000, pauseMs: Int = 20, sumMs: Int = 2000, isV6: Bool = false,
            logger: Logger = Logger(label: "test"), source: (any CredentialsSource)? = nil,
            time: ClientTime = .machine,
            configure: (inout S3Configuration) -> Void = { _ in },
            _ answer: @escaping @Sendable (Int, StubServer.Request) -> StubServer.Answer
        ) throws {
            stub = try StubServer(isV6: isV6, answer)
            let endpoint = try S3Endpoint(
                baseURL: stub.url, bucket: "bkt", region: "us-east-1", isVirtualHosted: false)
            var configuration = S3Configuration(
                endpoint: endpoint, credentials: Credentials(accessID: "id", accessKey: "key"))
            configuration.transport.timeoutMs = timeoutMs
            configuration.initialRetryPauseMs = pauseMs
            configuration.maxRetryPauseMs = sumMs
            configure(&configuration)
            client = S3Client(configuration, source: source, logger: logger, time: time)
            store = S3Store(
                client: client, prefix: "p/", blockSize: ClientTests.blockSize, blockCount: 16)
            objects = BucketObjects(client: client, prefix: "p/")
        }

        deinit { stub.stop() }

        var target = [UInt8](repeating: 0xee, count: ClientTests.blockSize)

        func get(_ block: UInt64 = 3) throws -> ObjectVersion {
            try target.withUnsafeMutableBytes { try store.get(block, into: $0) }
        }

        func put(_ block: UInt64 = 3, _ byte: UInt8 = 7) throws -> ObjectVersion {
            try [UInt8](repeating: byte, count: ClientTests.blockSize).withUnsafeBytes {
                try store.put(block, $0)
            }
        }

        func getError() throws -> StoreError {
            try #require(throws: StoreError.self) { try get() }
        }
    }

    static func block(_ headers: [String] = [], count: Int = blockSize) -> StubServer.Answer {
        .reply(
            status: 200, headers: ["eTAG: \"t\""] + headers,
            body: [UInt8](repeating: 5, count: count))
    }

    @Test("a failing server is tried again, later each time, with a new date and signature")
    func retries() throws {
        let setup = try Setup(pauseMs: 300, sumMs: 30_000) { number, _ in
            number < 3 ? .status([500, 502, 503][number]) : Self.block()
        }
        #expect(try setup.put() == .tag("t"))
        let requests = setup.stub.requests
        #expect(requests.count == 4)
        for (index, pause) in [0.3, 0.6, 1.2].enumerated() {
            // How much more is a matter of the machine.
            let waited = requests[index + 1].time - requests[index].time
            #expect(waited >= pause, "\(index): \(waited)")
        }
        #expect(Set(requests.map { $0.headers["x-amz-date"] ?? "" }).count >= 2)
        for (a, b) in zip(requests, requests.dropFirst())
        where a.headers["x-amz-date"] != b.headers["x-amz-date"] {
            #expect(a.headers["authorization"] != b.headers["authorization"])
        }
        #expect(requests.allSatisfy { $0.body == [UInt8](repeating: 7, count: 4096) })
        #expect(requests.allSatisfy { $0.headers["expect"] == nil })
        #expect(requests.allSatisfy { $0.headers["content-length"] == "4096" })
    }

    @Test("a reply without an ETag is asked for again, as some servers leave it out for a moment")
    func missingTag() throws {
        @Sendable func reply(_ headers: [String]) -> StubServer.Answer {
            .reply(
                status: 200, headers: headers, body: [UInt8](repeating: 5, count: Self.blockSize))
        }
        let setup = try Setup { number, _ in reply(number % 2 == 0 ? [] : ["ETag: x"]) }
        #expect(try setup.get() == .tag("x"))
        #expect(try setup.store.head(3) == .tag("x"))
        #expect(setup.stub.requests.count == 4)
        let never = try Setup(pauseMs: 1, sumMs: 5) { _, _ in reply([]) }
        let error = try never.getError()
        #expect(error.kind == .temporary && error.message.contains("has no ETag"))
    }

    @Test("of an outage the log tells ten failures, and again when a request has succeeded")
    func told() throws {
        let log = RecordedLog()
        let isDown = Locked(true)
        let setup = try Setup(pauseMs: 1, sumMs: 40, logger: log.logger) { _, _ in
            isDown.withLock { $0 } ? .status(500) : Self.block()
        }
        for _ in 0..<5 { _ = try setup.getError() }
        #expect(setup.stub.requests.count > 20)
        #expect(log.lines(.info).count == 10)
        #expect(log.lines(.info).count { $0.hasSuffix(Self.rest) } == 1)
        #expect(log.lines(.info).last?.hasSuffix(Self.rest) == true)
        isDown.withLock { $0 = false }
        #expect(try setup.get() == .tag("t"))
        isDown.withLock { $0 = true }
        _ = try setup.getError()
        #expect(log.lines(.info).count > 10)
    }

    private static let rest = "; further failures are not told until a request succeeds"

    @Test("it is given up when the pauses are used up")
    func givingUp() throws {
        let setup = try Setup(pauseMs: 10, sumMs: 70) { _, _ in .status(503) }
        let error = try setup.getError()
        #expect(error.kind == .temporary && error.block == 3)
        #expect((3...6).contains(setup.stub.requests.count))
    }

    @Test(
        "what will not change is not tried again, and the message has the remedy",
        arguments: [
            (403, "SignatureDoesNotMatch", "--accessKey"),
            (403, "InvalidAccessKeyId", "--accessId"), (403, "AccessDenied", "rights"),
            (403, "RequestTimeTooSkewed", "clock"), (401, "", "--accessId"),
            (301, "PermanentRedirect", "--region"), (307, "", "--baseURL"),
            (404, "NoSuchBucket", "bucket bkt does not exist"),
            (400, "AuthorizationHeaderMalformed", "--region"), (405, "", "refuses"),
        ])
    func permanent(status: Int, code: String, word: String) throws {
        let setup = try Setup { _, _ in
            .status(status, code.isEmpty ? "" : "<Error><Code>\(code)</Code></Error>")
        }
        let error = try setup.getError()
        #expect(error.kind == .permanent)
        #expect(error.message.contains(word), "\(error.message)")
        #expect(!error.message.contains("\n"))
        #expect(setup.stub.requests.count == 1)
    }

    @Test("the region that the server names is in the message, also for HEAD")
    func region() throws {
        let text = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-1</Region></Error>"
        let setup = try Setup { _, _ in .status(400, text) }
        let error = try #require(throws: S3Error.self) { try setup.objects.detectSizes() }
        #expect(error.kind == .redirected && error.message.contains("use --region=eu-1"))
        let moved = try Setup { _, _ in
            .reply(
                status: 301, headers: ["x-amz-bucket-region: eu-2", "Location: http://e/"], body: []
            )
        }
        let other = try #require(throws: S3Error.self) { try moved.objects.detectSizes() }
        #expect(other.message.contains("use --region=eu-2"))
        #expect(moved.stub.requests.count <= 2)
    }

    @Test("a missing block is zeros, and its buffer stays as it was")
    func missing() throws {
        let setup = try Setup { _, _ in .status(404, "<Error><Code>NoSuchKey</Code></Error>") }
        #expect(try setup.get() == .absent)
        #expect(setup.target.allSatisfy { $0 == 0xee })
        #expect(try setup.store.head(1) == .absent)
        try setup.store.delete(1)
    }

    @Test(
        "what is no plain block of the right size is damaged, and named",
        arguments: [
            block(count: 4095), block(count: 4097), block(count: 0), block(count: 9000),
            block(count: 3 << 20),
            block(["Content-Encoding: deflate"]), block(["content-encoding: zstd"]),
            block(["Content-Encoding: gzip"]), block(["Content-Encoding: deflate, encrypt-X"]),
            block(["X-Amz-Meta-S3backer-Hmac: \"00\""]),
        ])
    func damaged(answer: StubServer.Answer) throws {
        let setup = try Setup { _, _ in answer }
        let error = try setup.getError()
        #expect(error.kind == .damaged && error.block == 3, "\(error)")
        #expect(error.message.hasPrefix("block 3: object \(setup.stub.url)bkt/p/00000003 "))
        #expect(setup.stub.requests.count == 1)
    }

    @Test(
        "blocks that do not decode are damaged, never data",
        arguments: [
            ("deflate.bin", "zstd"), ("deflate.bin", "gzip"), ("plain.bin", "deflate"),
            ("enc-aes128.bin", "deflate"), ("enc-aes128.bin", "deflate, encrypt-AES-128-CBC"),
        ])
    func encoded(name: String, coding: String) throws {
        let bytes = try Golden.bytes(name)
        let setup = try Setup { _, _ in
            .reply(
                status: 200, headers: ["ETag: \"t\"", "Content-Encoding: \(coding)"], body: bytes)
        }
        let error = try setup.getError()
        let cipher = coding.components(separatedBy: "encrypt-").last ?? ""
        #expect(error.kind == .damaged && error.message.contains(cipher), "\(error)")
    }

    @Test("gzip is not decoded behind our back")
    func noDecoding() throws {
        let setup = try Setup { _, _ in Self.block(["Content-Encoding: identity"]) }
        #expect(try setup.get() == .tag("t"))
        #expect(setup.target.allSatisfy { $0 == 5 })
        #expect(setup.stub.requests[0].headers["accept-encoding"] == "identity")
        let signed = setup.stub.requests[0].headers["authorization"] ?? ""
        #expect(!signed.contains("accept-encoding"))
    }

    @Test("a reply that breaks off is asked for again, on a new connection")
    func brokenOff() throws {
        let head = "HTTP/1.1 200 OK\r\nETag: t\r\nContent-Length: 4096\r\n\r\n"
        let setup = try Setup { number, _ in
            number == 0 ? .raw(Array((head + "abc").utf8)) : Self.block()
        }
        #expect(try setup.get() == .tag("t"))
        #expect(setup.target.allSatisfy { $0 == 5 })
        #expect(setup.stub.requests.map(\.connection) == [0, 1])
    }

    @Test("connections are kept")
    func keepAlive() throws {
        let setup = try Setup { _, _ in Self.block() }
        for number in 0..<50 { _ = try number % 2 == 0 ? setup.put() : setup.get() }
        #expect(Set(setup.stub.requests.map(\.connection)) == [0])
    }

    @Test("a large block goes in one piece, without asking first")
    func largeBlock() throws {
        let setup = try Setup { _, request in
            request.method == "PUT" && request.headers["expect"] == nil
                && request.headers["transfer-encoding"] == nil ? Self.block() : .status(417)
        }
        let size = 4 << 20
        let store = S3Store(client: setup.client, prefix: "", blockSize: size, blockCount: 1)
        let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 9) }
        _ = try bytes.withUnsafeBytes { try store.put(0, $0) }
        #expect(setup.stub.requests.count == 1 && setup.stub.requests[0].body == bytes)
        #expect(setup.stub.requests[0].headers["x-amz-meta-s3backer-filesize"] == "4194304")
    }

    @Test("a put without a tag in the reply asks for it")
    func tagLater() throws {
        let setup = try Setup { _, request in
            request.method == "PUT" ? .status(200) : Self.block()
        }
        #expect(try setup.put() == .tag("t"))
        #expect(setup.stub.requests.map(\.method) == ["PUT", "HEAD"])
    }

    @Test("a server that never answers is given up within the time for one request")
    func silence() throws {
        let setup = try Setup(timeoutMs: 500) { _, _ in .silence }
        let begun = Date()
        let error = try #require(throws: S3Error.self) { try setup.objects.detectSizes() }
        #expect(error.kind == .timeout && error.message.contains("--timeout"))
        #expect(Date().timeIntervalSince(begun) < 3)
    }

    @Test("a server that is not there is named at once")
    func unreachable() throws {
        let setup = try Setup { _, _ in .silence }
        setup.stub.stop()
        let listener = try ListeningSocket()
        listener.close()
        let endpoint = try S3Endpoint(
            baseURL: "http://127.0.0.1:\(listener.port)/", bucket: "b", region: "us-east-1",
            isVirtualHosted: false)
        let client = S3Client(
            S3Configuration(endpoint: endpoint, credentials: nil), logger: Logger(label: "test"))
        let begun = Date()
        let error = try #require(throws: S3Error.self) {
            try BucketObjects(client: client, prefix: "").detectSizes()
        }
        #expect(error.kind == .unreachable && error.message.contains("--baseURL"))
        #expect(Date().timeIntervalSince(begun) < 5)
    }

    @Test("cancelling ends a request under way and the pauses between attempts")
    func cancel() throws {
        let setup = try Setup(timeoutMs: 60_000, pauseMs: 60_000, sumMs: 600_000) { _, request in
            request.path.hasSuffix("3") ? .silence : .status(500)
        }
        let client = setup.client
        let stub = setup.stub
        let canceller = Thread {
            try? waitFor("the request") { !stub.requests.isEmpty }
            client.cancel()
        }
        canceller.start()
        let begun = Date()
        #expect(try setup.getError().kind == .temporary)
        #expect(throws: StoreError.self) { try setup.store.head(4) }
        #expect(Date().timeIntervalSince(begun) < 20)
    }

    @Test("a condition that the server does not know is left out")
    func noConditions() throws {
        let setup = try Setup { _, request in
            .status(request.headers["if-none-match"] == nil ? 200 : 501)
        }
        let volume = VolumeObject(blockSize: 4096, size: 65536)
        #expect(try setup.objects.writeIdentity(volume, isNew: true) == volume)
        #expect(setup.stub.requests.count == 2)
    }

    @Test("when another one was faster its token is found")
    func lostRace() throws {
        let setup = try Setup { _, request in
            switch request.method {
            case "PUT": .status(412)
            default:
                .reply(
                    status: 200, headers: ["X-Amz-Meta-S3backer-Mount-Token: 0000002a"],
                    body: Array("other\n20260101T000000Z\n".utf8))
            }
        }
        let owner = TokenTests.owner
        let token = MountToken(value: 9, owner: owner, since: "", session: "s")
        let found = try setup.objects.writeToken(token, isNew: true)
        #expect(found.value == 42 && found.host == "other" && found.session.isEmpty)
        #expect(setup.stub.requests[0].headers["if-none-match"] == "*")
        // Nor is it removed at the end.
        #expect(try setup.objects.deleteToken(token)?.value == 42)
        #expect(!setup.stub.requests.contains { $0.method == "DELETE" })
    }

    @Test("sizes are read from block 0, whatever the case of the names")
    func sizes() throws {
        let setup = try Setup { number, _ in
            let names = [
                "X-Amz-Meta-S3backer-Blocksize: 4096", "x-amz-meta-s3backer-filesize: 65536",
            ]
            return .reply(status: 200, headers: number == 0 ? names : [names[0]], body: [])
        }
        let sizes = try setup.objects.detectSizes()
        #expect(sizes?.blockSize == 4096 && sizes?.size == 65536)
        #expect(try setup.objects.detectSizes() == nil)
        #expect(setup.stub.requests[0].path == "/bkt/p/00000000")
    }
}
