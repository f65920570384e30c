import BlockStore
import FileIO
import Foundation
import Logging
import S3IO
import S3TestServers
import TestSupport
import Testing

/// Where keys come from, and how they are kept fresh.
@Suite struct AccessTests {
    static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test("the shared credentials file")
    func profiles() {
        let text = """
            # comment
            [default]
            aws_access_key_id = ID1
            aws_secret_access_key=K1
            ; comment
            [ other ]\r
            AWS_Access_Key_Id=ID2\r
            aws_secret_access_key = K=2 \r
            aws_session_token = T2\r
            [broken]
            aws_access_key_id = ID3
            """
        let first = Credentials.find(inProfiles: text, profile: "default")
        #expect(first == Credentials(accessID: "ID1", accessKey: "K1"))
        let other = Credentials.find(inProfiles: text, profile: "other")
        #expect(other == Credentials(accessID: "ID2", accessKey: "K=2", sessionToken: "T2"))
        #expect(Credentials.find(inProfiles: text, profile: "broken") == nil)
        #expect(Credentials.find(inProfiles: text, profile: "none") == nil)
        #expect(Credentials.find(inProfiles: "aws_access_key_id=x", profile: "") == nil)
    }

    @Test("a key with blanks, control characters or nothing is none")
    func plain() {
        #expect(Credentials(accessID: "a", accessKey: "b/+=", sessionToken: "c").isPlain)
        for (id, key, token) in [
            ("", "b", "c"), ("a", "", "c"), ("a", "b", "c\nX: y"), ("a", "b", ""),
        ] {
            let credentials = Credentials(accessID: id, accessKey: key, sessionToken: token)
            #expect(!credentials.isPlain)
        }
    }

    // MARK: Renewal

    /// A service, a clock and a background that do what the test says.
    final class World: Sendable {
        let time = Locked(0)
        let fetches = Locked(0)
        let isAway = Locked(false)
        let waiting = Locked<[@Sendable () -> Void]>([])
        let lifetime: Int?

        init(lifetime: Int?) { self.lifetime = lifetime }

        func source() -> ExpiringCredentials {
            ExpiringCredentials(
                logger: AccessTests.quiet, now: { self.time.withLock { $0 } },
                inBackground: { work in self.waiting.withLock { $0.append(work) } },
                fetch: { () throws(S3Error) in try self.fetch() })
        }

        private func fetch() throws(S3Error) -> ExpiringCredentials.Key {
            let number = fetches.withLock {
                $0 += 1
                return $0
            }
            if isAway.withLock({ $0 }) { throw S3Error(.unreachable, "away") }
            let keys = Credentials(accessID: "id\(number)", accessKey: "key", sessionToken: "t")
            return (keys, lifetime.map { time.withLock { $0 } + $0 })
        }

        func runBackground() {
            let works = waiting.withLock { waiting in
                defer { waiting = [] }
                return waiting
            }
            for work in works { work() }
        }

        func go(to seconds: Int) { time.withLock { $0 = seconds } }
    }

    @Test("a key is renewed long before its end, by one thread, while the old one is used")
    func renewal() throws {
        let world = World(lifetime: 3600)
        let source = world.source()
        #expect(try source.current()?.accessID == "id1")
        world.go(to: 3600 - 15 * 60 - 1)
        #expect(try source.current()?.accessID == "id1")
        #expect(world.waiting.withLock { $0.count } == 0)
        world.go(to: 3600 - 15 * 60)
        for _ in 0..<5 { #expect(try source.current()?.accessID == "id1") }
        #expect(world.waiting.withLock { $0.count } == 1)
        world.runBackground()
        #expect(try source.current()?.accessID == "id2")
        #expect(world.fetches.withLock { $0 } == 2)
    }

    @Test("a key that does not say when it ends is renewed every five minutes")
    func noExpiry() throws {
        let world = World(lifetime: nil)
        let source = world.source()
        _ = try source.current()
        world.go(to: 299)
        _ = try source.current()
        #expect(world.waiting.withLock { $0.count } == 0)
        world.go(to: 300)
        _ = try source.current()
        world.runBackground()
        #expect(try source.current()?.accessID == "id2")
    }

    @Test("while the service is away the old key is used, and it is asked every five minutes")
    func away() throws {
        let world = World(lifetime: 3600)
        let source = world.source()
        _ = try source.current()
        world.isAway.withLock { $0 = true }
        var asked = 0
        for seconds in stride(from: 2700, to: 3600, by: 10) {
            world.go(to: seconds)
            #expect(try source.current()?.accessID == "id1")
            asked += world.waiting.withLock { $0.count }
            world.runBackground()
        }
        #expect(asked == 3)
        #expect(!source.hasExpired(try source.current()))
        world.isAway.withLock { $0 = false }
        #expect(source.hasExpired(try source.current()))
        #expect(try source.current()?.accessID == "id6")
    }

    @Test("without any key the failure is the caller's")
    func neverThere() throws {
        let world = World(lifetime: nil)
        world.isAway.withLock { $0 = true }
        let source = world.source()
        #expect(throws: S3Error.self) { try source.current() }
        world.isAway.withLock { $0 = false }
        #expect(try source.current()?.accessID == "id2")
    }

    // MARK: Services

    static let document = """
        {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ID", "SecretAccessKey": "KEY",
         "Token": "TOKEN", "Expiration": "2030-01-02T03:04:05Z"}
        """

    @Test("the instance's service, by both versions of its protocol")
    func instance() throws {
        let stub = try StubServer { _, request in
            if request.method == "PUT" { return .status(200, "SESSION") }
            return .status(200, Self.document)
        }
        defer { stub.stop() }
        let endpoint = String(stub.url.dropLast())
        for usesSession in [false, true] {
            let service = CredentialsService.instance(
                role: "my role", endpoint: endpoint, usesSession: usesSession)
            let key = try service.fetch(userAgent: "test")
            #expect(
                key.credentials
                    == Credentials(accessID: "ID", accessKey: "KEY", sessionToken: "TOKEN"))
            #expect(key.expiry == S3Date.seconds("20300102T030405Z") && key.expiry != nil)
        }
        let requests = stub.requests
        #expect(requests.map(\.method) == ["GET", "PUT", "GET"])
        let path = "/latest/meta-data/iam/security-credentials/my%20role"
        #expect(requests[0].path == path && requests[2].path == path)
        #expect(requests[1].path == "/latest/api/token" && requests[1].body.isEmpty)
        #expect(requests[1].headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600")
        #expect(requests[0].headers["x-aws-ec2-metadata-token"] == nil)
        #expect(requests[2].headers["x-aws-ec2-metadata-token"] == "SESSION")
    }

