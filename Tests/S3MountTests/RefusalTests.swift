import Foundation
import Glibc
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// Starts that cannot work. Each says why in one line, in the foreground and as a daemon, and
/// leaves nothing behind: no cache file, no token, no identity, no mount.
@Suite("S3RefusalTests", .serialized, .enabled(if: canMount, mountReason))
struct RefusalTests {
    static let sizes = ["--blockSize=4k", "--size=256k"]
    /// With these a request that is tried again as often as while serving never ends in time.
    static let patient = ["--timeout=3", "--maxRetryPause=3600000"]

    /// - Parameter says: Words of the line, among them the remedy.
    private func refused(
        _ options: [String], _ bucket: String, says words: [String],
        _ location: SourceLocation = #_sourceLocation
    ) throws {
        for isDaemon in [false, true] {
            let daemon = try MountedDaemon("refused")
            defer { daemon.remove() }
            let mode = isDaemon ? ["--quiet"] : ["-f"]
            let cache = ["--blockCacheFile=\(daemon.cache)"]
            let found = try runSplit(
                MountedDaemon.s3backer, mode + daemon.arguments(cache + options, bucket),
                environment: MountedDaemon.environment(home: daemon.root), deadlineSeconds: 60)
            let said: Comment = "\(mode): \(found.errors)"
            #expect(found.status == 1, said, sourceLocation: location)
            #expect(found.output == "", said, sourceLocation: location)
            let lines = found.errors.split(separator: "\n")
            let complaints = lines.filter { $0.hasPrefix("s3backer: ") }
            #expect(complaints.count == 1, said, sourceLocation: location)
            // Besides that there is at most what the foreground tells anyway.
            let isClear = lines.allSatisfy {
                $0.hasPrefix("s3backer: ") || $0.contains(" INFO: ") || $0.contains(" NOTICE: ")
            }
            #expect(isClear, said, sourceLocation: location)
            if isDaemon { #expect(lines.count == 1, said, sourceLocation: location) }
            for word in words {
                #expect(complaints.first?.contains(word) ?? false, said, sourceLocation: location)
            }
            #expect(
                !FileManager.default.fileExists(atPath: daemon.cache), said,
                sourceLocation: location)
            let mounts = try String(contentsOfFile: "/proc/mounts", encoding: .utf8)
            #expect(!mounts.contains(daemon.mountPoint), said, sourceLocation: location)
        }
    }

    /// The same, and the bucket is as it was.
    private func refused(
        _ options: [String], _ bucket: String, says words: [String], on server: TestServer,
        _ location: SourceLocation = #_sourceLocation
    ) throws {
        let name = bucket.components(separatedBy: "/")[0]
        let before = try BucketContents(server, name)
        try refused(server.options + options, bucket, says: words, location)
        let after = try BucketContents(server, name)
        #expect(after == before, sourceLocation: location)
    }

    // MARK: The bucket

    @Test("a bucket that does not exist is told from a missing block by one listing")
    func noBucket() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let remedy = ["bucket none does not exist", "create it", "--baseURL"]
        try refused(Self.sizes, "none", says: remedy, on: server)
        try refused(Self.sizes, "none/a/b", says: remedy, on: server)
        // The bucket is there, and the volume is not: it says what is missing to make one.
        try refused([], "bkt", says: ["--size is missing", "--size=10g"], on: server)

        let rclone = try TestServer.rclone(buckets: ["bkt"])
        defer { rclone.stop() }
        try refused(rclone.options + Self.sizes, "none", says: remedy)
        let names = try FileManager.default.subpathsOfDirectory(atPath: rclone.directory)
        #expect(names == ["bkt"])

