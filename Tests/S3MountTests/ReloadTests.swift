import BlockStore
import Foundation
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// What an earlier mount left in the cache file, and what the bucket has to say about it.
@Suite("S3ReloadTests", .serialized, .enabled(if: canMount, mountReason))
struct ReloadTests {
    static let sizes = ["--blockSize=4k", "--size=8m"]
    static let logged = ["--debug", "--debug-http"]

    /// Requests for blocks with this method, as the log has them.
    private func requests(_ method: String, _ daemon: MountedDaemon) -> Int {
        daemon.log.components(separatedBy: "\n").count {
            $0.contains("> \(method) ") && $0.contains("/bkt/0000")
        }
    }

    private func lists(_ daemon: MountedDaemon) -> Int {
        daemon.log.components(separatedBy: "\n").count {
            $0.contains("> GET ") && $0.contains("start-after")
        }
    }

    @Test("cached blocks are verified by listing, and what others changed is replaced")
    func verified() throws {
        for isHashed in [false, true] {
            let server = try TestServer.moto(buckets: ["bkt"])
            defer { server.stop() }
            let daemon = try MountedDaemon()
            let hash = isHashed ? ["--blockHashPrefix"] : []
            let options =
                server.options + Self.sizes + hash
                + ["--blockCacheFile=\(daemon.cache)", "--blockCacheSize=2000"]
            try daemon.start(options, "bkt")
            var image = pattern(6 << 20, blockSize: 4096, seed: 21)
            try daemon.write(image, at: 0)
            #expect(try daemon.unmount() == 0)

            let key = BlockKeys(prefix: "", isHashed: isHashed).key(5)
            let foreign = [UInt8](repeating: 9, count: 4096)
            #expect(try server.request("PUT", "bkt/\(key)", body: foreign).status == 200)
            image.replaceSubrange(5 * 4096..<6 * 4096, with: foreign)

            try daemon.start(options + Self.logged, "bkt")
            try waitFor("the list", seconds: 60) {
                daemon.log.contains("listed the blocks in the store")
            }
            try waitFor("the difference", seconds: 60) {
                daemon.statistic("block_cache_mismatch") == 1
            }
            #expect(daemon.statistic("block_cache_verified") == 1535)
            #expect(try Array(daemon.read()[..<image.count]) == image)
            #expect(try daemon.unmount() == 0)
            // One object differs, and one was asked about.
            let asked = daemon.log.components(separatedBy: "\n").count {
                $0.contains("> HEAD ") && $0.contains("00000005")
            }
            #expect(asked == 1)
            #expect(daemon.log.components(separatedBy: "\n").count { $0.contains("> HEAD ") } < 8)
            // 1536 blocks are two pages; with hashes, a page or two for each of the parts.
            #expect(lists(daemon) <= (isHashed ? 40 : 8), "\(lists(daemon))")
        }
    }

