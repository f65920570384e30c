import FileIO
import Foundation
import Simulation
import TestSupport
import Testing

/// The error's kind, or nil when there was none.
func kind(_ body: () throws(FileError) -> Void) -> FileError.Kind? {
    do {
        try body()
        return nil
    } catch { return error.kind }
}

@Suite("Files of the operating system")
struct PosixFileTests {
    let directory = TemporaryDirectory()

    @Test("what is written is read again, through both doors")
    func roundTrip() throws {
        let file = try PosixFile.create(directory.file("f"))
        try file.reserve(1 << 20, at: 0)
        #expect(try file.size() == 1 << 20)
        var random = SeededRandom(seed: 3)
        for path in [IOPath.cached, .direct] {
            let pieces = (0..<5).map { _ in AlignedBuffer(4096 * (1 + random.below(4))) }
            for piece in pieces { random.fill(piece.mutableBytes) }
            try file.write(pieces.map(\.bytes), at: 8192, path)
            try file.flush()
            let all = AlignedBuffer(pieces.reduce(0) { $0 + $1.count })
            try file.read(into: all.mutableBytes, at: 8192, path)
            #expect(Array(all.bytes) == pieces.flatMap { Array($0.bytes) })
        }
        try file.flushAll()
    }

    @Test("what is read or has come to the medium leaves the page cache, if that is wanted")
    func dropPages() throws {
        let path = directory.file("f")
        let file = try PosixFile.create(path)
        let buffer = AlignedBuffer.zeroed(1 << 20)
        for isWanted in [false, true] {
            if isWanted { file.dropPages() }
            try file.write(buffer.bytes, at: 0, .cached)
            try file.flush()
            #expect((try cachedPages(path, buffer.count) == 0) == isWanted)
            try file.read(into: buffer.mutableBytes, at: 0, .cached)
            #expect((try cachedPages(path, buffer.count) == 0) == isWanted)
        }
    }

    private func cachedPages(_ path: String, _ count: Int) throws -> Int {
        let fd = open(path, O_RDONLY)
        defer { close(fd) }
        let map = try #require(mmap(nil, count, PROT_READ, MAP_SHARED, fd, 0))
        defer { munmap(map, count) }
        var pages = [UInt8](repeating: 0, count: count / 4096)
        try #require(mincore(map, count, &pages) == 0)
        return pages.count { $0 & 1 == 1 }
    }