        let stub = try StubServer { _, request in
            let code = request.path.contains("max-keys") ? "NoSuchBucket" : "NoSuchKey"
            return .status(404, "<Error><Code>\(code)</Code></Error>")
        }
        defer { stub.stop() }
        try refused(
            ["--baseURL=\(stub.url)", "--accessId=a", "--accessKey=b"] + Self.sizes, "bkt",
            says: ["bucket bkt does not exist"])
        // Twice, in the foreground and as a daemon.
        #expect(stub.requests.filter { $0.path.contains("max-keys") }.count == 2)
        #expect(stub.requests.allSatisfy { ["GET", "HEAD"].contains($0.method) })
    }

    @Test("an existing volume of another size is named with both sizes")
    func otherSize() throws {
        let server = try TestServer.moto(buckets: ["ours", "real"])
        defer { server.stop() }
        // Ours: its identity says so even without a block 0.
        let daemon = try MountedDaemon()
        try daemon.start(server.options + Self.sizes, "ours")
        #expect(try daemon.unmount() == 0)
        // One of the real s3backer: its block 0 does.
        let headers = [
            "x-amz-meta-s3backer-blocksize: 4096", "x-amz-meta-s3backer-filesize: 262144",
        ]
        let made = try server.request(
            "PUT", "real/00000000", headers: headers, body: [UInt8](repeating: 1, count: 4096))
        try #require(made.status == 200)
        for bucket in ["ours", "real"] {
            try refused(
                ["--size=512k"], bucket,
                says: ["--size=512k", "has 256k", "leave the option out", "--force"], on: server)
            try refused(
                ["--blockSize=8k"], bucket, says: ["--blockSize=8k", "blocks of 4k", "--force"],
                on: server)
        }
    }

    @Test("what fails after the volume was taken gives it back")
    func undone() throws {
        let server = try TestServer.moto(buckets: ["bkt", "made"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(server.options + Self.sizes, "made")
        #expect(try daemon.unmount() == 0)
        for bucket in ["bkt", "made"] {
            // A cache file that cannot be made.
            try refused(
                Self.sizes + ["--blockCacheRingSize=1e"], bucket, says: ["--blockCacheFile="],
                on: server)
            // A mount that libfuse refuses.
            try refused(
                Self.sizes + ["-o", "context=nonsense:x"], bucket, says: ["mount"], on: server)
        }
    }

    /// It learns the identity that the failed start has made, which therefore has to stay.
    @Test("a cache file older than the identity of its volume survives a start that fails")
    func olderCache() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        for bucket in [nil, "bkt"] {
            let daemon = try MountedDaemon()
            let options =
                Self.sizes + ["--blockCacheFile=\(daemon.cache)"]
                + (bucket == nil ? [] : server.options)
            try daemon.start(options + ["--readOnly"], bucket)
            #expect(try daemon.unmount() == 0)
            let said = try daemon.refused(options + ["-o", "context=nonsense:x"], bucket)
            #expect(said.contains("cannot mount"), "\(said)")
            try daemon.start(options, bucket)
            #expect(!daemon.log.contains("did not end cleanly"), "\(daemon.log)")
            #expect(try daemon.unmount() == 0)
        }
    }

    // MARK: The server

    @Test("a wrong key is refused by servers that check, with the remedy")
    func wrongKey() throws {
        let rclone = try TestServer.rclone(buckets: ["bkt"])
        defer { rclone.stop() }
        let strict = try TestServer.strictMoto(bucket: "bkt")
        defer { strict.stop() }
        for server in [rclone, strict] {
            let secret = server.options.dropLast() + ["--accessKey=WRONG"]
            try refused(secret + Self.sizes, "bkt", says: ["403", "check", "--accessKey"])
            let id = [server.options[0], "--accessId=WRONG", "--accessKey=x"]
            try refused(id + Self.sizes, "bkt", says: ["403", "check", "--accessId"])
            // Nothing was there, neither sizes nor a mark.
            let daemon = try MountedDaemon()
            try daemon.start(server.options + Self.sizes, "bkt")
            #expect(daemon.log.contains("has no sizes yet"), "\(daemon.log)")
            #expect(!daemon.log.contains("did not end cleanly"), "\(daemon.log)")
            try daemon.write([1, 2, 3], at: 5000)
            #expect(try daemon.unmount() == 0)
        }
    }

    @Test("a key that may only read is refused")
    func readOnlyKey() throws {
        let stub = try StubServer { _, request in
            switch request.method {
            case "PUT", "DELETE": .status(403, "<Error><Code>AccessDenied</Code></Error>")
            case "GET" where request.path.contains("max-keys"): .status(200, "<x/>")
            default: .status(404, "<Error><Code>NoSuchKey</Code></Error>")
            }
        }
        defer { stub.stop() }
        try refused(
            ["--baseURL=\(stub.url)", "--accessId=a", "--accessKey=b"] + Self.sizes, "bkt",
            says: ["403 AccessDenied", "rights of the bucket"])
    }

    @Test("a server that is not there, or does not answer, is given up within --timeout")
    func unreachable() throws {
        let listener = try ListeningSocket()
        listener.close()
        try refused(
            ["--baseURL=http://127.0.0.1:\(listener.port)/", "--accessId="] + Self.sizes
                + Self.patient, "bkt", says: ["cannot reach 127.0.0.1", "check --baseURL"])
        let silent = try StubServer { _, _ in .silence }
        defer { silent.stop() }
        try refused(
            ["--baseURL=\(silent.url)", "--accessId="] + Self.sizes + Self.patient, "bkt",
            says: ["does not answer", "--timeout"])
        let sick = try StubServer { _, _ in .status(503) }
        defer { sick.stop() }
        try refused(
            ["--baseURL=\(sick.url)", "--accessId="] + Self.sizes + Self.patient, "bkt",
            says: ["503", "has a problem"])
    }

    static let elsewhere: [(status: Int, headers: [String], body: String, says: [String])] = [
        (301, ["x-amz-bucket-region: eu-9"], "", ["in region eu-9", "--region=eu-9"]),
        (
            301, [],
            "<Error><Code>PermanentRedirect</Code><Endpoint>bkt.s3.eu-9.test</Endpoint></Error>",
            ["redirects to bkt.s3.eu-9.test", "--baseURL"]
        ),
        (
            400, [],
            "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-9</Region></Error>",
            ["in region eu-9", "--region=eu-9"]
        ),
        (307, ["Location: http://127.0.0.1:1/bkt"], "", ["redirects to http://127.0.0.1:1/bkt"]),
    ]

    @Test("a wrong region or a redirect is named, and not followed", arguments: 0..<4)
    func redirected(number: Int) throws {
        let answer = Self.elsewhere[number]
        let stub = try StubServer { _, _ in
            .reply(status: answer.status, headers: answer.headers, body: Array(answer.body.utf8))
        }
        defer { stub.stop() }
        try refused(
            ["--baseURL=\(stub.url)", "--accessId=a", "--accessKey=b"] + Self.sizes, "bkt",
            says: answer.says)
        #expect(stub.requests.allSatisfy { ["GET", "HEAD"].contains($0.method) })
    }

    @Test("a cache file with dirty blocks is not touched by a start that fails")
    func dirtyCache() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let cache = ["--blockCacheFile=\(daemon.cache)"]
        // Not all of the disk: a full cache would hurry.
        let image = pattern(64 << 10, blockSize: 4096, seed: 8)
        try daemon.start(
            server.options + cache + Self.sizes + ["--blockCacheWriteDelay=600000"], "bkt")
        try daemon.write(image, at: 0)
        daemon.killNow()
        daemon.detach()
        let before = (cache: readFile(daemon.cache), bucket: try BucketContents(server, "bkt"))
        let listener = try ListeningSocket()
        listener.close()
        let nowhere = ["--baseURL=http://127.0.0.1:\(listener.port)/"] + server.options.dropFirst()
        for options in [nowhere, server.options + ["--size=512k"]] {
            let said = try daemon.refused(options + cache, "bkt")
            #expect(said.contains("s3backer: "), "\(said)")
            #expect(readFile(daemon.cache) == before.cache)
        }
        #expect(try BucketContents(server, "bkt") == before.bucket)
        // Later the cache file begins a session. As long as it alone has something, the mark stays.
        let said = try daemon.refused(server.options + cache + ["-o", "context=nonsense:x"], "bkt")
        #expect(said.contains("s3backer: "), "\(said)")
        let left = Set(try BucketContents(server, "bkt").objects.keys)
        let blocks = left.subtracting(["s3backer-mounted", "s3backer-volume"])
        let dirty = stride(from: 0, to: image.count, by: 4096)
            .filter { image[$0..<$0 + 4096].contains { $0 != 0 } }
        #expect(left.contains("s3backer-volume"))
        #expect(left.contains("s3backer-mounted") || blocks.count == dirty.count, "\(left)")
        try daemon.start(server.options + cache, "bkt")
        #expect(Array(try daemon.read()[..<image.count]) == image)
        #expect(try daemon.unmount() == 0)
    }
}
