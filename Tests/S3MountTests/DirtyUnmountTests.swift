import Foundation
import MountSupport
import S3TestServers
import Testing

/// What an unmount leaves in the cache file, and what comes of it.
@Suite(
    "S3DirtyUnmountTests", .serialized,
    .enabled(if: canMount, mountReason))
struct DirtyUnmountTests {
    @Test("while only the cache file holds dirty data the token stays, until the next mount")
    func tokenStays() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + ["--blockCacheFile=\(daemon.cache)"]
        let slow = [
            "--blockCacheWriteDelay=600000", "--timeout=600", "--unmountTimeout=3",
        ]
        try daemon.start(options + slow + ["--size=256k"], "bkt")
        let image = pattern(64 << 10, blockSize: 4096, seed: 5)
        try daemon.write(image, at: 0)
        server.pause()
        // Requests that hang for as long as --timeout do not hold the end up.
        try daemon.unmountOnly()
        #expect(try daemon.exitStatus(seconds: 30) == 0)
        server.resume()
        #expect(daemon.log.contains("dirty blocks stay in \(daemon.cache)"), "\(daemon.log)")
        #expect(daemon.log.contains(": 16 dirty blocks (64 KiB) to upload, oldest "))
        #expect(daemon.log.contains(", for at most 3 s"))
        #expect(try server.request("HEAD", "bkt/s3backer-mounted").status == 200)

        try daemon.start(options, "bkt")
        #expect(Array(try daemon.read()[..<image.count]) == image)
        #expect(try daemon.unmount() == 0)
        #expect(try server.request("HEAD", "bkt/s3backer-mounted").status == 404)
        let other = try MountedDaemon()
        try other.start(server.options + ["--readOnly"], "bkt")
        #expect(Array(try other.read()[..<image.count]) == image)
        #expect(try other.unmount() == 0)
    }

    @Test("with --unmountTimeout=0 nothing is uploaded, and the next mount does it")
    func nothingUploaded() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + ["--blockCacheFile=\(daemon.cache)", "--size=256k"]
        let slow = ["--blockCacheWriteDelay=600000", "--unmountTimeout=0"]
        try daemon.start(options + slow, "bkt")
        let image = numberedBlocks(16)
        try daemon.write(image, at: 0)
        #expect(try daemon.unmount() == 0)
        #expect(daemon.log.contains("16 dirty blocks stay in"), "\(daemon.log)")
        #expect(try server.request("HEAD", "bkt/00000000").status == 404)
        try daemon.start(options, "bkt")
        #expect(try daemon.unmount() == 0)
        #expect(try server.request("GET", "bkt/0000000f").body == Array(image.suffix(4096)))

        // Nothing is dirty: the mark goes all the same.
        try daemon.start(options + slow, "bkt")
        #expect(try daemon.unmount() == 0)
        #expect(try server.request("HEAD", "bkt/s3backer-mounted").status == 404)
    }

    @Test("a store that is down at the end does not hold the process, with nothing dirty either")
    func downAtTheEnd() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(
            server.options + [
                "--blockCacheFile=\(daemon.cache)", "--size=256k", "--timeout=600",
                "--unmountTimeout=3",
            ], "bkt")
        server.pause()
        try daemon.unmountOnly()
        #expect(try daemon.exitStatus(seconds: 30) == 0)
        server.resume()
        #expect(daemon.log.contains("WARNING: "), "\(daemon.log)")
        #expect(try server.request("HEAD", "bkt/s3backer-mounted").status == 200)
    }
}
