import Foundation
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// Erasing a volume, and removing the mark of a mount that is no more.
@Suite("S3MaintenanceTests", .serialized, .enabled(if: canMount, mountReason))
struct MaintenanceTests {
    static let sizes = ["--blockSize=4k", "--size=256k"]
    static let token = "bkt/v/s3backer-mounted"

    struct Run {
        var status: Int32
        var output: String
        var errors: String
    }

    /// Runs the program to its end.
    /// - Parameter answer: What is typed.
    static func run(
        _ options: [String], _ server: TestServer, bucket: String = "bkt/v", answer: String = ""
    ) throws -> Run {
        let home = TemporaryDirectory()
        let input = home.path + "/input"
        try Data(answer.utf8).write(to: URL(fileURLWithPath: input))
        let found = try runSplit(
            "/bin/sh",
            [
                "-c", "exec \"$0\" \"$@\" <\"$INPUT\"", MountedDaemon.s3backer,
            ] + server.options + options + [bucket],
            environment: MountedDaemon.environment(home: home.path).merging(["INPUT": input]) {
                $1
            }, deadlineSeconds: 60)
        return Run(status: found.status, output: found.output, errors: found.errors)
    }

    /// A volume of some blocks, among objects that are none of it.
    static func fill(_ server: TestServer, hashed: Bool = false) throws -> Set<String> {
        let daemon = try MountedDaemon()
        let extra = hashed ? ["--blockHashPrefix"] : []
        try daemon.start(server.options + sizes + extra, "bkt/v")
        try daemon.write(pattern(128 << 10, blockSize: 4096, seed: 5), at: 0)
        try daemon.write([1], at: 0)
        #expect(try daemon.unmount() == 0)
        let strangers = [
            "v/00000040", "v/0000000A", "v/00000001x", "v/ffffffff", "v/zz", "w/00000001",
            "00000001", hashed ? "v/00000003" : "v/d211cad9-00000001",
        ]
        for key in strangers {
            #expect(try server.request("PUT", "bkt/" + key, body: [1]).status == 200)
        }
        return Set(strangers)
    }

    @Test("everything of the volume is removed and nothing else", arguments: [true, false])
    func erase(hashed: Bool) throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let strangers = try Self.fill(server, hashed: hashed)
        let before = try BucketContents(server, "bkt")
        let extra = hashed ? ["--blockHashPrefix"] : []

