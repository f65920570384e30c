import Foundation
import Glibc
import MountSupport
import TestSupport
import Testing

/// What a mount holds in memory does not depend on how much has gone through it.
@Suite("MemoryTests", .serialized, .enabled(if: canMount, mountReason))
struct MemoryTests {
    private static let size = 32 << 20
    private static let piece = 1 << 20

    /// Bytes of memory in use now.
    private func residentBytes(_ daemon: MountedDaemon) throws -> Int {
        let pid = try #require(daemon.process?.processIdentifier)
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
        return try #require(Int(line.filter(\.isNumber))) * 1024
    }

    /// So that the mount is asked, not the page cache.
    private func forgetPages(_ daemon: MountedDaemon) throws {
        let fd = open(daemon.file, O_RDONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        #expect(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0)
    }

    @Test("writing, uploading, evicting and reading many times the cache does not take memory")
    func flat() throws {
        let daemon = try MountedDaemon("memory")
        defer { daemon.remove() }
        try daemon.start([
            "--size=32m", "--blockSize=64k", "--blockCacheSize=128", "--blockCacheWriteDelay=0",
            "--blockCacheFile=\(daemon.cache)",
        ])
        func round(_ byte: UInt8) throws {
            for offset in stride(from: 0, to: Self.size, by: Self.piece) {
                try daemon.write([UInt8](repeating: byte, count: Self.piece), at: offset)
            }
            try waitFor("the uploads", seconds: 60) {
                daemon.statistic("cache_file_dirty_blocks") == 0
            }
            try forgetPages(daemon)
            #expect(try daemon.read().allSatisfy { $0 == byte })
        }
        // Pools and arenas fill.
        for byte in UInt8(1)...2 { try round(byte) }
        let before = try residentBytes(daemon)
        for byte in UInt8(3)...6 { try round(byte) }
        let grown = try residentBytes(daemon) - before
        print("MEMORY grown=\(grown) moved=\(8 * Self.size)")
        #expect(grown < Self.size)
        #expect(try daemon.unmount() == 0)
    }
}
