import Foundation
import Glibc
import MountSupport
import Simulation
import TestSupport
import Testing

/// What the files of a mount look like and do.
@Suite("MountTests", .serialized, .enabled(if: canMount, mountReason))
struct MountTests {
    static let size = 16 << 20
    static let block = 64 << 10
    static let options = ["--size=16m", "--blockSize=64k", "--blockCacheSize=64"]

    private func with(
        _ name: String, _ options: [String] = [], filename: String = "file", hasCache: Bool = true,
        _ body: (MountedDaemon) throws -> Void
    ) throws {
        let daemon = try MountedDaemon(name)
        defer { daemon.remove() }
        daemon.filename = filename
        let cache = hasCache ? ["--blockCacheFile=\(daemon.cache)"] : []
        try daemon.start(Self.options + cache + options)
        try body(daemon)
    }

    private func failure(_ result: Int) -> Int32 { result < 0 ? errno : 0 }

    private func contents(_ path: String, at offset: Int, count: Int) throws -> [UInt8] {
        let fd = open(path, O_RDONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0xee, count: count)
        let got = pread(fd, &bytes, count, offset)
        try #require(got >= 0, "\(String(cString: strerror(errno)))")
        return Array(bytes[..<got])
    }

    private func put(_ bytes: [UInt8], _ path: String, at offset: Int, sync: Bool = true) throws {
        let fd = open(path, O_WRONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        try #require(pwrite(fd, bytes, bytes.count, offset) == bytes.count)
        if sync { try #require(fsync(fd) == 0) }
    }

    // MARK: Surface

    @Test("names, modes, sizes and the file system are what they should be")
    func surface() throws {
        let options = ["--filename=disk", "--statsFilename=numbers", "--fileMode=0640"]
        try with("surface", options, filename: "disk") { daemon in
            let names = try FileManager.default.contentsOfDirectory(atPath: daemon.mountPoint)
            #expect(names.sorted() == ["disk", "numbers"])
            var info = stat()
            try #require(stat(daemon.mountPoint + "/disk", &info) == 0)
            #expect(info.st_mode == S_IFREG | 0o640)
            #expect(info.st_size == Self.size)
            #expect(info.st_blksize == Self.block)
            #expect(info.st_blocks == Self.size / 512)
            #expect(info.st_uid == getuid() && info.st_gid == getgid())
            try #require(stat(daemon.mountPoint + "/numbers", &info) == 0)
            #expect(info.st_mode == S_IFREG | 0o444)
            #expect(info.st_size > 0)
            try #require(stat(daemon.mountPoint, &info) == 0)
            #expect(info.st_mode == S_IFDIR | 0o755)
            var system = statvfs()
            try #require(statvfs(daemon.mountPoint, &system) == 0)
            #expect(system.f_frsize == Self.block && system.f_bsize == Self.block)
            #expect(system.f_blocks == Self.size / Self.block && system.f_bfree == 0)
            let mounts = try String(contentsOfFile: "/proc/mounts", encoding: .utf8)
            #expect(mounts.contains(" \(daemon.mountPoint) fuse.s3backer "))
            #expect(access(daemon.mountPoint + "/nothing", F_OK) == -1 && errno == ENOENT)
            #expect(mkdir(daemon.mountPoint + "/new", 0o755) == -1)
            #expect(open(daemon.mountPoint + "/new", O_CREAT | O_RDWR, 0o600) == -1)
            #expect(try daemon.unmount() == 0)
        }
    }

    @Test("reads and writes at and past the end, truncation and removal")
    func edges() throws {
        try with("edges") { daemon in
            let fd = open(daemon.file, O_RDWR)
            try #require(fd >= 0)
            defer { close(fd) }
            var bytes = [UInt8](repeating: 1, count: 8192)
            #expect(pread(fd, &bytes, 8192, Self.size - 4096) == 4096)
            #expect(pread(fd, &bytes, 8192, Self.size) == 0)
            bytes = [UInt8](repeating: 1, count: 8192)
            #expect(pwrite(fd, bytes, 8192, Self.size - 4096) == 4096)
            #expect(failure(pwrite(fd, bytes, 1, Self.size)) == ENOSPC)
            #expect(failure(pwrite(fd, bytes, 1, Self.size + 1)) == ESPIPE)
            #expect(ftruncate(fd, 0) == 0)
            #expect(ftruncate(fd, off_t(Self.size * 2)) == 0)
            var info = stat()
            #expect(fstat(fd, &info) == 0 && info.st_size == Self.size)
            #expect(try contents(daemon.file, at: Self.size - 1, count: 10) == [1])
            #expect(unlink(daemon.file) == -1 && errno == EOPNOTSUPP)
        }
    }

    @Test("the statistics tell what happened, and removing them sets them to zero")
    func statistics() throws {
        try with("stats", ["--blockCacheWriteDelay=0"]) { daemon in
            try put([UInt8](repeating: 7, count: Self.block), daemon.file, at: 0)
            try waitFor("the upload", seconds: 20) {
                daemon.statistic("cache_file_dirty_blocks") == 0
            }
            #expect(daemon.statistic("http_puts") == 1)
            #expect(daemon.statistic("http_normal_blocks_written") == 1)
            #expect(daemon.statistic("block_cache_current_size") == 1)
            #expect(daemon.statistic("cache_file_size") == 64)
            #expect(unlink(daemon.mountPoint + "/stats") == 0)
            #expect(daemon.statistic("http_puts") == 0)
            #expect(daemon.statistic("block_cache_current_size") == 1)
        }
    }

    @Test("--readOnly reads, and refuses to write, truncate or be written by the uploader")
    func readOnly() throws {
        let daemon = try MountedDaemon("readonly")
        defer { daemon.remove() }
        let block = Data(repeating: 9, count: Self.block)
        try block.write(to: URL(fileURLWithPath: daemon.store + "/00000003"))
        try daemon.start(Self.options + ["--readOnly", "--blockCacheFile=\(daemon.cache)"])
        #expect(try contents(daemon.file, at: 3 * Self.block, count: 3) == [9, 9, 9])
        #expect(open(daemon.file, O_RDWR) == -1 && errno == EROFS)
        #expect(truncate(daemon.file, 0) == -1 && errno == EROFS)
        var info = stat()
        #expect(stat(daemon.file, &info) == 0 && info.st_mode == S_IFREG | 0o400)
        #expect(try daemon.unmount() == 0)
        #expect(try daemon.blockNames() == ["00000003"])
    }

    // MARK: Content

    @Test(
        "random writes are read back, through the page cache and past it", arguments: [false, true])
    func readYourWrites(isDirect: Bool) throws {
        try with("rw", ["--blockCacheWriteDelay=10"]) { daemon in
            var random = SeededRandom(seed: 11)
            var model = [UInt8](repeating: 0, count: Self.size)
            let oDirect: Int32 = isDirect ? 0o40000 : 0
            let fd = open(daemon.file, O_RDWR | oDirect)
            try #require(fd >= 0)
            defer { close(fd) }
            let memory = UnsafeMutableRawPointer.allocate(byteCount: 1 << 20, alignment: 4096)
            defer { memory.deallocate() }
            for number in 0..<600 {
                var at = Int(random.next() % UInt64(Self.size - (1 << 19)))
                var count = 1 + Int(random.next() % (number % 10 == 0 ? 1 << 19 : 9000))
                if isDirect {
                    at = at / 512 * 512
                    count = max(512, count / 512 * 512)
                }
                if random.next() % 2 == 0 {
                    memset(memory, Int32(random.next() % 256), count)
                    try #require(pwrite(fd, memory, count, at) == count)
                    model.replaceSubrange(
                        at..<at + count,
                        with: UnsafeRawBufferPointer(start: memory, count: count))
                    if random.next() % 8 == 0 { try #require(fsync(fd) == 0) }
                } else {
                    try #require(pread(fd, memory, count, at) == count)
                    let isSame = model.withUnsafeBytes {
                        memcmp($0.baseAddress! + at, memory, count) == 0
                    }
                    try #require(isSame, "operation \(number): wrong bytes at \(at), \(count)")
                }
            }
            #expect(try daemon.unmountAfterClosing(fd) == 0)
            #expect(try storeImage(daemon) == model)
        }
    }

    private func storeImage(_ daemon: MountedDaemon) throws -> [UInt8] {
        var image = [UInt8](repeating: 0, count: Self.size)
        for name in try daemon.blockNames() {
            let number = try #require(Int(name, radix: 16), "\(name) in the store")
            let bytes = try #require(
                FileManager.default.contents(atPath: daemon.store + "/" + name))
            try #require(bytes.count == Self.block)
            image.replaceSubrange(number * Self.block..<(number + 1) * Self.block, with: bytes)
        }
        return image
    }

    @Test("without a cache file fsync waits for the store, and an unmount leaves all of it there")
    func memory() throws {
        try with("memory", ["--blockCacheWriteDelay=60000"], hasCache: false) { daemon in
            let bytes = [UInt8](repeating: 5, count: Self.block)
            try put(bytes, daemon.file, at: Self.block)
            #expect(FileManager.default.contents(atPath: daemon.store + "/00000001") == Data(bytes))
            try put(bytes, daemon.file, at: 8 * Self.block, sync: false)
            #expect(!FileManager.default.fileExists(atPath: daemon.store + "/00000008"))
            #expect(try daemon.unmount() == 0)
            #expect(FileManager.default.contents(atPath: daemon.store + "/00000008") == Data(bytes))
        }
    }

    @Test("reading a disk of nothing fills no cache")
    func holes() throws {
        let daemon = try MountedDaemon("holes")
        defer { daemon.remove() }
        try daemon.start([
            "--size=3g", "--blockSize=1m", "--blockCacheSize=16",
            "--blockCacheFile=\(daemon.cache)",
        ])
        let fd = open(daemon.file, O_RDONLY)
        try #require(fd >= 0)
        var buffer = [UInt8](repeating: 1, count: 1 << 20)
        for number in 0..<3072 {
            try #require(pread(fd, &buffer, buffer.count, number << 20) == buffer.count)
            if number % 512 == 0 { #expect(buffer.allSatisfy { $0 == 0 }) }
        }
        #expect(daemon.statistic("block_cache_current_size") == 0)
        #expect(daemon.statistic("http_zero_blocks_read") == 3072)
        #expect(try daemon.unmountAfterClosing(fd) == 0)
    }

    @Test("ext4 on a loop device takes verified random writes, and e2fsck finds nothing")
    func ext4() throws {
        let daemon = try MountedDaemon("ext4")
        defer { daemon.remove() }
        try daemon.start([
            "--size=256m", "--blockSize=64k", "--blockCacheSize=1024",
            "--blockCacheWriteDelay=50", "--blockCacheFile=\(daemon.cache)",
        ])
        func must(_ program: String, _ arguments: String...) throws {
            let found = try run(program, arguments)
            try #require(found.status == 0, "\(program) \(arguments): \(found.output)")
        }
        let tree = daemon.root + "/tree"
        try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: true)
        try must("/usr/sbin/mkfs.ext4", "-q", daemon.file)
        try must("/usr/bin/mount", "-o", "loop", daemon.file, tree)
        defer { umount2(tree, Int32(MNT_DETACH)) }
        try must(
            "/usr/bin/fio", "--name=v", "--directory=\(tree)", "--rw=randwrite", "--size=24m",
            "--bsrange=512-64k", "--bs_unaligned", "--ioengine=psync", "--numjobs=3", "--fsync=32",
            "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--verify_state_save=0",
            "--end_fsync=1")
        try must("/usr/bin/umount", tree)
        try must("/usr/sbin/e2fsck", "-fn", daemon.file)
        #expect(try daemon.unmount() == 0)
    }
}