        let dry = try Self.run(["--erase", "--dry-run"] + extra, server)
        #expect(dry.status == 0 && dry.errors.contains("nothing was changed"), "\(dry)")
        let named = Set(
            dry.output.split(separator: "\n").map { $0.dropFirst(server.url.count + 4) })
        #expect(
            named == Set(before.objects.keys.filter { !strangers.contains($0) }.map { $0[...] }))
        for answer in ["", "n\n", "yess\n"] {
            let no = try Self.run(["--erase"] + extra, server, answer: answer)
            #expect(no.status == 1 && no.errors.contains("[y/N]"), "\(no)")
            #expect(no.errors.contains("is not erased"))
        }
        #expect(try BucketContents(server, "bkt") == before)

        let blocks = before.objects.count - strangers.count - 1
        #expect(blocks > 20)
        let yes = try Self.run(["--erase"] + extra, server, answer: "y\n")
        #expect(yes.status == 0 && yes.errors.contains("\(blocks) blocks removed"), "\(yes)")
        #expect(Set(try BucketContents(server, "bkt").objects.keys) == strangers)
        // There is nothing any more that says how large it was.
        let again = try Self.run(["--erase", "--force"] + extra, server)
        #expect(again.status == 1 && again.errors.contains("--size is missing"), "\(again)")
        let empty = try Self.run(["--erase", "--force", "--quiet"] + Self.sizes + extra, server)
        #expect(empty.status == 0 && empty.errors == "" && empty.output == "", "\(empty)")
    }

    @Test("a volume that is mounted is not erased, unless by force")
    func eraseMounted() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(server.options + Self.sizes, "bkt/v")
        try daemon.write([1], at: 0)
        let before = try BucketContents(server, "bkt")
        let refused = try Self.run(["--erase"], server, answer: "y\n")
        #expect(refused.status == 1 && refused.errors.contains("--force"), "\(refused)")
        #expect(!refused.errors.contains("[y/N]"))
        #expect(try BucketContents(server, "bkt") == before)
        // One that was killed is no mount any more.
        daemon.killNow()
        daemon.detach()
        let erased = try Self.run(["--erase"], server, answer: "yes\n")
        #expect(erased.status == 0, "\(erased)")
        #expect(try BucketContents(server, "bkt").objects.isEmpty)

        try daemon.start(server.options + Self.sizes, "bkt/v")
        let forced = try Self.run(["--erase", "--force"] + Self.sizes, server)
        #expect(forced.status == 0, "\(forced)")
        #expect(try BucketContents(server, "bkt").objects.isEmpty)
        #expect(try daemon.unmount() == 0)
    }

    @Test("one that was interrupted is run again")
    func interrupted() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let strangers = try Self.fill(server)
        // Many blocks together can be deleted from here on, one alone cannot.
        let stub = try StubServer { _, request in
            if request.method == "DELETE" {
                return .status(403, "<Error><Code>AccessDenied</Code></Error>")
            }
            let path = String(request.path.dropFirst())
            let headers = request.headers.filter {
                $0.key.hasPrefix("x-amz-")
                    || $0.key.hasPrefix("content-")
                        && $0.key != "content-length"
            }.map { "\($0.key): \($0.value)" }
            guard
                let reply = try? server.request(
                    request.method, path, headers: headers, body: request.body)
            else { return .status(500) }
            let kept = reply.headers.filter { $0.key.hasPrefix("x-amz-") || $0.key == "etag" }
                .map { "\($0.key): \($0.value)" }
            return .reply(status: reply.status, headers: kept, body: reply.body)
        }
        defer { stub.stop() }
        let failed = try Self.run(["--erase", "--force", "--baseURL=\(stub.url)"], server)
        #expect(failed.status == 1 && failed.errors.contains("run --erase again"), "\(failed)")
        // What says how large it is, and that nobody may mount it, is still there.
        let left = ["v/00000000", "v/s3backer-volume", "v/s3backer-mounted"]
        #expect(
            Set(try BucketContents(server, "bkt").objects.keys) == strangers.union(left))
        let again = try Self.run(["--erase"], server, answer: "y\n")
        #expect(again.status == 0 && again.errors.contains("1 block removed"), "\(again)")
        #expect(Set(try BucketContents(server, "bkt").objects.keys) == strangers)
    }

    @Test("the mark is removed, and what only the cache file has is not lost")
    func reset() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let cache = ["--blockCacheFile=\(daemon.cache)"]
        try daemon.start(
            server.options + Self.sizes + cache + ["--blockCacheWriteDelay=600000"], "bkt/v")
        let part = pattern(64 << 10, blockSize: 4096, seed: 12)
        try daemon.write(part, at: 0)
        let running = try Self.run(["--reset-mounted-flag"] + cache, server)
        #expect(running.status == 1 && running.errors.contains("is running"), "\(running)")
        #expect(try server.request("HEAD", Self.token).status == 200)
        daemon.killNow()
        daemon.detach()
        let file = readFile(daemon.cache)
        let done = try Self.run(["--reset-mounted-flag"] + cache, server)
        #expect(done.status == 0 && done.errors.contains("the mark is removed"), "\(done)")
        #expect(try server.request("HEAD", Self.token).status == 404)
        #expect(readFile(daemon.cache) == file)
        let again = try Self.run(["--reset-mounted-flag"], server)
        #expect(again.status == 0 && again.errors.contains("is not marked"), "\(again)")
        let none = try Self.run(["--reset-mounted-flag"], server, bucket: "none")
        #expect(none.status == 1 && none.errors.contains("does not exist"), "\(none)")

        try daemon.start(server.options + cache, "bkt/v")
        #expect(Array(try daemon.read().prefix(64 << 10)) == part)
        #expect(try daemon.unmount() == 0)
        try daemon.start(server.options + ["--readOnly"], "bkt/v")
        #expect(Array(try daemon.read().prefix(64 << 10)) == part)
        #expect(try daemon.unmount() == 0)
    }

    @Test("a mark of another host is removed without a question")
    func resetForeign() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let put = try server.request(
            "PUT", Self.token, headers: ["x-amz-meta-s3backer-mount-token: 575897f7"],
            body: Array("elsewhere\n20261122T065520Z\n".utf8))
        #expect(put.status == 200)
        let done = try Self.run(["--reset-mounted-flag"], server)
        #expect(done.status == 0 && done.errors.contains("by host elsewhere"), "\(done)")
        #expect(try server.request("HEAD", Self.token).status == 404)
    }
}
