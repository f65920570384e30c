import BlockStore
import FileIO
import Foundation
import Logging
import S3IO
import S3TestServers
import Testing

/// Conditions on changes, and finding out whether they are honoured.
@Suite struct ConditionTests {
    /// A little server with one object for each path, which honours what it is told to.
    final class Bucket: Sendable {
        struct Habits {
            var putIfAbsent = true
            var putIfMatch = true
            var deleteIfMatch = true
            /// Status for conditions that it does not know; nil: they are ignored.
            var unknown: Int?
            /// It refuses whatever has a condition.
            var refusesAll = false
        }
        private let objects = Locked<[String: String]>([:])
        let habits: Habits

        init(_ habits: Habits = Habits()) { self.habits = habits }

        var names: [String] { objects.withLock { $0.keys.sorted() } }

        func answer(_ request: StubServer.Request) -> StubServer.Answer {
            let name = String(request.path.split(separator: "/").last ?? "")
            return objects.withLock { objects in
                let current = objects[name]
                let none = request.headers["if-none-match"]
                let match = request.headers["if-match"]
                if habits.refusesAll, none != nil || match != nil { return .status(412) }
                let isDelete = request.method == "DELETE"
                let knowsMatch = isDelete ? habits.deleteIfMatch : habits.putIfMatch
                if none != nil, !habits.putIfAbsent, let unknown = habits.unknown {
                    return .status(unknown)
                }
                if match != nil, !knowsMatch, let unknown = habits.unknown {
                    return .status(unknown)
                }
                if none == "*", habits.putIfAbsent, current != nil { return .status(412) }
                if let match, knowsMatch, match != current.map({ "\"\($0)\"" }) {
                    return .status(current == nil ? 404 : 412)
                }
                switch request.method {
                case "PUT":
                    let tag = request.body.withUnsafeBytes { Digest.hex(Digest.md5($0)) }
                    objects[name] = tag
                    return .reply(status: 200, headers: ["ETag: \"\(tag)\""], body: [])
                case "DELETE":
                    objects[name] = nil
                    return .status(204)
                default:
                    guard let current else { return .status(404) }
                    return .reply(status: 200, headers: ["ETag: \"\(current)\""], body: [])
                }
            }
        }
    }

    func probe(_ habits: Bucket.Habits) throws -> S3Conditions {
        let bucket = Bucket(habits)
        let setup = try ClientTests.Setup { _, request in bucket.answer(request) }
        let found = try setup.objects.probeConditions()
        #expect(bucket.names.isEmpty)
        #expect(setup.stub.requests.count <= 9)
        return found
    }

    @Test("only what is honoured is believed in")
    func probing() throws {
        #expect(try probe(.init()) == S3Conditions(whenPutting: true, whenDeleting: true))
        for unknown in [nil, 400, 501] as [Int?] {
            let deletes = Bucket.Habits(deleteIfMatch: false, unknown: unknown)
            #expect(try probe(deletes) == S3Conditions(whenPutting: true, whenDeleting: false))
            for (absent, match) in [(false, false), (true, false), (false, true)] {
                let habits = Bucket.Habits(
                    putIfAbsent: absent, putIfMatch: match, unknown: unknown)
                #expect(try probe(habits) == .none, "\(absent) \(match) \(unknown ?? 0)")
            }
        }
        #expect(try probe(.init(refusesAll: true)) == .none)
    }

    @Test("a failing server is no answer, and the probe is taken away")
    func failing() throws {
        let setup = try ClientTests.Setup { _, request in
            request.headers["if-match"] != nil ? .status(403) : .status(412)
        }
        #expect(throws: S3Error.self) { try setup.objects.probeConditions() }
        #expect(setup.stub.requests.last?.method == "DELETE")
    }

    func store(_ setup: ClientTests.Setup, whenDeleting: Bool = true) -> S3Store {
        S3Store(
            client: setup.client, prefix: "", blockSize: 4096, blockCount: 9,
            conditions: S3Conditions(whenPutting: true, whenDeleting: whenDeleting))
    }

    static func put(
        _ store: S3Store, _ byte: UInt8, replacing: ObjectVersion?
    ) throws -> ObjectVersion {
        try [UInt8](repeating: byte, count: 4096).withUnsafeBytes {
            try store.put(1, $0, replacing: replacing).version
        }
    }

    func expectConflict(_ body: () throws -> Void) throws {
        let error = try #require(throws: StoreError.self) { try body() }
        #expect(error.kind == .conflict && error.block == 1)
        #expect(error.message == "block 1: the bucket has another version of it")
    }

