import BlockStore
import FileIO
import Glibc
import Testing

/// A directory that is removed with everything in it when the test ends.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/s3backer-store-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { Self.remove(path) }

    private static func remove(_ path: String) {
        chmod(path, 0o700)
        for name in names(path) {
            let inner = path + "/" + name
            if unlink(inner) != 0 { remove(inner) }
        }
        rmdir(path)
    }

    static func names(_ path: String) -> [String] {
        guard let stream = opendir(path) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    var names: [String] { Self.names(path) }

    func write(_ name: String, _ bytes: [UInt8], ageSeconds: Int = 0) throws {
        let file = path + "/" + name
        let fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        try #require(fd >= 0)
        #expect(Glibc.write(fd, bytes, bytes.count) == bytes.count)
        let when = timespec(tv_sec: time(nil) - ageSeconds, tv_nsec: 0)
        #expect(futimens(fd, [when, when]) == 0)
        close(fd)
    }

    func read(_ name: String) throws -> [UInt8] {
        let fd = open(path + "/" + name, O_RDONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = Glibc.read(fd, &bytes, bytes.count)
        return Array(bytes[0..<count])
    }
}

private let size = 4096

private func pattern(_ seed: UInt8) -> [UInt8] {
    (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) ^ seed }
}

extension DirectoryStore {
    fileprivate func put(_ block: UInt64, bytes: [UInt8]) throws(StoreError) -> ObjectVersion {
        let buffer = AlignedBuffer(bytes.count)
        buffer.mutableBytes.copyBytes(from: bytes)
        return try put(block, buffer.bytes)
    }

    fileprivate func get(_ block: UInt64) throws(StoreError) -> (ObjectVersion, [UInt8]) {
        let buffer = AlignedBuffer(blockSize)
        memset(buffer.base, 0xee, blockSize)
        let version = try get(block, into: buffer.mutableBytes)
        return (version, Array(buffer.bytes))
    }
}