    @Test("the container's service, with its token")
    func container() throws {
        let stub = try StubServer { _, _ in .status(200, Self.document) }
        defer { stub.stop() }
        let file = NSTemporaryDirectory() + "token-\(UUID().uuidString)"
        try "from file\n".write(toFile: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: file) }
        for (direct, path) in [("direct", nil), (nil, file), (nil, nil)] as [(String?, String?)] {
            let service = CredentialsService.container(
                url: stub.url + "v2/keys", authorization: direct, authorizationFile: path)
            #expect(try service.fetch(userAgent: "test").credentials.accessID == "ID")
        }
        #expect(
            stub.requests.map { $0.headers["authorization"] } == ["direct", "from file", nil])
        #expect(stub.requests.allSatisfy { $0.path == "/v2/keys" })
        let missing = CredentialsService.container(
            url: stub.url, authorization: nil, authorizationFile: file + ".none")
        let error = try #require(throws: S3Error.self) { try missing.fetch(userAgent: "test") }
        #expect(error.message.contains("--accessContainer") && error.message.contains(".none"))
    }

    @Test(
        "whatever else a service says is one line with the option",
        arguments: [
            (200, ""), (200, "[]"), (200, "{\"AccessKeyId\": \"x\"}"), (404, "no such role"),
            (500, ""), (200, "{\"AccessKeyId\": \"a b\", \"SecretAccessKey\": \"c\"}"),
            (200, "{\"AccessKeyId\": \"a\\r\\nX: y\", \"SecretAccessKey\": \"c\"}"),
        ])
    func nonsense(status: Int, body: String) throws {
        let stub = try StubServer { _, _ in .status(status, body) }
        defer { stub.stop() }
        let service = CredentialsService.instance(
            role: "r", endpoint: String(stub.url.dropLast()), usesSession: false)
        let error = try #require(throws: S3Error.self) { try service.fetch(userAgent: "test") }
        #expect(error.message.contains("--accessEC2IAM=r: the service http://127.0.0.1"))
        #expect(HostileTests.isClear(error.message), "\(error)")
    }

    @Test("a request that is refused because the key has ended gets a new one at once")
    func expired() throws {
        let setup = try ClientTests.Setup(source: World(lifetime: 3600).source()) { number, _ in
            number == 0
                ? .status(400, "<Error><Code>ExpiredToken</Code></Error>") : ClientTests.block()
        }
        #expect(try setup.get() == .tag("t"))
        let used = setup.stub.requests.map { $0.headers["authorization"] ?? "" }
        #expect(used.count == 2 && used[0].contains("=id1/") && used[1].contains("=id2/"))
    }

    @Test("requests use the key of a container, and a new one well before it ends")
    func containerInUse() throws {
        let end = try #require(S3Date.seconds("2030-01-02T03:04:05Z"))
        let service = try StubServer { number, _ in
            .status(200, Self.document.replacingOccurrences(of: "\"ID\"", with: "\"ID\(number)\""))
        }
        defer { service.stop() }
        let now = Locked(end - 3600)
        let container = CredentialsService.container(
            url: service.url, authorization: "secret", authorizationFile: nil)
        let source = container.source(
            userAgent: "test", logger: Self.quiet, now: { now.withLock { $0 } })
        let setup = try ClientTests.Setup(source: source) { _, _ in ClientTests.block() }
        _ = try setup.get()
        _ = try setup.get()
        now.withLock { $0 = end - 15 * 60 }
        // This one begins the renewal, and does not wait for it.
        _ = try setup.get()
        try waitFor("the new key") { try source.current()?.accessID == "ID1" }
        _ = try setup.put()
        let used = setup.stub.requests.map { $0.headers["authorization"] ?? "" }
        #expect(used.map { $0.contains("Credential=ID0/") } == [true, true, true, false])
        #expect(used.last?.contains("Credential=ID1/") == true)
        #expect(setup.stub.requests.allSatisfy { $0.headers["x-amz-security-token"] == "TOKEN" })
        #expect(service.requests.map { $0.headers["authorization"] } == ["secret", "secret"])
    }
}