    @Test("a version that is not expected is a conflict, and stays", arguments: [true, false])
    func conflicts(whenDeleting: Bool) throws {
        let bucket = Bucket(.init(deleteIfMatch: whenDeleting))
        let setup = try ClientTests.Setup { _, request in bucket.answer(request) }
        let store = store(setup, whenDeleting: whenDeleting)
        try expectConflict { _ = try Self.put(store, 1, replacing: .tag("x")) }
        #expect(bucket.names.isEmpty)
        let first = try Self.put(store, 1, replacing: .absent)
        try expectConflict { _ = try Self.put(store, 2, replacing: .absent) }
        let second = try Self.put(store, 2, replacing: first)
        try expectConflict { _ = try Self.put(store, 3, replacing: first) }
        try expectConflict { _ = try store.delete(1, replacing: first) }
        try expectConflict { _ = try store.delete(1, replacing: .absent) }
        #expect(try store.head(1) == second)
        #expect(try store.delete(1, replacing: second).version == .absent)
        // What was to be removed is gone already.
        #expect(try store.delete(1, replacing: second).version == .absent)
        #expect(try store.delete(1, replacing: .absent).version == .absent)
        let sent = setup.stub.requests.filter { $0.method == "DELETE" }
        #expect(sent.count == (whenDeleting ? 3 : 1))
        #expect(sent.allSatisfy { ($0.headers["if-match"] != nil) == whenDeleting })
    }

    @Test("what is not conditional has no condition")
    func plain() throws {
        let bucket = Bucket()
        let setup = try ClientTests.Setup { _, request in bucket.answer(request) }
        _ = try Self.put(setup.store, 1, replacing: nil)
        _ = try setup.store.delete(1, replacing: nil)
        #expect(!setup.store.honorsConditions && store(setup).honorsConditions)
        #expect(
            setup.stub.requests.allSatisfy {
                $0.headers["if-match"] == nil && $0.headers["if-none-match"] == nil
            })
    }

    @Test("entity tags of any shape come back in conditions as the server gave them")
    func tags() throws {
        for (given, sent) in [
            ("\"abc\"", "\"abc\""), ("abc", "\"abc\""), ("W/\"abc\"", "\"abc\""),
            ("\"0123456789abcdef0123456789abcdef-17\"", "\"0123456789abcdef0123456789abcdef-17\""),
            ("\"a-b_c.d/e:f!\"", "\"a-b_c.d/e:f!\""),
        ] {
            let setup = try ClientTests.Setup { _, _ in
                .reply(status: 200, headers: ["ETag: " + given], body: [])
            }
            let version = try Self.put(store(setup), 1, replacing: nil)
            _ = try Self.put(store(setup), 1, replacing: version)
            #expect(setup.stub.requests[1].headers["if-match"] == sent)
        }
    }

    @Test("storage options are headers of every PUT and of nothing else")
    func storage() throws {
        let stub = try StubServer { _, _ in
            .reply(status: 200, headers: ["ETag: \"t\""], body: [])
        }
        defer { stub.stop() }
        let endpoint = try S3Endpoint(
            baseURL: stub.url, bucket: "bkt", region: "us-east-1", isVirtualHosted: false)
        var configuration = S3Configuration(
            endpoint: endpoint, credentials: Credentials(accessID: "id", accessKey: "key"))
        configuration.storage.accessType = "public-read"
        configuration.storage.storageClass = "STANDARD_IA"
        configuration.storage.encryption = .kms(keyID: "k/1")
        let client = S3Client(configuration, logger: Logger(label: "test"))
        let store = S3Store(client: client, prefix: "", blockSize: 4096, blockCount: 9)
        _ = try Self.put(store, 1, replacing: nil)
        let objects = BucketObjects(client: client, prefix: "")
        _ = try objects.writeIdentity(VolumeObject(blockSize: 4096, size: 4096), isNew: false)
        _ = try store.head(1)
        try store.delete(1)
        let wanted = [
            "x-amz-acl": "public-read", "x-amz-storage-class": "STANDARD_IA",
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": "k/1",
        ]
        for request in stub.requests {
            for (name, value) in wanted {
                let isPut = request.method == "PUT"
                #expect(request.headers[name] == (isPut ? value : nil), "\(request.method) \(name)")
                let signed = request.headers["authorization"]?.contains(name) ?? false
                #expect(signed == isPut)
            }
        }
        #expect(stub.requests.map(\.method) == ["PUT", "PUT", "HEAD", "DELETE"])
    }
}
