import Foundation
import MountSupport
import S3TestServers
import Testing

/// By itself, because it takes as long as a stop may take.
@Suite(
    "S3DirtyUnmountTests",
    .enabled(if: canMount, mountReason))
struct DirtyUnmountTests {
    @Test("while only the cache file holds dirty data the token stays, until the next mount")
    func tokenStays() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + ["--blockCacheFile=\(daemon.cache)"]
        let slow = ["--blockCacheWriteDelay=600000", "--timeout=600"]
        try daemon.start(options + slow + ["--size=256k"], "bkt")
        let image = pattern(64 << 10, blockSize: 4096, seed: 5)
        try daemon.write(image, at: 0)
        server.pause()
        // Requests that hang for as long as --timeout do not hold the end up.
        #expect(try daemon.unmount() == 0)
        server.resume()
        #expect(daemon.log.contains("dirty blocks stay in \(daemon.cache)"), "\(daemon.log)")
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
}
