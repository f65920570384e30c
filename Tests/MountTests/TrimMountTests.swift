import CSys
import Foundation
import Glibc
import MountSupport
import TestSupport
import Testing

/// fallocate(2) on a mount, and what loop devices and ext4 make of it.
@Suite("TrimMountTests", .serialized, .enabled(if: canMount, mountReason))
struct TrimMountTests {
    private static let block = 64 << 10
    private static let size = 64 << 20
    private static let keepSize: Int32 = 1
    private static let punchHole: Int32 = 3
    private static let zeroRange: Int32 = 16

    private func options(_ daemon: MountedDaemon, delay: Int = 20) -> [String] {
        [
            "--size=64m", "--blockSize=64k", "--blockCacheSize=256",
            "--blockCacheWriteDelay=\(delay)", "--blockCacheFile=\(daemon.cache)",
        ]
    }

    private func with(_ name: String, _ body: (MountedDaemon) throws -> Void) throws {
        let daemon = try MountedDaemon(name)
        defer { daemon.remove() }
        try daemon.start(options(daemon))
        try body(daemon)
    }

    private func must(_ program: String, _ arguments: String...) throws {
        let found = try run(program, arguments)
        try #require(found.status == 0, "\(program) \(arguments): \(found.output)")
    }

    private func isUploaded(_ daemon: MountedDaemon) -> Bool {
        daemon.statistic("cache_file_dirty_blocks") == 0
            && daemon.statistic("cache_file_zero_blocks") == 0
    }