@Suite struct DirectoryStoreTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    func open(prefix: String = "") throws -> DirectoryStore {
        try DirectoryStore(directory: directory.path, prefix: prefix, blockSize: size)
    }

    @Test("a block is a file of mode 0600 with exactly its bytes")
    func layout() throws {
        let store = try open()
        _ = try store.put(0, bytes: pattern(1))
        _ = try store.put(0xfedc_ba98, bytes: pattern(2))
        #expect(directory.names == ["00000000", "fedcba98"])
        #expect(try directory.read("00000000") == pattern(1))
        #expect(try directory.read("fedcba98") == pattern(2))
        var info = stat()
        #expect(stat(directory.path + "/00000000", &info) == 0)
        #expect(info.st_mode & 0o7777 == 0o600)
    }

    @Test("a change on condition happens only to the version it names")
    func conditions() throws {
        let store = try open()
        let bytes = AlignedBuffer(size)
        memset(bytes.base, 1, size)
        func conflict(_ body: () throws(StoreError) -> Void) -> Bool {
            do { try body() } catch { return error.kind == .conflict }
            return false
        }
        let first = try store.put(1, bytes.bytes, replacing: .absent).version
        #expect(
            conflict { () throws(StoreError) in
                _ = try store.put(1, bytes.bytes, replacing: .absent)
            })
        memset(bytes.base, 2, size)
        let second = try store.put(1, bytes.bytes, replacing: first).version
        #expect(second != first)
        #expect(
            conflict { () throws(StoreError) in
                _ = try store.put(1, bytes.bytes, replacing: first)
            })
        #expect(conflict { () throws(StoreError) in _ = try store.delete(1, replacing: first) })
        #expect(try store.head(1) == second)
        #expect(directory.names == ["00000001"])
        #expect(try store.delete(1, replacing: second) == StoreOutcome(.absent))
        #expect(try store.head(1) == .absent)
    }

    @Test("get, head and put agree on the version, which is the MD5 of the content")
    func version() throws {
        let store = try open()
        let bytes = pattern(3)
        let expected = ObjectVersion.tag(bytes.withUnsafeBytes { Digest.hex(Digest.md5($0)) })
        #expect(try store.put(5, bytes: bytes) == expected)
        #expect(try store.head(5) == expected)
        let (version, content) = try store.get(5)
        #expect(version == expected)
        #expect(content == bytes)
    }

    @Test("an absent block is said to be absent and leaves the target alone")
    func absent() throws {
        let store = try open()
        let (version, content) = try store.get(9)
        #expect(version == .absent)
        #expect(content == [UInt8](repeating: 0xee, count: size))
        #expect(try store.head(9) == .absent)
        #expect(directory.names.isEmpty)
    }

    @Test("a block of zeros that is put is a file like any other")
    func zeros() throws {
        let store = try open()
        _ = try store.put(1, bytes: [UInt8](repeating: 0, count: size))
        #expect(directory.names == ["00000001"])
    }

    @Test("overwriting leaves one file with the new bytes")
    func overwrite() throws {
        let store = try open()
        for seed in 0..<5 { _ = try store.put(7, bytes: pattern(UInt8(seed))) }
        #expect(directory.names == ["00000007"])
        #expect(try store.get(7).1 == pattern(4))
    }

    @Test("deleting twice succeeds twice")
    func delete() throws {
        let store = try open()
        _ = try store.put(2, bytes: pattern(1))
        try store.delete(2)
        try store.delete(2)
        #expect(directory.names.isEmpty)
        #expect(try store.get(2).0 == .absent)
    }

    @Test("a file of the wrong length is damage, named by block and file", arguments: [0, 1, 4097])
    func wrongLength(length: Int) throws {
        let store = try open()
        try directory.write("0000000a", [UInt8](repeating: 1, count: length))
        for operation in [{ _ = try store.get(10) }, { _ = try store.head(10) }] {
            let error = try #require(throws: StoreError.self) { try operation() }
            #expect(error.kind == .damaged)
            #expect(error.block == 10)
            #expect(
                error.message
                    == "block 10: \(directory.path)/0000000a has \(length) bytes instead of 4096")
        }
        // It can be replaced and removed like any other.
        _ = try store.put(10, bytes: pattern(1))
        #expect(try store.get(10).1 == pattern(1))
    }

    @Test("other names in the directory are neither read nor touched")
    func hostileNames() throws {
        let others = [
            "0000001", "000000010", "0000000A", "00000001.abc", "00000001.abcdef.x",
            "00000001-abcdef", "x00000001", "s3backer-mounted", "00000001.abc/ef".prefix(12) + "-f",
        ].map { String($0) }
        for name in others { try directory.write(name, [1], ageSeconds: 1_000_000) }
        let store = try open()
        #expect(try store.get(1).0 == .absent)
        #expect(directory.names == others.sorted())
    }

    @Test("a directory or a pipe in place of a block is damage, not a hang")
    func strangeFiles() throws {
        let store = try open()
        #expect(mkdir(directory.path + "/00000001", 0o700) == 0)
        #expect(mkfifo(directory.path + "/00000002", 0o600) == 0)
        for block: UInt64 in [1, 2] {
            let error = try #require(throws: StoreError.self) { try store.get(block) }
            #expect(error.kind == .damaged)
        }
        let error = try #require(throws: StoreError.self) {
            try store.put(1, bytes: pattern(1))
        }
        #expect(error.kind == .permanent)
        #expect(directory.names == ["00000001", "00000002"])
    }

    @Test("old temporary files of a crash are removed at open, fresh ones stay")
    func leftovers() throws {
        try directory.write("00000001.aB3xyz", [1], ageSeconds: 100_000)
        try directory.write("00000002.aB3xyz", [1], ageSeconds: 10)
        try directory.write("p00000001.aB3xyz", [1], ageSeconds: 100_000)
        let store = try open()
        #expect(directory.names == ["00000002.aB3xyz", "p00000001.aB3xyz"])
        #expect(try store.get(2).0 == .absent)
    }

    @Test("without permission to clean, temporary files stay")
    func leftoversKept() throws {
        try directory.write("00000001.aB3xyz", [1], ageSeconds: 100_000)
        _ = try DirectoryStore(
            directory: directory.path, blockSize: size, removeLeftovers: false)
        #expect(directory.names == ["00000001.aB3xyz"])
    }

    @Test("a prefix stands before the number and keeps volumes apart")
    func prefix() throws {
        let one = try open(prefix: "pp")
        let two = try open()
        _ = try one.put(1, bytes: pattern(1))
        #expect(directory.names == ["pp00000001"])
        #expect(try two.get(1).0 == .absent)
    }

    @Test("names with a hash, as the real s3backer has them")
    func hashed() throws {
        let one = try DirectoryStore(
            directory: directory.path, prefix: "p", isHashed: true, blockSize: size)
        _ = try one.put(1, bytes: pattern(1))
        _ = try one.put(5, bytes: pattern(5))
        #expect(directory.names == ["p6a03ab82-00000005", "pd211cad9-00000001"])
        #expect(try one.get(5).1 == pattern(5))
        let names = [
            "pd211cad9-00000001.aB3xyz", "p00000001.aB3xyz", "pd211cad9-00000002.aB3xyz",
        ]
        for name in names { try directory.write(name, [1], ageSeconds: 100_000) }
        _ = try DirectoryStore(
            directory: directory.path, prefix: "p", isHashed: true, blockSize: size)
        #expect(directory.names.count == 4 && !directory.names.contains(names[0]))
    }

    @Test("a list has the blocks and nothing else", arguments: [true, false])
    func listing(isHashed: Bool) throws {
        let store = try DirectoryStore(
            directory: directory.path, isHashed: isHashed, blockSize: size, blockCount: 3000)
        func list(_ part: ListPart) throws -> [[ListedBlock]] {
            var pages: [[ListedBlock]] = []
            try store.list(part) {
                pages.append($0)
                return true
            }
            return pages
        }
        #expect(try list(.all).isEmpty)
        let keys = BlockKeys(prefix: "", isHashed: isHashed)
        for block in 0..<2500 { try directory.write(keys.key(UInt64(block)), [1, 2]) }
        for name in ["00000bb8", "0000000A", "x", "00000001.aB3xyz", "c448b72c-00000001"] {
            try directory.write(name, [1])
        }
        let pages = try list(.all)
        #expect(pages.map(\.count) == [1000, 1000, 500])
        #expect(pages.flatMap { $0 }.map(\.block).sorted() == Array(0..<2500))
        #expect(pages.allSatisfy { $0.allSatisfy { $0.byteCount == 2 && $0.version == nil } })
        #expect(try list(ListPart(0, of: 3)) == pages && list(ListPart(1, of: 3)).isEmpty)
        var first = 0
        try store.list(.all) {
            first += $0.count
            return false
        }
        #expect(first == 1000)
    }

    @Test("a prefix with a slash needs its directory")
    func prefixDirectory() throws {
        let error = try #require(throws: StoreError.self) { try open(prefix: "sub/p") }
        #expect(
            error.message
                == "store directory \(directory.path)/sub does not exist; create it first")
        #expect(mkdir(directory.path + "/sub", 0o700) == 0)
        _ = try open(prefix: "sub/p").put(1, bytes: pattern(1))
        #expect(TemporaryDirectory.names(directory.path + "/sub") == ["p00000001"])
    }

    @Test("a missing directory and a file in its place are told apart")
    func noDirectory() throws {
        let missing = try #require(throws: StoreError.self) {
            try DirectoryStore(directory: directory.path + "/none", blockSize: size)
        }
        #expect(missing.message.hasSuffix("/none does not exist; create it first"))
        try directory.write("file", [1])
        let file = try #require(throws: StoreError.self) {
            try DirectoryStore(directory: directory.path + "/file", blockSize: size)
        }
        #expect(file.message.hasSuffix("/file is not a directory"))
        #expect(file.kind == .permanent)
    }

    @Test("a directory that vanished is a permanent error that names block and file")
    func unwritable() throws {
        let store = try open()
        #expect(rmdir(directory.path) == 0)
        let error = try #require(throws: StoreError.self) { try store.put(3, bytes: pattern(1)) }
        #expect(error.kind == .permanent)
        #expect(error.message.hasPrefix("block 3: cannot create \(directory.path)/00000003."))
        #expect(error.message.hasSuffix(": No such file or directory"))
    }

    /// Root may write everywhere but on a read-only file system; others need only lack the right.
    @Test("a directory that cannot be written says so")
    func denied() throws {
        let isRoot = geteuid() == 0
        if isRoot {
            try #require(mount("none", directory.path, "tmpfs", UInt(MS_RDONLY), nil) == 0)
        } else {
            #expect(chmod(directory.path, 0o500) == 0)
        }
        defer { if isRoot { umount2(directory.path, Int32(MNT_DETACH)) } }
        let store = try open()
        let error = try #require(throws: StoreError.self) { try store.put(3, bytes: pattern(1)) }
        #expect(error.kind == .permanent)
        let reason = isRoot ? ": Read-only file system" : ": Permission denied"
        #expect(error.message.hasSuffix(reason), "\(error.message)")
    }
}
