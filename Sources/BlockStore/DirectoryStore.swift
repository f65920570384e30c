import FileIO
import Glibc

/// Blocks as files of a directory, named by `BlockKeys`: the store of `--test DIRECTORY`, with the
/// layout of the real s3backer's.
///
/// A file holds the bytes of one block and nothing else; a block without a file is zeros. A block
/// is replaced by a rename, so a reader sees the old or the new one and a crash leaves one of them.
/// Two programs may share a directory; each sees the last rename.
public final class DirectoryStore: BlockStore {
    public let blockSize: Int
    /// The directory that holds the files, for messages.
    public let directory: String

    private let directoryFD: Int32
    /// Names of the files; their prefix has no slash.
    let keys: BlockKeys
    /// Names of files that are not complete yet: of any number.
    private let allKeys: BlockKeys

    /// A temporary file of a crashed `put` is removed when it is older than this. A `put` under way
    /// takes seconds at most, and another program may be working in the same directory.
    private static let leftoverAgeSeconds = 3600
    private static let suffixLength = 6

    /// Opens the directory, which must exist; makes nothing.
    ///
    /// - Parameters:
    ///   - prefix: Put before each name. With a slash, the directory it names must exist.
    ///   - isHashed: Names have a hash of the number (`--blockHashPrefix`).
    ///   - blockCount: What a listing knows of.
    ///   - removeLeftovers: Remove temporary files that an earlier crash left behind.
    /// - Throws: `.permanent` with one line that says what is wrong with the directory.
    public init(
        directory: String, prefix: String = "", isHashed: Bool = false, blockSize: Int,
        blockCount: UInt64 = BlockKeys.blocksMax, removeLeftovers: Bool = true
    ) throws(StoreError) {
        precondition(blockSize > 0)
        if prefix.utf8.contains(0) || directory.utf8.contains(0) {
            throw StoreError(.permanent, "a directory or prefix cannot contain a zero byte")
        }
        let (inner, name) = Self.split(prefix)
        self.blockSize = blockSize
        self.directory = inner.isEmpty ? directory : directory + "/" + inner
        keys = BlockKeys(prefix: name, isHashed: isHashed, blockCount: blockCount)
        allKeys = BlockKeys(prefix: name, isHashed: isHashed)
        directoryFD = open(self.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if directoryFD < 0 { throw Self.openError(self.directory, number: errno) }
        if removeLeftovers { removeOldLeftovers() }
    }

    deinit { if directoryFD >= 0 { close(directoryFD) } }

    // MARK: Operations

    public func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        precondition(target.count == blockSize)
        guard try readBlock(block, into: target) else { return .absent }
        return Self.version(of: UnsafeRawBufferPointer(target))
    }

    /// Reads the whole file: the version is the digest of the content.
    public func head(_ block: UInt64) throws(StoreError) -> ObjectVersion {
        let buffer = AlignedBuffer(blockSize)
        guard try readBlock(block, into: buffer.mutableBytes) else { return .absent }
        return Self.version(of: buffer.bytes)
    }

    /// Compared right before the rename, not in one step with it: enough to notice a directory that
    /// others have changed, not to share it.
    public var honorsConditions: Bool { true }
    public var lateMs: UInt64 { 0 }

    private func expect(_ version: ObjectVersion?, _ block: UInt64) throws(StoreError) {
        guard let version, try head(block) != version else { return }
        throw StoreError(
            .conflict, "block \(block): the directory has another version", block: block)
    }