    @Test("create refuses a name that is taken, open one that is not")
    func names() throws {
        let path = directory.file("f")
        #expect(
            kind { () throws(FileError) in _ = try PosixFile.open(path, readOnly: true) }
                == .missing)
        _ = try PosixFile.create(path)
        #expect(kind { () throws(FileError) in _ = try PosixFile.create(path) } == .exists)
        #expect(
            kind { () throws(FileError) in _ = try PosixFile.createUnlinked(for: path) } == .exists)
        #expect(
            kind { () throws(FileError) in
                _ = try PosixFile.createUnlinked(for: directory.file("no/f"))
            } == .missing)
        var info = stat()
        #expect(stat(path, &info) == 0 && info.st_mode & 0o777 == 0o600)
    }

    @Test("a read beyond the end says that the file is short")
    func shortFile() throws {
        let file = try PosixFile.create(directory.file("f"))
        try file.reserve(4096, at: 0)
        let buffer = AlignedBuffer(8192)
        #expect(
            kind { () throws(FileError) in
                try file.read(into: buffer.mutableBytes, at: 0, .cached)
            } == .shortFile)
    }

    @Test("a file without a name leaves nothing behind; a linked one is complete")
    func unlinked() throws {
        let path = directory.file("f")
        do {
            let file = try PosixFile.createUnlinked(for: path)
            try file.reserve(4096, at: 0)
            file.discard()
        }
        #expect(directory.names.isEmpty)
        let file = try PosixFile.createUnlinked(for: path)
        try file.reserve(4096, at: 0)
        #expect(directory.names.isEmpty)
        try file.link(as: path)
        #expect(directory.names == ["f"])
        try PosixFile.flushDirectory(of: path)
        #expect(try PosixFile.open(path, readOnly: true).size() == 4096)
        let late = try PosixFile.createUnlinked(for: directory.file("g"))
        #expect(kind { () throws(FileError) in try late.link(as: path) } == .exists)
    }

    @Test("locks: one writer or many readers, among descriptions of one process too")
    func locks() throws {
        let path = directory.file("f")
        try PosixFile.create(path).reserve(8192, at: 0)
        var writer: PosixFile? = try PosixFile.open(path, readOnly: false)
        try writer?.lock(exclusive: true)
        let reader = try PosixFile.open(path, readOnly: true)
        #expect(kind { () throws(FileError) in try reader.lock(exclusive: false) } == .locked)
        let second = try PosixFile.open(path, readOnly: false)
        #expect(kind { () throws(FileError) in try second.lock(exclusive: true) } == .locked)
        #expect(!reader.isServedElsewhere())
        writer?.setServing(true)
        #expect(reader.isServedElsewhere())
        writer?.setServing(false)
        #expect(!reader.isServedElsewhere())
        writer = nil
        try reader.lock(exclusive: false)
        try PosixFile.open(path, readOnly: true).lock(exclusive: false)
        #expect(kind { () throws(FileError) in try second.lock(exclusive: true) } == .locked)
    }

    @Test("locks end with their owner, though a process being started has copies of descriptors")
    func copiedDescriptors() throws {
        let path = directory.file("f")
        try PosixFile.create(path).reserve(8192, at: 0)
        var owner: PosixFile? = try PosixFile.open(path, readOnly: false)
        try owner?.lock(exclusive: true)
        owner?.setServing(true)
        // As a child has them between fork and exec.
        let copies = descriptors(of: path).map { dup($0) }
        defer { for copy in copies { close(copy) } }
        #expect(!copies.isEmpty)
        owner = nil
        let next = try PosixFile.open(path, readOnly: false)
        try next.lock(exclusive: true)
        #expect(!next.isServedElsewhere())
    }

    private func descriptors(of path: String) -> [Int32] {
        var wanted = stat()
        guard stat(path, &wanted) == 0 else { return [] }
        return (0..<1024).filter { fd in
            var found = stat()
            return fstat(fd, &found) == 0 && found.st_dev == wanted.st_dev
                && found.st_ino == wanted.st_ino
        }
    }

    @Test("only regular files are opened, and opening never waits")
    func kinds() throws {
        let fifo = directory.file("fifo")
        #expect(mkfifo(fifo, 0o600) == 0)
        for path in [fifo, directory.path, "/dev/null"] {
            #expect(
                kind { () throws(FileError) in _ = try PosixFile.open(path, readOnly: true) } == .io
            )
        }
    }

    @Test("write-back changes nothing that is read, on disk and in memory")
    func writeBack() throws {
        for file in [try PosixFile.create(directory.file("f")), try PosixFile.inMemory("test")] {
            try file.reserve(65536, at: 0)
            let buffer = AlignedBuffer.zeroed(8192)
            buffer.mutableBytes[5000] = 9
            try file.write(buffer.bytes, at: 4096, .cached)
            try file.writeBack(8192, at: 4096)
            let copy = AlignedBuffer(8192)
            try file.read(into: copy.mutableBytes, at: 4096, .direct)
            #expect(copy.bytes[5000] == 9)
        }
    }

    @Test("a memory file works like any other")
    func memory() throws {
        let file = try PosixFile.inMemory("test")
        try file.reserve(65536, at: 0)
        let buffer = AlignedBuffer.zeroed(4096)
        buffer.mutableBytes[7] = 7
        try file.write(buffer.bytes, at: 4096, .direct)
        try file.flush()
        let copy = AlignedBuffer(4096)
        try file.read(into: copy.mutableBytes, at: 4096, .direct)
        #expect(copy.bytes[7] == 7)
    }

    @Test(
        "directory part of a path",
        arguments: [("a", "."), ("/a", "/"), ("/a/b", "/a"), ("a/b/c", "a/b")])
    func parents(path: String, parent: String) {
        #expect(PosixFile.parent(of: path) == parent)
    }
}
