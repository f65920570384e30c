import Foundation
import Glibc
import MountSupport
import Simulation
import TestSupport
import Testing

/// Mounts that follow each other on one cache file and store, also with the real s3backer.
@Suite("RemountTests", .serialized, .enabled(if: canMount, mountReason))
struct RemountTests {
    static let block = 64 << 10
    static let options = ["--size=4m", "--blockSize=64k", "--blockCacheSize=64"]

    private func options(_ daemon: MountedDaemon, _ more: String...) -> [String] {
        Self.options + ["--blockCacheFile=\(daemon.cache)"] + more
    }

    private func fill(_ daemon: MountedDaemon, _ value: UInt8, blocks: Range<Int>) throws {
        let fd = open(daemon.file, O_WRONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        let bytes = [UInt8](repeating: value, count: Self.block)
        for number in blocks {
            try #require(pwrite(fd, bytes, bytes.count, number * Self.block) == bytes.count)
        }
        try #require(fsync(fd) == 0)
    }

    private func holds(_ daemon: MountedDaemon, _ value: UInt8, blocks: Range<Int>) throws -> Bool {
        let fd = open(daemon.file, O_RDONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0xee, count: Self.block)
        for number in blocks {
            try #require(pread(fd, &bytes, bytes.count, number * Self.block) == bytes.count)
            if !bytes.allSatisfy({ $0 == value }) { return false }
        }
        return true
    }

    @Test("the next mount reads from the cache file after asking for the version only")
    func reuse() throws {
        let daemon = try MountedDaemon("reuse")
        defer { daemon.remove() }
        try daemon.start(options(daemon))
        try fill(daemon, 7, blocks: 0..<10)
        #expect(try daemon.unmount() == 0)
        try daemon.start(options(daemon))
        #expect(daemon.statistic("block_cache_initial_size") == 10)
        #expect(try holds(daemon, 7, blocks: 0..<10))
        #expect(daemon.statistic("block_cache_verified") == 10)
        #expect(daemon.statistic("block_cache_mismatch") == 0)
        // Reading ahead asks for blocks that were never written.
        #expect(daemon.statistic("http_normal_blocks_read") == 0)
        #expect(try daemon.unmount() == 0)
    }

    @Test("a block that changed in the store between two mounts is noticed, not served stale")
    func mismatch() throws {
        let daemon = try MountedDaemon("mismatch")
        defer { daemon.remove() }
        try daemon.start(options(daemon))
        try fill(daemon, 7, blocks: 0..<4)
        #expect(try daemon.unmount() == 0)
        try Data(repeating: 8, count: Self.block)
            .write(to: URL(fileURLWithPath: daemon.store + "/00000001"))
        try FileManager.default.removeItem(atPath: daemon.store + "/00000002")
        try daemon.start(options(daemon))
        #expect(try holds(daemon, 7, blocks: 0..<1))
        #expect(try holds(daemon, 8, blocks: 1..<2))
        #expect(try holds(daemon, 0, blocks: 2..<3))
        #expect(try holds(daemon, 7, blocks: 3..<4))
        #expect(daemon.statistic("block_cache_verified") == 2)
        #expect(daemon.statistic("block_cache_mismatch") == 2)
        #expect(try daemon.unmount() == 0)
    }

    @Test("umount && mount as a daemon, ten times in a row, just works")
    func loop() throws {
        let daemon = try MountedDaemon("loop")
        defer { daemon.remove() }
        let words = ["--test", daemon.store, daemon.mountPoint] + options(daemon)
        for round in 0..<10 {
            let started = try runSplit(MountedDaemon.s3backer, words)
            try #require(started.status == 0, "round \(round): \(started.errors)")
            // It serves by the time the caller has its answer.
            #expect(FileManager.default.fileExists(atPath: daemon.file), "round \(round)")
            if round > 0 { #expect(try holds(daemon, UInt8(round), blocks: 0..<8)) }
            try fill(daemon, UInt8(round + 1), blocks: 0..<8)
            try daemon.unmountOnly()
        }
        // The last one may still be uploading: the next mount waits for it.
        try daemon.start(options(daemon))
        #expect(try holds(daemon, 10, blocks: 0..<8))
        #expect(try daemon.unmount() == 0)
    }

    @Test("SIGTERM and SIGINT unmount, upload and end with status 0", arguments: [SIGTERM, SIGINT])
    func signal(_ number: Int32) throws {
        let daemon = try MountedDaemon("signal")
        defer { daemon.remove() }
        try daemon.start(options(daemon, "--blockCacheWriteDelay=60000"))
        try fill(daemon, 3, blocks: 0..<5)
        kill(try #require(daemon.process).processIdentifier, number)
        #expect(try daemon.exitStatus() == 0)
        #expect(!FileManager.default.fileExists(atPath: daemon.file))
        #expect(try daemon.blockNames().count == 5)
        let checked = try run(MountedDaemon.cachecheck, [daemon.cache])
        #expect(checked.status == 0, "\(checked.output)")
    }

    @Test("with an unwritable store a stop keeps dirty blocks, and the next mount uploads them")
    func unwritableStore() throws {
        let daemon = try MountedDaemon("unwritable")
        defer { daemon.remove() }
        // Root may write anywhere but where the file system says no.
        let mounted = try run("/usr/bin/mount", ["-t", "tmpfs", "tmpfs", daemon.store])
        try #require(mounted.status == 0, "\(mounted.output)")
        defer { umount2(daemon.store, Int32(MNT_DETACH)) }
        func remount(_ mode: String) throws {
            let found = try run("/usr/bin/mount", ["-o", "remount,\(mode)", daemon.store])
            try #require(found.status == 0, "\(found.output)")
        }
        try daemon.start(options(daemon, "--blockCacheWriteDelay=100"))
        try remount("ro")
        try fill(daemon, 4, blocks: 0..<6)
        try waitFor("a failed upload", seconds: 20) { daemon.log.contains("not uploaded yet") }
        #expect(daemon.statistic("cache_file_dirty_blocks") == 6)
        #expect(try holds(daemon, 4, blocks: 0..<6))
        daemon.killNow()
        daemon.detach()
        try remount("rw")
        try daemon.start(options(daemon))
        try waitFor("the uploads", seconds: 20) {
            daemon.statistic("cache_file_dirty_blocks") == 0
        }
        #expect(try daemon.unmount() == 0)
        #expect(try daemon.blockNames().count == 6)
    }

    // MARK: The real s3backer

    @Test(
        "s3backer 1.5.4 reads what we wrote, and the reverse, byte for byte",
        .enabled(if: canMountReal, mountRealReason), arguments: ["", "some-"])
    func interoperability(prefix: String) throws {
        let daemon = try MountedDaemon("partner")
        defer { daemon.remove() }
        let more = prefix.isEmpty ? [] : ["--prefix=\(prefix)"]
        var random = SeededRandom(seed: 5)
        var image = (0..<(4 << 20)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        // A block of zeros in the middle: no object.
        image.replaceSubrange(
            5 * Self.block..<6 * Self.block, with: [UInt8](repeating: 0, count: Self.block))
        try daemon.start(Self.options + more)
        try write(image, daemon)
        #expect(try daemon.unmount() == 0)
        let names = try daemon.blockNames()
        #expect(names.count == 63)
        #expect(names.contains(prefix + "0000003f") && !names.contains(prefix + "00000005"))
        // Theirs on the same store.
        let theirs = ["--size=4m", "--blockSize=64k"] + more
        try daemon.start(theirs, program: .real)
        #expect(try Data(contentsOf: URL(fileURLWithPath: daemon.file)) == Data(image))
        for at in stride(from: 100_000, to: 1_000_000, by: 30_000) { image[at] ^= 0xff }
        try write(image, daemon)
        _ = try daemon.unmount()
        try daemon.start(Self.options + more)
        #expect(try Data(contentsOf: URL(fileURLWithPath: daemon.file)) == Data(image))
        #expect(try daemon.unmount() == 0)
    }

    private func write(_ image: [UInt8], _ daemon: MountedDaemon) throws {
        let fd = open(daemon.file, O_WRONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        for at in stride(from: 0, to: image.count, by: 128 << 10) {
            let count = min(128 << 10, image.count - at)
            let put = image.withUnsafeBytes { pwrite(fd, $0.baseAddress! + at, count, at) }
            try #require(put == count)
        }
        try #require(fsync(fd) == 0)
    }
}
