import CSys
import Foundation
import Glibc
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// Somebody else writes to a volume that is mounted, in spite of its mark.
@Suite("S3ConditionMountTests", .serialized, .enabled(if: canMount, mountReason))
struct ConditionMountTests {
    static let sizes = ["--blockSize=4k", "--size=256k", "--blockCacheWriteDelay=0"]

    private func waitUntilClean(_ daemon: MountedDaemon) throws {
        try waitFor("the uploads", seconds: 60) {
            daemon.statistic("cache_file_dirty_blocks") == 0
        }
    }

    @Test("what others change is never overwritten or deleted, but a conflict")
    func conflict() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + Self.sizes + ["--blockCacheFile=\(daemon.cache)"]
        try daemon.start(options, "bkt")
        #expect(daemon.log.contains("INFO: the server honours conditional requests"))
        #expect(try server.request("HEAD", "bkt/s3backer-probe").status == 404)
        let ours = [UInt8](repeating: 7, count: 3 * 4096)
        try daemon.write(ours, at: 3 * 4096)
        try waitUntilClean(daemon)
        #expect(try server.request("GET", "bkt/00000003").body == Array(ours.prefix(4096)))

        // Blocks 3 and 4 are another's now, and block 6 is there although it was not.
        let foreign = [UInt8](repeating: 9, count: 4096)
        for key in ["bkt/00000003", "bkt/00000004", "bkt/00000006"] {
            #expect(try server.request("PUT", key, body: foreign).status == 200)
        }
        _ = try server.request("DELETE", "bkt/00000005")
        let again = [UInt8](repeating: 8, count: 4096)
        try daemon.write(again, at: 3 * 4096)
        try daemon.write([UInt8](repeating: 0, count: 4096), at: 4 * 4096)
        try daemon.write(again, at: 5 * 4096)
        // One that nobody else has touched goes on.
        try daemon.write(again, at: 20 * 4096)
        try waitFor("the conflicts", seconds: 60) {
            [3, 4, 5].allSatisfy {
                daemon.log.contains("block \($0): changed in the store by somebody else")
            }
        }
        try waitFor("the other block", seconds: 60) {
            (try? server.request("GET", "bkt/00000014").body) == again
        }
        for key in ["bkt/00000003", "bkt/00000004", "bkt/00000006"] {
            #expect(try server.request("GET", key).body == foreign, "\(key)")
        }
        #expect(try server.request("HEAD", "bkt/00000005").status == 404)
        let read = try daemon.read()
        #expect(Array(read[3 * 4096..<4 * 4096]) == again)
        #expect(read[4 * 4096..<5 * 4096].allSatisfy { $0 == 0 })
        #expect(try daemon.unmount() == 0)

