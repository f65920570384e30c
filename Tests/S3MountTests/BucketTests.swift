import CacheFile
import Foundation
import Glibc
import MountSupport
import S3TestServers
import Testing

/// Our own mounts of buckets: starting, refusing, dying, coming back.
@Suite(
    "S3BucketTests", .serialized,
    .enabled(if: canMount, mountReason))
struct BucketTests {
    static let sizes = ["--blockSize=4k", "--size=256k"]

    @Test("after kill -9 the next mount takes over its token, and nothing is lost")
    func takeOver() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let cached = server.options + ["--blockCacheFile=\(daemon.cache)"]
        let slow = ["--blockCacheWriteDelay=60000"]
        try daemon.start(cached + Self.sizes + slow, "bkt")
        let image = pattern(256 << 10, blockSize: 4096, seed: 3)
        try daemon.write(image, at: 0)
        let other = try MountedDaemon()
        #expect(try other.refused(server.options, "bkt").contains("mounted already by host"))
        daemon.killNow()
        daemon.detach()
        let before = try server.request("GET", "bkt/s3backer-mounted")
        #expect(before.status == 200)
        let header = "x-amz-meta-s3backer-mount-token"
        let value = UInt64(before.headers[header] ?? "", radix: 16)
        #expect(try CacheFiles.inspect(daemon.cache).superblock.mountToken == value)

        try daemon.start(cached, "bkt")
        let after = try server.request("GET", "bkt/s3backer-mounted")
        #expect(after.headers[header] == before.headers[header])
        #expect(try daemon.read() == image)
        #expect(try daemon.unmount() == 0)
        #expect(try server.request("HEAD", "bkt/s3backer-mounted").status == 404)

        // Without a cache file the token is known to be stale by its process.
        try daemon.start(server.options, "bkt")
        #expect(try daemon.read() == image)
        daemon.killNow()
        daemon.detach()
        try other.start(server.options, "bkt")
        #expect(try other.unmount() == 0)
        #expect(try server.request("HEAD", "bkt/s3backer-mounted").status == 404)
    }

    @Test("a read-only mount sets no token and makes no identity")
    func readOnly() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(server.options + Self.sizes + ["--readOnly"], "bkt")
        #expect(try server.request("HEAD", "bkt/s3backer-mounted").status == 404)
        #expect(try daemon.read().allSatisfy { $0 == 0 })
        #expect(try daemon.unmount() == 0)
        #expect(try server.request("HEAD", "bkt/s3backer-volume").status == 404)
    }

    @Test("a cache file belongs to a volume, not to the way to it")
    func binding() throws {
        let server = try TestServer.moto(buckets: ["bkt", "other"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let file = ["--blockCacheFile=\(daemon.cache)"]
        try daemon.start(server.options + file + Self.sizes, "bkt/v")
        try daemon.write([7], at: 0)
        #expect(try daemon.unmount() == 0)
        let identity = try server.request("GET", "bkt/v/s3backer-volume")
        #expect(identity.status == 200 && identity.text.contains("\"size\" : 262144"))

        let local = [
            "--baseURL=http://localhost:\(server.port)/", "--vhost", "--accessId=x",
            "--accessKey=y",
        ]
        try daemon.start(local + file, "bkt/v")
        #expect(try daemon.read()[0] == 7)
        #expect(try daemon.unmount() == 0)
        for bucket in ["bkt/w", "other/v"] {
            let said = try daemon.refused(server.options + file + Self.sizes, bucket)
            #expect(said.contains("BIND_MISMATCH"), "\(said)")
            #expect(try server.request("HEAD", bucket + "/s3backer-mounted").status == 404)
        }
        // The volume is gone, and later another one has its name.
        for name in ["00000000", "s3backer-volume"] {
            _ = try server.request("DELETE", "bkt/v/" + name)
        }
        let gone = try daemon.refused(server.options + file + Self.sizes, "bkt/v")
        #expect(gone.contains("identity"), "\(gone)")
        let fresh = try MountedDaemon()
        try fresh.start(server.options + Self.sizes, "bkt/v")
        #expect(try fresh.unmount() == 0)
        let said = try daemon.refused(server.options + file, "bkt/v")
        #expect(said.contains("BIND_MISMATCH"), "\(said)")
        #expect(try server.request("HEAD", "bkt/v/s3backer-mounted").status == 404)
    }

    @Test("a bucket whose listing is denied is mounted with a warning")
    func deniedList() throws {
        let stub = try StubServer { _, request in
            switch request.method {
            case "GET" where request.path.contains("max-keys"):
                .status(403, "<Error><Code>AccessDenied</Code></Error>")
            case "PUT", "DELETE": .reply(status: 200, headers: ["ETag: \"x\""], body: [])
            default: .status(404, "<Error><Code>NoSuchKey</Code></Error>")
            }
        }
        defer { stub.stop() }
        let daemon = try MountedDaemon()
        let options = ["--baseURL=\(stub.url)", "--accessId=a", "--accessKey=b"]
        try daemon.start(options + Self.sizes, "bkt")
        #expect(daemon.log.contains("WARNING: cannot see whether the bucket exists"))
        #expect(try daemon.unmount() == 0)
    }

    @Test("a block that is no block is an error, not data")
    func damagedBlock() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        _ = try server.request("PUT", "bkt/00000002", body: [UInt8](repeating: 1, count: 4095))
        _ = try server.request(
            "PUT", "bkt/00000003", headers: ["Content-Encoding: deflate"],
            body: [UInt8](repeating: 1, count: 4096))
        try daemon.start(server.options + Self.sizes, "bkt")
        let fd = open(daemon.file, O_RDONLY)
        defer { close(fd) }
        var buffer = [UInt8](repeating: 9, count: 4096)
        for block in 2...3 {
            #expect(pread(fd, &buffer, 4096, block * 4096) == -1 && errno == EIO)
        }
        #expect(pread(fd, &buffer, 4096, 0) == 4096 && buffer.allSatisfy { $0 == 0 })
        #expect(daemon.log.contains("block 2: object \(server.url)bkt/00000002 has 4095 bytes"))
    }

    @Test("a directory has an identity, too")
    func directory() throws {
        let daemon = try MountedDaemon()
        let store = daemon.store
        try daemon.start(["--test", "--size=256k"], store)
        #expect(try daemon.unmount() == 0)
        let text = try String(contentsOfFile: store + "/s3backer-volume", encoding: .utf8)
        #expect(text.contains("\"blockSize\" : 4096") && text.contains("\"size\" : 262144"))
        let said = try daemon.refused(["--test", "--size=512k"], store)
        #expect(said.contains("--size=512k: ") && said.contains("--force"))
        try daemon.start(["--test", "--size=256k"], store)
        #expect(try daemon.unmount() == 0)
        #expect(try String(contentsOfFile: store + "/s3backer-volume", encoding: .utf8) == text)
    }
}