    @Test("fallocate: its modes, its errors, and zeros where a hole is")
    func modes() throws {
        try with("falloc") { daemon in
            let fd = open(daemon.file, O_RDWR)
            try #require(fd >= 0)
            defer { close(fd) }
            func allocate(_ mode: Int32, _ offset: Int, _ count: Int) -> Int32 {
                csys_fallocate(fd, mode, offset, count) == 0 ? 0 : errno
            }
            var model = [UInt8](repeating: 5, count: 8 * Self.block)
            try daemon.write(model, at: 0)
            for mode in [0, Self.keepSize] {
                #expect(allocate(mode, 0, Self.size) == 0)
                #expect(allocate(mode, Self.size - 4096, 4097) == ENOSPC)
            }
            #expect(allocate(Self.zeroRange, Self.size - 4096, 4097) == ENOSPC)
            #expect(allocate(Self.zeroRange | Self.keepSize, Self.size - 4096, 8192) == 0)
            #expect(allocate(Self.punchHole, Self.size - 4096, 8192) == 0)
            #expect(allocate(Self.punchHole, Self.size + 4096, 8192) == 0)
            // Collapse, insert, unshare.
            for mode: Int32 in [8, 32, 64] {
                #expect(allocate(mode, 0, Self.block) == EOPNOTSUPP)
            }
            #expect(try daemon.read().prefix(model.count) == model[...])
            let holes = [
                (Self.punchHole, 100..<5000),
                (Self.zeroRange, Self.block - 10..<3 * Self.block + 7),
                (Self.zeroRange | Self.keepSize, 5 * Self.block..<6 * Self.block),
                (Self.punchHole, 7 * Self.block + 4096..<7 * Self.block + 3 * 4096),
            ]
            for (mode, range) in holes {
                #expect(allocate(mode, range.lowerBound, range.count) == 0)
                model.replaceSubrange(range, with: [UInt8](repeating: 0, count: range.count))
            }
            #expect(try daemon.read().prefix(model.count) == model[...])
            var info = stat()
            #expect(fstat(fd, &info) == 0 && info.st_size == Self.size)
            try waitFor("the uploads", seconds: 20) { isUploaded(daemon) }
            #expect(
                try daemon.blockNames().sorted()
                    == [0, 3, 4, 6, 7].map { String(format: "%08x", $0) })
            // Closed by itself before the mount goes.
            #expect(try daemon.unmountAfterClosing(fd) == 0)
        }
    }

    @Test("a trim and an fsync, then kill -9: zeros, before and after the next upload")
    func kill() throws {
        let daemon = try MountedDaemon("trim-kill")
        defer { daemon.remove() }
        try daemon.start(options(daemon))
        let data = [UInt8](repeating: 5, count: 300 * Self.block)
        try daemon.write(data, at: 0)
        try waitFor("the uploads", seconds: 20) { isUploaded(daemon) }
        #expect(try daemon.unmount() == 0)
        // Nothing is uploaded before the kill; some blocks are cached and some are not.
        try daemon.start(options(daemon, delay: 1_000_000))
        let fd = open(daemon.file, O_RDWR)
        try #require(fd >= 0)
        let trimmed = 3 * Self.block + 100..<120 * Self.block
        #expect(
            csys_fallocate(fd, Self.punchHole, trimmed.lowerBound, trimmed.count) == 0
                && fsync(fd) == 0)
        #expect(try daemon.blockNames().count == 300)
        daemon.killNow()
        close(fd)
        daemon.detach()
        let found = try run(MountedDaemon.cachecheck, [daemon.cache])
        #expect(found.status == 0 && found.output.contains("to be deleted in the store"))
        var model = data
        model.replaceSubrange(trimmed, with: [UInt8](repeating: 0, count: trimmed.count))
        try daemon.start(options(daemon))
        #expect(try daemon.read().prefix(model.count) == model[...])
        try waitFor("the uploads", seconds: 20) { isUploaded(daemon) }
        #expect(try daemon.blockNames().count == 4 + 180)
        #expect(try daemon.unmount() == 0)
        try daemon.start(options(daemon))
        #expect(try daemon.read().prefix(model.count) == model[...])
        #expect(try daemon.unmount() == 0)
    }

    @Test("without a cache file an fsync after a trim waits until the store has deleted")
    func inMemory() throws {
        let daemon = try MountedDaemon("trim-memory")
        defer { daemon.remove() }
        let options = ["--size=64m", "--blockSize=64k", "--blockCacheSize=16"]
        try daemon.start(options + ["--blockCacheWriteDelay=1000000"])
        let fd = open(daemon.file, O_RDWR)
        try #require(fd >= 0)
        let data = [UInt8](repeating: 5, count: 100 * Self.block)
        try daemon.write(data, at: 0)
        #expect(try daemon.blockNames().count == 100)
        #expect(csys_fallocate(fd, Self.punchHole, 0, 90 * Self.block) == 0 && fsync(fd) == 0)
        #expect(try daemon.blockNames().count == 10)
        #expect(try daemon.unmountAfterClosing(fd) == 0)
    }

    @Test("a read-only mount refuses")
    func readOnly() throws {
        let daemon = try MountedDaemon("trim-ro")
        defer { daemon.remove() }
        try daemon.start(options(daemon) + ["--readOnly"])
        let fd = open(daemon.file, O_RDONLY)
        try #require(fd >= 0)
        // The kernel wants a descriptor for writing, and none is given.
        #expect(csys_fallocate(fd, Self.punchHole, 0, 4096) == -1 && errno == EBADF)
        #expect(open(daemon.file, O_RDWR) == -1 && errno == EROFS)
        #expect(try daemon.unmountAfterClosing(fd) == 0)
    }

    @Test("discard of a loop device takes the objects away")
    func discard() throws {
        try with("discard") { daemon in
            try daemon.write([UInt8](repeating: 5, count: 64 * Self.block), at: 0)
            try waitFor("the uploads", seconds: 20) { isUploaded(daemon) }
            let setup = try run("/usr/sbin/losetup", ["--find", "--show", daemon.file])
            try #require(setup.status == 0, "\(setup.output)")
            let device = setup.output.trimmingCharacters(in: .whitespacesAndNewlines)
            defer { _ = try? run("/usr/sbin/losetup", ["--detach", device]) }
            try must(
                "/usr/sbin/blkdiscard", "--offset", "\(8 * Self.block)", "--length",
                "\(40 * Self.block)", device)
            try waitFor("the deletions", seconds: 20) { isUploaded(daemon) }
            #expect(try daemon.blockNames().count == 24)
            // Zeros by the device's own command, which may keep the space.
            try must("/usr/sbin/blkdiscard", "--zeroout", device)
            try waitFor("the deletions", seconds: 20) { isUploaded(daemon) }
            #expect(try daemon.blockNames().isEmpty)
            try must("/usr/sbin/losetup", "--detach", device)
            #expect(try daemon.unmount() == 0)
        }
    }

    @Test("fstrim of ext4, and its mount with discard, give the space of removed files back")
    func ext4() throws {
        try with("fstrim") { daemon in
            let tree = daemon.root + "/tree"
            try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: true)
            try must("/usr/sbin/mkfs.ext4", "-q", daemon.file)
            for options in ["loop", "loop,discard"] {
                try must("/usr/bin/mount", "-o", options, daemon.file, tree)
                defer { umount2(tree, Int32(MNT_DETACH)) }
                let data = Data((0..<8 << 20).map { UInt8(truncatingIfNeeded: $0 >> 3) })
                for name in ["keep", "drop", "more"] {
                    try data.write(to: URL(fileURLWithPath: "\(tree)/\(name)"))
                }
                sync()
                try waitFor("the uploads", seconds: 60) { isUploaded(daemon) }
                let full = try daemon.blockNames().count
                for name in ["drop", "more"] {
                    try FileManager.default.removeItem(atPath: "\(tree)/\(name)")
                }
                sync()
                if options == "loop" { try must("/usr/sbin/fstrim", tree) }
                sync()
                // 16 MiB are 256 blocks, but for those that other files have a part of.
                try waitFor("the objects to go", seconds: 60) {
                    isUploaded(daemon)
                        && (try? daemon.blockNames().count).map { $0 < full - 200 } ?? false
                }
                #expect(FileManager.default.contents(atPath: tree + "/keep") == data)
                try must("/usr/bin/umount", tree)
                try must("/usr/sbin/e2fsck", "-fn", daemon.file)
            }
            #expect(try daemon.unmount() == 0)
        }
    }
}