        // The next mount still has them apart.
        try daemon.start(options, "bkt")
        #expect(daemon.log.contains("ERROR: ") && daemon.log.contains("3 blocks were changed"))
        #expect(Array(try daemon.read()[3 * 4096..<4 * 4096]) == again)
        #expect(try daemon.unmount() == 0)
        #expect(try server.request("GET", "bkt/00000003").body == foreign)
    }

    @Test("a new block is not written over one that is there")
    func blind() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(server.options + Self.sizes, "bkt")
        // Read as zeros, so it is known to be absent; then somebody makes it.
        #expect(try daemon.read().allSatisfy { $0 == 0 })
        let foreign = [UInt8](repeating: 9, count: 4096)
        #expect(try server.request("PUT", "bkt/00000003", body: foreign).status == 200)
        let fd = open(daemon.file, O_WRONLY)
        #expect(pwrite(fd, [UInt8](repeating: 7, count: 4096), 4096, 3 * 4096) == 4096)
        try waitFor("the conflict", seconds: 60) {
            daemon.log.contains("block 3: changed in the store by somebody else")
        }
        #expect(try server.request("GET", "bkt/00000003").body == foreign)
        _ = try daemon.unmountAfterClosing(fd)
    }

    @Test("a server without conditions is named, with what is promised then")
    func narrower() throws {
        let server = try TestServer.rclone(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(server.options + Self.sizes, "bkt")
        #expect(daemon.log.contains("NOTICE: the server honours no conditional requests"))
        #expect(daemon.log.contains("can be overwritten"))
        let names = try FileManager.default.contentsOfDirectory(atPath: server.directory + "/bkt")
        #expect(names.sorted() == ["s3backer-mounted", "s3backer-volume"])
        try daemon.write([UInt8](repeating: 7, count: 4096), at: 3 * 4096)
        try waitUntilClean(daemon)
        let path = server.directory + "/bkt/00000003"
        try Data([UInt8](repeating: 9, count: 4096)).write(to: URL(fileURLWithPath: path))
        let again = [UInt8](repeating: 8, count: 4096)
        try daemon.write(again, at: 3 * 4096)
        try waitUntilClean(daemon)
        #expect(try daemon.unmount() == 0)
        #expect(readFile(path) == again)
    }

    @Test("the objects of a trim are deleted with one request for many")
    func trim() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(server.options + Self.sizes, "bkt")
        let image = (0..<256 << 10).map { UInt8(truncatingIfNeeded: $0 | 1) }
        try daemon.write(image, at: 0)
        #expect(try daemon.unmount() == 0)
        // A cache of its own, so that nothing is cached.
        try daemon.start(server.options + Self.sizes + ["--debug", "--debug-http"], "bkt")
        let fd = open(daemon.file, O_RDWR)
        #expect(csys_fallocate(fd, 3, 4096, 60 * 4096) == 0)
        try waitFor("the deletions", seconds: 60) {
            daemon.statistic("cache_file_zero_blocks") == 0
        }
        #expect(try daemon.unmountAfterClosing(fd) == 0)
        let keys = try BucketContents(server, "bkt").objects.keys.sorted()
        #expect(
            keys == ["00000000", "0000003d", "0000003e", "0000003f", "s3backer-volume"])
        let lines = daemon.log.components(separatedBy: "\n")
        #expect(lines.count { $0.contains("> POST \(server.url)bkt?delete=") } == 1)
        #expect(!lines.contains { $0.contains("> DELETE \(server.url)bkt/0000") })
    }

    @Test("options for late services are taken, and the disk is what was written")
    func guarded() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + Self.sizes
        let said = try daemon.refused(options + ["--md5CacheSize=10"], "bkt")
        #expect(said.contains("--md5CacheSize=10: must be at least the 64 blocks"))
        #expect(try BucketContents(server, "bkt").objects.isEmpty)
        try daemon.start(
            options + ["--md5CacheSize=10", "--md5CacheTime=100", "--minWriteDelay=10"], "bkt")
        let image = pattern(256 << 10, blockSize: 4096, seed: 3)
        try daemon.write(image, at: 0)
        #expect(try daemon.read() == image)
        #expect(try daemon.unmount() == 0)
        try daemon.start(server.options + ["--readOnly", "--md5CacheSize=1"], "bkt")
        #expect(try daemon.read() == image)
        #expect(try daemon.unmount() == 0)
    }

    @Test("the names of a volume's blocks are asked for as they were made")
    func hashed() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + Self.sizes
        try daemon.start(options + ["--blockHashPrefix"], "bkt")
        try daemon.write([7], at: 4096)
        #expect(try daemon.unmount() == 0)
        #expect(try server.request("HEAD", "bkt/d211cad9-00000001").status == 200)
        let said = try daemon.refused(options, "bkt")
        #expect(said.contains("use --blockHashPrefix"), "\(said)")
        #expect(try server.request("HEAD", "bkt/s3backer-mounted").status == 404)
        try daemon.start(server.options + ["--blockHashPrefix", "--readOnly"], "bkt")
        #expect(try daemon.read()[4096] == 7)
        #expect(try daemon.unmount() == 0)
        // A directory is no different.
        try daemon.start(["--test", "--size=256k", "--blockHashPrefix"], daemon.store)
        try daemon.write([7], at: 4096)
        #expect(try daemon.unmount() == 0)
        #expect(try daemon.blockNames() == ["d211cad9-00000001"])
        let directory = try daemon.refused(["--test", "--size=256k"], daemon.store)
        #expect(directory.contains("use --blockHashPrefix"), "\(directory)")
    }
}
