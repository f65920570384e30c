import CacheFile
import FileIO
import Foundation
import MountSupport
import TestSupport
import Testing

@Suite("RepairMountTests", .serialized, .enabled(if: canMount, mountReason))
struct RepairMountTests {
    private static let block = 64 << 10
    private static let blocks = 40

    @Test(
        "a cache file with a hole in its journal: refused, repaired, mounted; what is whole is there"
    )
    func hole() throws {
        let daemon = try MountedDaemon("repair")
        defer { daemon.remove() }
        let options = [
            "--size=16m", "--blockSize=64k", "--blockCacheFile=\(daemon.cache)",
            "--blockCacheSize=128", "--blockCacheRingSize=1m", "--blockCacheWriteDelay=3600000",
        ]
        try daemon.start(options)
        // Each is durable before the next: groups of their own.
        let fd = open(daemon.file, O_RDWR)
        try #require(fd >= 0)
        for number in 0..<Self.blocks {
            let bytes = [UInt8](repeating: UInt8(number + 1), count: Self.block)
            #expect(pwrite(fd, bytes, bytes.count, number * Self.block) == bytes.count)
            #expect(fsync(fd) == 0)
        }
        close(fd)
        daemon.killNow()
        daemon.detach()
        let lost = try damage(daemon.cache)
        let refusal = try daemon.refused(options)
        #expect(refusal.contains("JRN_HOLE") && refusal.contains("cachecheck repair"))
        let before = readFile(daemon.cache)
        let repaired = try run(MountedDaemon.cachecheck, ["repair", "--yes", daemon.cache])
        #expect(repaired.status == 7, "\(repaired.output)")
        try daemon.start(options)
        let image = try daemon.read()
        for number in 0..<Self.blocks where !lost.contains(UInt64(number)) {
            let found = image[number * Self.block..<(number + 1) * Self.block]
            #expect(found.allSatisfy { $0 == UInt8(number + 1) }, "block \(number)")
        }
        #expect(try daemon.unmount() == 0)
        // Nothing was uploaded without consent, and what a mount has used is not put back.
        #expect(try daemon.blockNames() == [])
        let undone = try run(MountedDaemon.cachecheck, ["undo", "--yes", daemon.cache])
        #expect(undone.status == 8 && readFile(daemon.cache) != before)
        try daemon.start(options + ["--resolveConflicts=local", "--blockCacheWriteDelay=0"])
        try waitFor("the uploads", seconds: 60) {
            daemon.statistic("cache_file_conflict_blocks") == 0
                && daemon.statistic("cache_file_dirty_blocks") == 0
        }
        #expect(try daemon.blockNames().count >= Self.blocks - lost.count)
        #expect(try daemon.unmount() == 0)
    }

    /// Spoils a group in the middle of the log.
    /// - Returns: the blocks that it names.
    private func damage(_ path: String) throws -> Set<UInt64> {
        let file = try PosixFile.open(path, readOnly: false)
        let recovered = try Recovery.run(file)
        let groups = recovered.scan.accepted.filter { !$0.records.isEmpty }
        let group = try #require(groups.dropFirst(groups.count / 2).first)
        let geometry = recovered.geometry
        let offset =
            geometry.ringOffset + Int(group.header.position % UInt64(geometry.ringLength))
        let buffer = AlignedBuffer(4096)
        try file.read(into: buffer.mutableBytes, at: offset, .cached)
        buffer.mutableBytes[200] ^= 1
        try file.write(buffer.bytes, at: offset, .cached)
        try file.flush()
        return Set(group.records.map(\.block))
    }
}
