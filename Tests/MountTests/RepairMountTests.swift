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
        let options = try writeAndKill(daemon)
        let lost = try damage(daemon.cache)
        let refusal = try daemon.refused(options)
        #expect(refusal.contains("JRN_HOLE") && refusal.contains("cachecheck repair"))
        let before = readFile(daemon.cache)
        let repaired = try run(MountedDaemon.cachecheck, ["repair", "--yes", daemon.cache])
        #expect(repaired.status == 7, "\(repaired.output)")
        try daemon.start(options)
        try expectBlocks(daemon, but: lost)
        #expect(try daemon.unmount() == 0)
        // Nothing was uploaded without consent, and what a mount has used is not put back.
        #expect(try daemon.blockNames() == [])
        let undone = try run(MountedDaemon.cachecheck, ["undo", "--yes", daemon.cache])
        #expect(undone.status == 8 && readFile(daemon.cache) != before)
        try upload(daemon, options)
        #expect(try daemon.blockNames().count >= Self.blocks - lost.count)
    }

    @Test(
        "no superblock is left: the volume's name brings it back, with everything that was written",
        arguments: [false, true])
    func superblocks(hasCheckpoint: Bool) throws {
        let daemon = try MountedDaemon("superblocks")
        defer { daemon.remove() }
        let options = try writeAndKill(daemon)
        if hasCheckpoint {
            try daemon.start(options)
            #expect(try daemon.unmount() == 0)
        }
        let file = try PosixFile.open(daemon.cache, readOnly: false)
        let geometry = try Recovery.run(file).geometry
        let zeros = AlignedBuffer.zeroed(4096)
        for copy in 0..<4 {
            try file.write(zeros.bytes, at: geometry.superblockOffset(copy), .cached)
        }
        extendLifetime(zeros)
        try file.flush()
        let before = readFile(daemon.cache)
        func repair(_ more: [String]) throws -> (status: Int32, output: String) {
            let outcome = try run(
                MountedDaemon.cachecheck, ["repair", "--all", "--yes", daemon.cache] + more)
            return (outcome.status, outcome.output)
        }
        let volume = ["--volume", daemon.store, "--test", "--size", "16m", "--blockSize"]
        #expect(try repair([]).status == 8)
        #expect(try repair(volume.dropLast()).output.contains("--blockSize"))
        #expect(readFile(daemon.cache) == before)
        let repaired = try repair(volume + ["64k"])
        #expect(repaired.status == 3, "\(repaired.output)")
        try daemon.start(options)
        try expectBlocks(daemon, but: [])
        #expect(try daemon.unmount() == 0)
        #expect(try daemon.blockNames() == [])
        try upload(daemon, options)
        #expect(try daemon.blockNames().count == Self.blocks)
    }

    // MARK: Steps

    /// Writes blocks of bytes that tell their numbers, each durable before the next: in groups of
    /// their own. Then the end without a word.
    private func writeAndKill(_ daemon: MountedDaemon) throws -> [String] {
        let options = [
            "--size=16m", "--blockSize=64k", "--blockCacheFile=\(daemon.cache)",
            "--blockCacheSize=128", "--blockCacheRingSize=1m", "--blockCacheWriteDelay=3600000",
            "--unmountTimeout=0",
        ]
        try daemon.start(options)
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
        return options
    }

    private func expectBlocks(_ daemon: MountedDaemon, but lost: Set<UInt64>) throws {
        let image = try daemon.read()
        for number in 0..<Self.blocks where !lost.contains(UInt64(number)) {
            let found = image[number * Self.block..<(number + 1) * Self.block]
            #expect(found.allSatisfy { $0 == UInt8(number + 1) }, "block \(number)")
        }
    }

    private func upload(_ daemon: MountedDaemon, _ options: [String]) throws {
        let last = ["--resolveConflicts=local", "--blockCacheWriteDelay=0", "--unmountTimeout=60"]
        try daemon.start(options + last)
        try waitFor("the uploads", seconds: 60) {
            daemon.statistic("cache_file_conflict_blocks") == 0
                && daemon.statistic("cache_file_dirty_blocks") == 0
        }
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
