import Foundation
import Glibc
import MountSupport
import Simulation
import TestSupport
import Testing

/// Mounts that follow each other on one cache file, each with another --blockCacheSize.
@Suite("ResizeMountTests", .serialized, .enabled(if: canMount, mountReason))
struct ResizeMountTests {
    static let block = 64 << 10
    static let blocks = 128

    private func start(_ daemon: MountedDaemon, slots: Int, _ more: String...) throws {
        try daemon.start(
            [
                "--size=8m", "--blockSize=64k", "--blockCacheSize=\(slots)",
                "--blockCacheFile=\(daemon.cache)", "--blockCacheRingSize=512k",
            ] + more)
    }

    private func expectIntact(_ daemon: MountedDaemon) throws {
        let checked = try run(MountedDaemon.cachecheck, ["--data=all", daemon.cache])
        #expect(checked.status == 0, "\(checked.output)")
    }

    private func waitFor(_ slots: Int, _ daemon: MountedDaemon) throws {
        try TestSupport.waitFor("\(slots) blocks; the log: \(daemon.log)", seconds: 60) {
            daemon.statistic("cache_file_size") == slots
        }
    }

    @Test("grows and shrinks by remounts with dirty data and kill -9 in between; all data is there")
    func killed() throws {
        let daemon = try MountedDaemon("resize")
        defer { daemon.remove() }
        var random = SeededRandom(seed: testSeed)
        var expected = [UInt8](repeating: 0, count: Self.blocks * Self.block)
        var sizes: Set<Int> = []
        for (round, slots) in [48, 100, 20, 128, 16, 60, 128, 24].enumerated() {
            // Blocks stay dirty for as long as they fit.
            try start(daemon, slots: slots, "--blockCacheWriteDelay=60000")
            for number in 0..<random.within(12...40) {
                let offset = random.below(expected.count / 4096) * 4096
                let count = min(random.within(1...24) * 4096, expected.count - offset)
                let value = UInt8(truncatingIfNeeded: round * 41 + number)
                let bytes = [UInt8](repeating: value, count: count)
                try daemon.write(bytes, at: offset)
                expected.replaceSubrange(offset..<offset + count, with: bytes)
            }
            // Sometimes in the middle of it.
            if round % 3 != 0 {
                // Whoever has room for all of the disk has some to spare.
                try waitFor(slots == Self.blocks ? slots + 9 : slots, daemon)
            }
            sizes.insert(daemon.statistic("cache_file_size") ?? 0)
            #expect(try daemon.read() == expected, "round \(round)")
            daemon.killNow()
            daemon.detach()
            try expectIntact(daemon)
        }
        #expect(sizes.count > 3)
        try start(daemon, slots: 32)
        try waitFor(32, daemon)
        try TestSupport.waitFor("the log: \(daemon.log)") {
            daemon.log.contains("the cache file holds 32 blocks now")
        }
        #expect(try daemon.read() == expected)
        #expect(try daemon.unmount() == 0)
        try expectIntact(daemon)
        // Without the option the file keeps its size.
        try daemon.start([
            "--size=8m", "--blockSize=64k", "--blockCacheFile=\(daemon.cache)",
        ])
        #expect(daemon.statistic("cache_file_size") == 32)
        #expect(try daemon.read() == expected)
        #expect(try daemon.unmount() == 0)
    }

    @Test("no space to grow: one error in the log, the old size, and the mount serves")
    func noSpace() throws {
        let daemon = try MountedDaemon("resize-space")
        defer { daemon.remove() }
        let small = daemon.root + "/small"
        try FileManager.default.createDirectory(atPath: small, withIntermediateDirectories: true)
        let mounted = try run("/usr/bin/mount", ["-t", "tmpfs", "-o", "size=6m", "tmpfs", small])
        try #require(mounted.status == 0, "\(mounted.output)")
        defer { umount2(small, Int32(MNT_DETACH)) }
        let options = [
            "--size=8m", "--blockSize=64k", "--blockCacheFile=\(small)/cache",
            "--blockCacheRingSize=512k",
        ]
        try daemon.start(options + ["--blockCacheSize=32"])
        let bytes = [UInt8](repeating: 9, count: 1 << 20)
        try daemon.write(bytes, at: 0)
        #expect(try daemon.unmount() == 0)
        try daemon.start(options + ["--blockCacheSize=128"])
        try TestSupport.waitFor("the refusal") { daemon.log.contains("it keeps 32") }
        #expect(daemon.log.contains("No space left on device"))
        try daemon.write(bytes, at: 1 << 20)
        #expect(try Array(daemon.read()[..<(2 << 20)]) == bytes + bytes)
        #expect(daemon.statistic("cache_file_size") == 32)
        #expect(daemon.statistic("cache_file_failed") == 0)
        #expect(try daemon.unmount() == 0)
        let checked = try run(MountedDaemon.cachecheck, [small + "/cache"])
        #expect(checked.status == 0, "\(checked.output)")
    }
}
