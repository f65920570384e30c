import CacheFile
import Foundation
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// `--flush`: the cache file is uploaded, and nothing is mounted.
@Suite("S3FlushTests", .serialized, .enabled(if: canMount, mountReason))
struct FlushTests {
    private static let sizes = ["--blockSize=4k", "--size=256k"]
    private static let lazy = ["--blockCacheWriteDelay=600000", "--unmountTimeout=0"]

    private func flush(_ words: [String], home: String) throws -> CommandOutcome {
        try runSplit(
            MountedDaemon.s3backer, ["--flush"] + words,
            environment: MountedDaemon.environment(home: home), deadlineSeconds: 60)
    }

    private func expectStored(_ image: [UInt8], _ server: TestServer) throws {
        for block in 0..<image.count / 4096 {
            let stored = try server.request("GET", "bkt/" + String(format: "%08x", block)).body
            #expect(stored == Array(image[block * 4096..<(block + 1) * 4096]))
        }
    }

    @Test(
        "after kill -9 everything gets into the bucket, and its mark goes",
        arguments: [true, false])
    func bucket(isKilled: Bool) throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + ["--blockCacheFile=\(daemon.cache)"]
        try daemon.start(options + Self.sizes + Self.lazy, "bkt")
        let image = numberedBlocks(32)
        try daemon.write(image, at: 0)
        let busy = try flush(options + ["bkt"], home: daemon.root)
        #expect(busy.status == 1 && busy.errors.contains("in use by s3backer"), "\(busy.errors)")
        if isKilled {
            daemon.killNow()
            daemon.detach()
        } else {
            #expect(try daemon.unmount() == 0)
        }
        let done = try flush(options + ["bkt"], home: daemon.root)
        #expect(done.status == 0, "\(done.errors)")
        #expect(
            done.errors.contains("flush: 32 dirty blocks (128 KiB) to upload"), "\(done.errors)")
        #expect(done.errors.contains("flush: completed"))
        try expectStored(image, server)
        #expect(try server.request("HEAD", "bkt/s3backer-mounted").status == 404)
        let again = try flush(options + ["bkt"], home: daemon.root)
        #expect(again.status == 0 && !again.errors.contains("to upload"), "\(again.errors)")
    }

    @Test("what is left when the time is up is said, with status 1; a directory works as well")
    func leftOver() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + ["--blockCacheFile=\(daemon.cache)"]
        try daemon.start(options + Self.sizes + Self.lazy, "bkt")
        try daemon.write([UInt8](repeating: 1, count: 8192), at: 0)
        #expect(try daemon.unmount() == 0)
        let left = try flush(options + ["--unmountTimeout=0", "bkt"], home: daemon.root)
        #expect(
            left.status == 1 && left.errors.contains("2 dirty blocks stay in"), "\(left.errors)")

        let other = try MountedDaemon()
        let words = Self.sizes + ["--blockCacheFile=\(other.cache)"]
        try other.start(words + Self.lazy)
        let bytes = [UInt8](repeating: 5, count: 4096)
        try other.write(bytes, at: 4096)
        #expect(try other.unmount() == 0)
        #expect(try other.blockNames() == [])
        let done = try flush(words + ["--test", other.store], home: other.root)
        #expect(done.status == 0, "\(done.errors)")
        #expect(try other.blockNames() == ["00000001"])
    }

    @Test(
        "what cachecheck makes of a cache file is uploaded like the file itself",
        arguments: ["resize", "upgrade", "restore"])
    func changedOffline(command: String) throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + ["--blockCacheFile=\(daemon.cache)"]
        try daemon.start(options + Self.sizes + Self.lazy, "bkt")
        let image = numberedBlocks(32)
        try daemon.write(image, at: 0)
        #expect(try daemon.unmount() == 0)
        let program = try #require(BuiltProgram("cachecheck"))
        let (new, dump) = (daemon.root + "/new", daemon.root + "/dump")
        switch command {
        case "resize":
            #expect(try program.run(["resize", "--slots=40", daemon.cache]).status == 0)
        case "upgrade":
            #expect(
                try program.run(["upgrade", "--force", "--into", new, daemon.cache]).status == 0)
        default:
            #expect(try program.run(["dump", "--out", dump, daemon.cache]).status == 0)
            let words = ["restore", dump, "--into", new, "--data", daemon.cache]
            #expect(try program.run(words).status == 0)
        }
        let file = command == "resize" ? daemon.cache : new
        let done = try flush(
            server.options + ["--blockCacheFile=\(file)", "bkt"], home: daemon.root)
        #expect(done.status == 0, "\(done.errors)")
        try expectStored(image, server)
        if command == "resize" { return }
        // The old file still has the blocks; somebody changes one, and that stays.
        let theirs = [UInt8](repeating: 9, count: 4096)
        #expect(try server.request("PUT", "bkt/00000003", body: theirs).status == 200)
        let late = try flush(options + ["bkt"], home: daemon.root)
        #expect(late.status == 1, "\(late.errors)")
        #expect(try server.request("GET", "bkt/00000003").body == theirs)
    }

    @Test(
        "wrong use is refused with a remedy",
        arguments: [
            (["--blockCacheFile=/no/such", "/tmp"], "--blockCacheFile=/no/such"),
            ([], "--flush needs --blockCacheFile=FILE"),
            (["--blockCacheFile=/tmp/x", "--readOnly"], "--flush and --readOnly"),
            (["--blockCacheFile=/tmp/x", "--erase"], "--flush and --erase"),
            (["--blockCacheFile=/tmp/x", "/tmp", "/mnt"], "takes no mount point; leave out /mnt"),
            (["--blockCacheFile=/tmp/s3backer-none", "/tmp"], "so nothing is to be flushed"),
        ])
    func refused(words: [String], text: String) throws {
        let words = words.contains("/tmp") ? words : words + ["/tmp"]
        let said = try flush(["--test", "--size=1m"] + words, home: "/tmp")
        #expect(said.status == 1 && said.errors.contains(text), "\(said.errors)")
    }
}