    @Test("--blockCacheNoVerify serves what the file has")
    func trusted() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options =
            server.options + Self.sizes
            + ["--blockCacheFile=\(daemon.cache)", "--blockCacheSize=2000"]
        try daemon.start(options, "bkt")
        let image = pattern(1 << 20, blockSize: 4096, seed: 22)
        try daemon.write(image, at: 0)
        #expect(try daemon.unmount() == 0)
        let foreign = [UInt8](repeating: 9, count: 4096)
        #expect(try server.request("PUT", "bkt/00000005", body: foreign).status == 200)
        try daemon.start(options + ["--blockCacheNoVerify"], "bkt")
        #expect(try Array(daemon.read()[..<image.count]) == image)
        #expect(try daemon.unmount() == 0)
    }

    /// A copy of a cache file with dirty blocks, put back after the volume has moved on: block 1 was
    /// in the bucket before, block 2 was not.
    private func leaveStale(
        _ daemon: MountedDaemon, _ server: TestServer
    ) throws -> (options: [String], mine: [UInt8], theirs: [UInt8]) {
        let options = server.options + ["--blockCacheFile=\(daemon.cache)"]
        let (old, mine, theirs) = (
            [UInt8](repeating: 1, count: 4096), [UInt8](repeating: 2, count: 8192),
            [UInt8](repeating: 3, count: 8192)
        )
        try daemon.start(options + ["--blockSize=4k", "--size=256k"], "bkt")
        try daemon.write(old, at: 4096)
        #expect(try daemon.unmount() == 0)
        try daemon.start(options + ["--blockCacheWriteDelay=600000"], "bkt")
        try daemon.write(mine, at: 4096)
        daemon.killNow()
        daemon.detach()
        let copy = daemon.root + "/copy"
        try FileManager.default.copyItem(atPath: daemon.cache, toPath: copy)
        // Everything is uploaded, and then somebody else writes the same blocks.
        try daemon.start(options, "bkt")
        #expect(try daemon.unmount() == 0)
        let other = try MountedDaemon()
        try other.start(server.options, "bkt")
        try other.write(theirs, at: 4096)
        #expect(try other.unmount() == 0)
        try FileManager.default.removeItem(atPath: daemon.cache)
        try FileManager.default.moveItem(atPath: copy, toPath: daemon.cache)
        return (options, mine, theirs)
    }

    private func blocks(_ server: TestServer) throws -> [UInt8] {
        try ["bkt/00000001", "bkt/00000002"].flatMap { key in
            try server.directory.isEmpty
                ? server.request("GET", key).body : readFile(server.directory + "/" + key)
        }
    }

    private func put(_ server: TestServer, _ key: String, _ body: [UInt8]) throws {
        guard server.directory.isEmpty else {
            return try Data(body).write(to: URL(fileURLWithPath: server.directory + "/" + key))
        }
        #expect(try server.request("PUT", key, body: body).status == 200)
    }

    @Test("a stale copy of a cache file never overwrites what is newer", arguments: [true, false])
    func stale(honorsConditions: Bool) throws {
        let server =
            try honorsConditions
            ? TestServer.moto(buckets: ["bkt"]) : TestServer.rclone(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let (options, mine, theirs) = try leaveStale(daemon, server)
        try daemon.start(options, "bkt")
        try waitFor("the conflicts", seconds: 60) {
            daemon.statistic("cache_file_conflict_blocks") == 2
        }
        #expect(try blocks(server) == theirs)
        #expect(Array(try daemon.read()[4096..<3 * 4096]) == mine)
        #expect(try daemon.unmount() == 0)
        #expect(try blocks(server) == theirs)

        // They stay until it is said which count.
        try daemon.start(options, "bkt")
        #expect(daemon.log.contains("--resolveConflicts=local|remote"), "\(daemon.log)")
        #expect(try daemon.unmount() == 0)
        #expect(try blocks(server) == theirs)
        let listed = try run(MountedDaemon.cachecheck, ["list", daemon.cache])
        #expect(listed.output.contains("conflict"), "\(listed.output)")
        let saved = try Data(contentsOf: URL(fileURLWithPath: daemon.cache))

        try daemon.start(options + ["--resolveConflicts=local"], "bkt")
        try waitFor("the uploads", seconds: 60) { (try? blocks(server)) == mine }
        #expect(daemon.statistic("cache_file_conflict_blocks") == 0)
        #expect(try daemon.unmount() == 0)

        for (offset, key) in [(0, "bkt/00000001"), (4096, "bkt/00000002")] {
            let body = Array(theirs[offset..<offset + 4096])
            try put(server, key, body)
        }
        try saved.write(to: URL(fileURLWithPath: daemon.cache))
        try daemon.start(options + ["--resolveConflicts=remote"], "bkt")
        try waitFor("the resolution", seconds: 60) {
            daemon.statistic("cache_file_conflict_blocks") == 0
        }
        #expect(Array(try daemon.read()[4096..<3 * 4096]) == theirs)
        #expect(try daemon.unmount() == 0)
        #expect(try blocks(server) == theirs)
    }

    @Test("mkfs with discard on an empty terabyte deletes nothing, and sends what it writes")
    func emptyTerabyte() throws {
        for isPacked in [false, true] {
            let server = try TestServer.moto(buckets: ["bkt"])
            defer { server.stop() }
            let proxy = try DelayProxy(to: server.port, delayMs: 20)
            defer { proxy.stop() }
            let daemon = try MountedDaemon()
            try daemon.start(
                server.options(through: proxy.url)
                    + ["--blockSize=1m", "--size=1t", "--blockCacheFile=\(daemon.cache)"]
                    + ["--blockCacheSize=300"] + Self.logged, "bkt")
            // Packed: what mkfs writes is in one place, and not in each of 512.
            let options = "discard" + (isPacked ? ",packed_meta_blocks=1" : "")
            let made = try run("/sbin/mkfs.ext4", ["-q", "-F", "-E", options, daemon.file])
            #expect(made.status == 0, "\(made.output)")
            #expect(try daemon.unmount() == 0)
            let requests = daemon.log.components(separatedBy: "\n").filter { line in
                ["GET", "PUT", "HEAD", "DELETE", "POST"].contains { line.contains("> \($0) http") }
            }
            let deletes = requests.filter {
                $0.contains("> DELETE ") && $0.contains("/bkt/0000") || $0.contains("?delete")
            }
            let puts = requests.count { $0.contains("> PUT ") && $0.contains("/bkt/0") }
            print(
                "RELOAD mkfs packed=\(isPacked) requests=\(requests.count) puts=\(puts) "
                    + "deletes=\(deletes.count)")
            #expect(deletes.isEmpty, "\(deletes.prefix(3))")
            #expect((isPacked ? requests.count : requests.count - puts) <= 200)
        }
    }
}
