import CacheFile
import Foundation
import MountSupport
import S3TestServers
import Testing

/// A disk that becomes larger: `--size` with `--force`.
@Suite("S3GrowTests", .serialized, .enabled(if: canMount, mountReason))
struct GrowTests {
    private static let lazy = ["--blockCacheWriteDelay=600000", "--unmountTimeout=0"]
    private static let sizeHeader = "x-amz-meta-s3backer-filesize"

    @Test("the cache file comes along with its dirty blocks, and the next mount needs no size")
    func grows() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + ["--blockCacheFile=\(daemon.cache)"]
        try daemon.start(options + ["--blockSize=4k", "--size=256k"], "bkt")
        let old = numberedBlocks(64)
        try daemon.write(old, at: 0)
        #expect(try daemon.unmount() == 0)
        try daemon.start(options + Self.lazy, "bkt")
        let image = [UInt8](repeating: 3, count: 64 << 10) + old[(64 << 10)...]
        try daemon.write(Array(image[..<(64 << 10)]), at: 0)
        #expect(try daemon.unmount() == 0)

        let said = try daemon.refused(options + ["--size=512k"], "bkt")
        #expect(said.contains("leave the option out, or let it grow with --force"), "\(said)")
        let small = try daemon.refused(options + ["--size=128k", "--force"], "bkt")
        #expect(small.contains("cannot shrink"), "\(small)")
        let readOnly = try daemon.refused(
            options + ["--size=512k", "--force", "--readOnly"], "bkt")
        #expect(readOnly.contains("--readOnly cannot let it grow"), "\(readOnly)")

        // Killed while nothing is uploaded: the file has grown all the same.
        try daemon.start(options + Self.lazy + ["--size=512k", "--force"], "bkt")
        #expect(daemon.log.contains("has 256k; it grows"), "\(daemon.log)")
        #expect(try daemon.read() == image + [UInt8](repeating: 0, count: 256 << 10))
        let end = [UInt8](repeating: 8, count: 4096)
        try daemon.write(end, at: 508 << 10)
        daemon.killNow()
        daemon.detach()
        #expect(try CacheFiles.inspect(daemon.cache).superblock.volumeBlocks == 128)

        try daemon.start(options, "bkt")
        let all = image + [UInt8](repeating: 0, count: 252 << 10) + end
        #expect(try daemon.read() == all)
        #expect(try daemon.unmount() == 0)
        let block0 = try server.request("HEAD", "bkt/00000000")
        #expect(block0.headers[Self.sizeHeader] == "524288")

        // Nothing but the bucket is needed.
        let other = try MountedDaemon()
        try other.start(server.options, "bkt")
        #expect(try other.read() == all)
        #expect(try other.unmount() == 0)
    }

    @Test("block 0 is written anew, whole, although only its size is old")
    func blockZero() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(server.options + ["--blockSize=64k", "--size=256k"], "bkt")
        let image = numberedBlocks(16)
        try daemon.write(image, at: 0)
        #expect(try daemon.unmount() == 0)
        try daemon.start(server.options + ["--size=1m", "--force"], "bkt")
        #expect(daemon.log.contains("block 0 is written anew"), "\(daemon.log)")
        #expect(try daemon.unmount() == 0)
        let block0 = try server.request("GET", "bkt/00000000")
        #expect(block0.headers[Self.sizeHeader] == "1048576" && block0.body == image)
        try daemon.start(server.options, "bkt")
        #expect(!daemon.log.contains("block 0 is written anew"))
        #expect(try daemon.unmount() == 0)
    }

    @Test("a directory grows, too")
    func directory() throws {
        let daemon = try MountedDaemon()
        let options = ["--blockSize=4k", "--blockCacheFile=\(daemon.cache)"]
        try daemon.start(options + Self.lazy + ["--size=256k"])
        let bytes = [UInt8](repeating: 3, count: 4096)
        try daemon.write(bytes, at: 0)
        #expect(try daemon.unmount() == 0)
        try daemon.start(options + ["--size=512k", "--force"])
        #expect(Array(try daemon.read()[..<4096]) == bytes)
        #expect(try daemon.unmount() == 0)
        try daemon.start(options + ["--size=512k"])
        #expect(try daemon.read().count == 512 << 10)
        #expect(try daemon.unmount() == 0)
    }
}
