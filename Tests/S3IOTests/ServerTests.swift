import BlockStore
import Foundation
import Logging
import S3IO
import S3TestServers
import Testing

/// The store against servers of other people, which check what they are told.
@Suite(.enabled(if: serversAreWanted, "set S3BACKER_TEST_ALL=1 to use S3 servers"))
struct ServerTests {
    func client(
        _ server: TestServer, base: String? = nil, bucket: String = "bkt", key: String? = nil,
        vhost: Bool = false
    ) throws -> S3Client {
        let endpoint = try S3Endpoint(
            baseURL: base ?? server.url, bucket: bucket, region: "us-east-1",
            isVirtualHosted: vhost)
        let credentials = Credentials(
            accessID: server.accessID, accessKey: key ?? server.accessKey)
        return S3Client(
            S3Configuration(endpoint: endpoint, credentials: credentials),
            logger: Logger(label: "test"))
    }

    /// Put, get, head, replace, delete; also of the objects that are no blocks.
    func exercise(_ client: S3Client, prefix: String, conditions: Bool) throws {
        let store = S3Store(client: client, prefix: prefix, blockSize: 8192, blockCount: 4)
        var target = [UInt8](repeating: 0, count: 8192)
        for round in 0..<2 {
            for block in UInt64(0)..<4 {
                let bytes = (0..<8192).map {
                    UInt8(truncatingIfNeeded: $0 * 7 + Int(block) + round)
                }
                let version = try bytes.withUnsafeBytes { try store.put(block, $0) }
                let read = try target.withUnsafeMutableBytes { try store.get(block, into: $0) }
                #expect(read == version && target == bytes)
                #expect(try store.head(block) == version)
            }
        }
        let objects = BucketObjects(client: client, prefix: prefix)
        let sizes = try objects.detectSizes()
        #expect(sizes?.blockSize == 8192 && sizes?.size == 32768)
        try objects.checkBucket()
        try store.delete(2)
        try store.delete(2)
        let absent = try target.withUnsafeMutableBytes { try store.get(2, into: $0) }
        let head = try store.head(2)
        #expect(absent == .absent && head == .absent)
        #expect(try objects.readIdentity() == nil)
        let volume = VolumeObject(blockSize: 8192, size: 32768)
        #expect(try objects.writeIdentity(volume, isNew: true) == volume)
        #expect(try objects.readIdentity() == volume)
        let owner = TokenTests.owner
        let token = MountToken(
            value: 0x1234, owner: owner, since: "20260101T000000Z", session: "one")
        #expect(try objects.readToken() == nil)
        #expect(try objects.writeToken(token, isNew: true) == token)
        #expect(try objects.readToken() == token)
        var second = token
        second.session = "two"
        #expect(try objects.writeToken(second, isNew: true).session == (conditions ? "one" : "two"))
        #expect(try objects.deleteToken(token) == nil)
        #expect(try objects.readToken() == nil)
    }

    @Test("rclone, which checks signatures")
    func rclone() throws {
        let server = try TestServer.rclone(buckets: ["bkt"])
        defer { server.stop() }
        for prefix in ["", "a/b/", "a b+c&d=e%41/'(\u{e4})~!$,;@[x]/"] {
            try exercise(client(server), prefix: prefix, conditions: false)
        }
        let wrong = BucketObjects(client: try client(server, key: "WRONG"), prefix: "")
        let error = try #require(throws: S3Error.self) { try wrong.detectSizes() }
        #expect(error.kind == .denied && error.message.contains("--accessKey"))
        let none = BucketObjects(client: try client(server, bucket: "none"), prefix: "")
        #expect(try #require(throws: S3Error.self) { try none.checkBucket() }.kind == .noBucket)
    }

    @Test("moto with a user, which checks signatures and conditions")
    func strictMoto() throws {
        let server = try TestServer.strictMoto(bucket: "bkt")
        defer { server.stop() }
        for prefix in ["", "a/b/", "a b+c&d=e%41/'(\u{e4})~!$,;@[x]/"] {
            try exercise(client(server), prefix: prefix, conditions: true)
        }
        let wrong = BucketObjects(client: try client(server, key: "WRONG"), prefix: "")
        let error = try #require(throws: S3Error.self) { try wrong.detectSizes() }
        #expect(error.kind == .denied && error.message.contains("--accessKey"), "\(error)")
    }

    @Test("moto in virtual host style")
    func virtualHost() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let base = "http://localhost:\(server.port)/"
        let client = try client(server, base: base, vhost: true)
        try exercise(client, prefix: "v/", conditions: true)
        // The same objects in path style.
        let reply = try server.request("HEAD", "bkt/v/00000000")
        #expect(reply.status == 200)
        #expect(reply.headers["x-amz-meta-s3backer-blocksize"] == "8192")
        #expect(reply.headers["content-type"] == "application/x-s3backer-block")
    }
}

let serversAreWanted = ProcessInfo.processInfo.environment["S3BACKER_TEST_ALL"] == "1"
