import Foundation
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// The mount token and the dirty blocks of a cache file: neither does away with the other.
@Suite("S3TokenMountTests", .serialized, .enabled(if: canMount, mountReason))
struct TokenMountTests {
    static let sizes = ["--blockSize=4k", "--size=256k"]
    static let token = "bkt/s3backer-mounted"
    static let header = "x-amz-meta-s3backer-mount-token"

    /// A killed mount whose cache file alone has everything that was written.
    private func leaveDirty(_ daemon: MountedDaemon, _ server: TestServer) throws -> [UInt8] {
        let options = server.options + Self.sizes + ["--blockCacheFile=\(daemon.cache)"]
        try daemon.start(options + ["--blockCacheWriteDelay=600000"], "bkt")
        // Not all of the disk: a full cache would hurry.
        let part = pattern(64 << 10, blockSize: 4096, seed: 12)
        try daemon.write(part, at: 0)
        daemon.killNow()
        daemon.detach()
        let keys = Set(try BucketContents(server, "bkt").objects.keys)
        try #require(keys == ["s3backer-mounted", "s3backer-volume"])
        return part + [UInt8](repeating: 0, count: 192 << 10)
    }

    /// The next mount has everything, and so has the bucket after it.
    private func expectAll(
        _ image: [UInt8], _ daemon: MountedDaemon, _ server: TestServer
    ) throws {
        try daemon.start(server.options + ["--blockCacheFile=\(daemon.cache)"], "bkt")
        #expect(try daemon.read() == image)
        try waitFor("the uploads", seconds: 60) {
            daemon.statistic("cache_file_dirty_blocks") == 0
        }
        #expect(try daemon.unmount() == 0)
        #expect(try server.request("HEAD", Self.token).status == 404)
        let other = try MountedDaemon()
        try other.start(server.options + ["--readOnly"], "bkt")
        #expect(try other.read() == image)
        #expect(try other.unmount() == 0)
    }

    @Test("a missing token never erases dirty data")
    func missingToken() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let image = try leaveDirty(daemon, server)
        #expect(try server.request("DELETE", Self.token).status == 204)
        try expectAll(image, daemon, server)
    }

    @Test("a mount by somebody else in between does not erase dirty data, either")
    func mountedInBetween() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let image = try leaveDirty(daemon, server)
        // Its token is stale here, so this is let in; it writes another token and takes it away.
        let other = try MountedDaemon()
        try other.start(server.options, "bkt")
        #expect(try other.read().allSatisfy { $0 == 0 })
        #expect(try other.unmount() == 0)
        #expect(try server.request("HEAD", Self.token).status == 404)
        try expectAll(image, daemon, server)
    }

    @Test("a foreign token is refused with who, when and which, and is left alone")
    func foreignToken() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let image = try leaveDirty(daemon, server)
        let mine = try server.request("GET", Self.token)
        let foreign = Array("elsewhere\n20261122T065520Z\n".utf8)
        let put = try server.request(
            "PUT", Self.token, headers: [Self.header + ": 575897f7"], body: foreign)
        try #require(put.status == 200)
        let cache = ["--blockCacheFile=\(daemon.cache)"]
        let before = (cache: readFile(daemon.cache), bucket: try BucketContents(server, "bkt"))
        for options in [[], cache, ["--readOnly"]] {
            let said = try daemon.refused(server.options + options, "bkt")
            let facts = "by host elsewhere, since 2026-11-22 06:55:20 UTC, mount token 0x575897f7"
            #expect(said.contains(facts), "\(said)")
            #expect(said.contains("unmount it there") && said.contains("--force"), "\(said)")
        }
        #expect(readFile(daemon.cache) == before.cache)
        #expect(try BucketContents(server, "bkt") == before.bucket)

        // Its own token, which the cache file knows, is taken over without a word.
        let value = try #require(mine.headers[Self.header])
        let back = try server.request(
            "PUT", Self.token, headers: [Self.header + ": " + value], body: foreign)
        try #require(back.status == 200)
        try daemon.start(server.options + cache, "bkt")
        #expect(!daemon.log.contains("WARNING"), "\(daemon.log)")
        #expect(try server.request("GET", Self.token).headers[Self.header] == value)
        #expect(try daemon.unmount() == 0)
        try expectAll(image, daemon, server)
    }
}