    public func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?,
        _ hints: PutHints
    ) throws(StoreError) -> StoreOutcome {
        precondition(source.count == blockSize)
        let name = name(of: block)
        let (fd, temporary) = try createTemporary(for: name, block: block)
        do throws(StoreError) {
            defer { close(fd) }
            try writeAll(source, fd, name: temporary, block: block)
            try expect(replacing, block)
        } catch {
            unlinkat(directoryFD, temporary, 0)
            throw error
        }
        if renameat(directoryFD, temporary, directoryFD, name) != 0 {
            let error = sysError("cannot rename \(path(temporary)) to \(name)", block: block)
            unlinkat(directoryFD, temporary, 0)
            throw error
        }
        try flushDirectory(block: block)
        return StoreOutcome(Self.version(of: source))
    }

    public func delete(
        _ block: UInt64, replacing: ObjectVersion?
    ) throws(StoreError) -> StoreOutcome {
        try expect(replacing, block)
        let name = name(of: block)
        if unlinkat(directoryFD, name, 0) != 0 {
            if errno == ENOENT { return StoreOutcome(.absent) }
            throw sysError("cannot remove \(path(name))", block: block)
        }
        try flushDirectory(block: block)
        return StoreOutcome(.absent)
    }

    // MARK: Names

    /// The name of the file that holds a block.
    func name(of block: UInt64) -> String { keys.key(block) }

    /// Whether a name is one that `put` gives a file before it is complete.
    func isTemporaryName(_ name: String) -> Bool {
        let bytes = name.utf8
        let suffix = bytes.suffix(Self.suffixLength)
        let rest = bytes.dropLast(Self.suffixLength)
        return rest.last == 0x2e && allKeys.block(of: rest.dropLast()) != nil
            && suffix.allSatisfy { Self.suffixAlphabet.contains($0) }
    }

    private static let suffixAlphabet = Array(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".utf8)

    private static func split(_ prefix: String) -> (directory: String, name: String) {
        guard let slash = prefix.lastIndex(of: "/") else { return ("", prefix) }
        return (String(prefix[..<slash]), String(prefix[prefix.index(after: slash)...]))
    }

    private func path(_ name: String) -> String { directory + "/" + name }

    private static func version(of bytes: UnsafeRawBufferPointer) -> ObjectVersion {
        .tag(Digest.hex(Digest.md5(bytes)))
    }

    // MARK: Files

    /// Returns false when there is no such file; then `target` is untouched.
    private func readBlock(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> Bool {
        let name = name(of: block)
        // Not to hang on a pipe that somebody put there.
        let fd = openat(directoryFD, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        if fd < 0 {
            if errno == ENOENT { return false }
            throw sysError("cannot open \(path(name))", block: block)
        }
        defer { close(fd) }
        var info = stat()
        if fstat(fd, &info) != 0 { throw sysError("cannot examine \(path(name))", block: block) }
        if info.st_mode & S_IFMT != S_IFREG {
            throw damaged(block, "\(path(name)) is not a regular file")
        }
        if Int(info.st_size) != blockSize {
            throw damaged(
                block, "\(path(name)) has \(info.st_size) bytes instead of \(blockSize)")
        }
        var done = 0
        while done < blockSize {
            let got = pread(fd, target.baseAddress! + done, blockSize - done, done)
            if got > 0 {
                done += got
            } else if got == 0 {
                throw damaged(block, "\(path(name)) became shorter while it was read")
            } else if errno != EINTR {
                throw sysError("cannot read \(path(name))", block: block)
            }
        }
        return true
    }

    private func createTemporary(
        for name: String, block: UInt64
    ) throws(StoreError) -> (fd: Int32, name: String) {
        let attemptsMax = 100
        for _ in 0..<attemptsMax {
            let suffix = SystemRandom.bytes(Self.suffixLength).map {
                Self.suffixAlphabet[Int($0) % Self.suffixAlphabet.count]
            }
            let temporary = name + "." + String(decoding: suffix, as: UTF8.self)
            let flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW
            let fd = openat(directoryFD, temporary, flags, 0o600)
            if fd >= 0 { return (fd, temporary) }
            if errno != EEXIST && errno != EINTR {
                throw sysError("cannot create \(path(temporary))", block: block)
            }
        }
        throw StoreError(
            .temporary, "cannot find a free temporary name for \(path(name))", block: block)
    }

    private func writeAll(
        _ source: UnsafeRawBufferPointer, _ fd: Int32, name: String, block: UInt64
    ) throws(StoreError) {
        var done = 0
        while done < source.count {
            let put = write(fd, source.baseAddress! + done, source.count - done)
            if put > 0 {
                done += put
            } else if put == 0 || errno != EINTR {
                throw sysError("cannot write \(path(name))", block: block)
            }
        }
        while fdatasync(fd) != 0 {
            if errno != EINTR { throw sysError("cannot flush \(path(name))", block: block) }
        }
    }

    private func flushDirectory(block: UInt64) throws(StoreError) {
        while fsync(directoryFD) != 0 {
            if errno != EINTR { throw sysError("cannot flush \(directory)", block: block) }
        }
    }

    /// Errors are of no consequence: such a file is never read.
    private func removeOldLeftovers() {
        let oldest = time(nil) - Self.leftoverAgeSeconds
        _ = forEachName { name in
            guard isTemporaryName(name) else { return true }
            var info = stat()
            guard fstatat(directoryFD, name, &info, AT_SYMLINK_NOFOLLOW) == 0 else { return true }
            if info.st_mode & S_IFMT == S_IFREG && info.st_mtim.tv_sec < oldest {
                unlinkat(directoryFD, name, 0)
            }
            return true
        }
    }

    /// - Parameter body: returns false to stop.
    /// - Returns: an error number, or 0.
    private func forEachName(_ body: (String) -> Bool) -> Int32 {
        let listFD = openat(directoryFD, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard listFD >= 0 else { return errno }
        guard let stream = fdopendir(listFD) else {
            defer { close(listFD) }
            return errno
        }
        defer { closedir(stream) }
        while true {
            errno = 0
            guard let entry = readdir(stream) else { return errno }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !body(name) { return 0 }
        }
    }

    // MARK: Listing

    /// The first part is the whole directory: reading it once for each would take longer. Versions
    /// are not told, being digests of the content.
    public func list(
        _ part: ListPart, _ page: ([ListedBlock]) -> Bool
    ) throws(StoreError) {
        guard part.index == 0 else { return }
        var found: [ListedBlock] = []
        var isStopped = false
        let number = forEachName { name in
            guard let block = keys.block(of: name.utf8) else { return true }
            var info = stat()
            guard fstatat(directoryFD, name, &info, 0) == 0 else { return true }
            found.append(
                ListedBlock(block: block, version: nil, byteCount: UInt64(max(0, info.st_size))))
            guard found.count == Self.listedTogether else { return true }
            isStopped = !page(found)
            found = []
            return !isStopped
        }
        if number != 0 {
            let reason = String(cString: strerror(number))
            throw StoreError(.temporary, "cannot read the directory \(directory): \(reason)")
        }
        if !found.isEmpty && !isStopped { _ = page(found) }
    }

    private static let listedTogether = 1000

    // MARK: Errors

    private func damaged(_ block: UInt64, _ what: String) -> StoreError {
        StoreError(.damaged, "block \(block): \(what)", block: block)
    }

    private func sysError(_ what: String, block: UInt64) -> StoreError {
        let number = errno
        let kind: StoreError.Kind
        switch number {
        case EACCES, EPERM, EROFS, ENOENT, ENOTDIR, EISDIR, ENAMETOOLONG, ELOOP: kind = .permanent
        default: kind = .temporary
        }
        let reason = String(cString: strerror(number))
        return StoreError(kind, "block \(block): \(what): \(reason)", block: block)
    }

    private static func openError(_ directory: String, number: Int32) -> StoreError {
        let what: String
        switch number {
        case ENOENT: what = "does not exist; create it first"
        case ENOTDIR: what = "is not a directory"
        case EACCES, EPERM: what = "cannot be opened: no permission"
        default: what = "cannot be opened: \(String(cString: strerror(number)))"
        }
        return StoreError(.permanent, "store directory \(directory) \(what)")
    }
}
