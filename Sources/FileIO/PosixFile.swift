import CSys
import Glibc

/// A file of the operating system, opened once for cached and once for direct transfers.
///
/// Both descriptors are closed when the object goes away; the lock (if taken) is given up then, and
/// so lasts until the last I/O ended.
public final class PosixFile: FileIO {
    public let path: String
    public let isReadOnly: Bool
    /// False where the file system refuses `O_DIRECT`: direct transfers then use the page cache.
    public let hasDirect: Bool

    private let isMemory: Bool
    private let cachedFD: Int32
    private let directFD: Int32
    /// Only touched by the thread that creates the file.
    private nonisolated(unsafe) var isUnlinked = false
    private nonisolated(unsafe) var isLinked = false
    /// Set before other threads have the file.
    private nonisolated(unsafe) var isDroppingPages = false

    /// The exclusive lock covers the first superblock; the second range tells "serving a mount".
    private static let lockRange: (start: Int, length: Int) = (0, 4096)
    private static let servingRange: (start: Int, length: Int) = (4096, 1)

    private init(
        path: String, cachedFD: Int32, directFD: Int32, isReadOnly: Bool, isMemory: Bool = false
    ) {
        self.isMemory = isMemory
        self.path = path
        self.cachedFD = cachedFD
        self.directFD = directFD
        self.hasDirect = directFD != cachedFD
        self.isReadOnly = isReadOnly
        // Nobody asks when a cache was read; the kernel need not look at it with each read.
        csys_no_atime(cachedFD)
    }

    deinit {
        // A process that is just being started has copies of the descriptors until it runs its
        // program, and the locks with them unless they are given up here. A daemon opens its files
        // after the fork, so none of these locks is a child's.
        _ = csys_ofd_lock(cachedFD, Int16(F_UNLCK), 0, 0)
        if directFD != cachedFD { close(directFD) }
        close(cachedFD)
    }

    /// Opens an existing regular file. Throws `.missing`, `.denied` or `.io`.
    public static func open(_ path: String, readOnly: Bool) throws(FileError) -> PosixFile {
        let flags = (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
        return try make(path, flags: flags, mode: 0, readOnly: readOnly)
    }

    /// Creates a file with mode 0600. Throws `.exists` when there is one.
    public static func create(_ path: String) throws(FileError) -> PosixFile {
        let flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC
        return try make(path, flags: flags, mode: 0o600, readOnly: false)
    }

    /// A new file in the directory of `path` that has no name until `link(as:)`, so that a creation
    /// cut short leaves nothing. Where the file system cannot do that, the file has its name at once.
    public static func createUnlinked(for path: String) throws(FileError) -> PosixFile {
        var info = stat()
        if lstat(path, &info) == 0 { throw FileError(.exists, "\(path) exists", errno: EEXIST) }
        let fd = Glibc.open(parent(of: path), csys_o_tmpfile() | O_RDWR | O_CLOEXEC, 0o600)
        if fd < 0 {
            if errno == ENOENT || errno == EACCES || errno == EROFS || errno == ENOTDIR {
                throw sysError("cannot create \(path)")
            }
            return try create(path)
        }
        let direct = Glibc.open("/proc/self/fd/\(fd)", O_RDWR | O_CLOEXEC | csys_o_direct())
        let file = PosixFile(
            path: path, cachedFD: fd, directFD: direct < 0 ? fd : direct, isReadOnly: false)
        file.isUnlinked = true
        return file
    }

    /// Gives a file from `createUnlinked` its name. Throws `.exists` when there is one by now.
    public func link(as path: String) throws(FileError) {
        guard isUnlinked else { return }
        let source = "/proc/self/fd/\(cachedFD)"
        if linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0 {
            throw Self.sysError("cannot create \(path)")
        }
        isUnlinked = false
        isLinked = true
    }

    /// Removes a file from `createUnlinked` whose creation failed.
    public func discard() {
        if !isUnlinked && !isLinked { unlink(path) }
    }

    /// Bytes that an unprivileged user may still allocate on the file system.
    public var freeBytes: Int {
        var info = statvfs()
        return fstatvfs(cachedFD, &info) == 0 ? Int(info.f_bavail * info.f_frsize) : 0
    }

    /// A file that lives in memory only and vanishes with the process. C function: `memfd_create`.
    public static func inMemory(_ name: String) throws(FileError) -> PosixFile {
        let fd = csys_memfd(name)
        if fd < 0 { throw sysError("cannot create a memory file") }
        return PosixFile(
            path: name, cachedFD: fd, directFD: fd, isReadOnly: false, isMemory: true)
    }

    private static func make(
        _ path: String, flags: Int32, mode: mode_t, readOnly: Bool
    ) throws(FileError) -> PosixFile {
        let cached = Glibc.open(path, flags, mode)
        if cached < 0 { throw sysError("cannot open \(path)") }
        var info = stat()
        if fstat(cached, &info) != 0 {
            let error = sysError("cannot examine \(path)")
            close(cached)
            throw error
        }
        if info.st_mode & S_IFMT != S_IFREG {
            close(cached)
            throw FileError(.io, "\(path) is not a regular file")
        }
        let directFlags = (flags & ~(O_CREAT | O_EXCL)) | csys_o_direct()
        let direct = Glibc.open(path, directFlags)
        return PosixFile(
            path: path, cachedFD: cached, directFD: direct < 0 ? cached : direct,
            isReadOnly: readOnly)
    }

    // MARK: Page cache

    /// What was read or has come to the medium does not stay in the page cache from now on. Call
    /// before other threads have the file.
    public func dropPages() { isDroppingPages = !isMemory }

    /// C function: `posix_fadvise(POSIX_FADV_DONTNEED)`; it is advice, so its outcome does not matter.
    private func drop(_ length: Int, at offset: Int) {
        if isDroppingPages { _ = posix_fadvise(cachedFD, offset, length, POSIX_FADV_DONTNEED) }
    }

    // MARK: Transfers

    public func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        let fd = path == .direct ? directFD : cachedFD
        var done = 0
        while done < target.count {
            let got = pread(fd, target.baseAddress! + done, target.count - done, offset + done)
            if got > 0 {
                done += got
            } else if got == 0 {
                throw FileError(
                    .shortFile, "\(self.path) ends before byte \(offset + target.count)")
            } else if errno != EINTR {
                throw Self.sysError("cannot read \(self.path) at byte \(offset + done)")
            }
        }
        if path == .cached { drop(target.count, at: offset) }
    }

    public func write(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath
    ) throws(FileError) {
        let fd = path == .direct ? directFD : cachedFD
        var vectors = pieces.filter { !$0.isEmpty }.map {
            iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count)
        }
        var position = offset
        while !vectors.isEmpty {
            var put = pwritev(fd, vectors, Int32(vectors.count), position)
            if put < 0 {
                if errno == EINTR { continue }
                throw Self.sysError("cannot write \(self.path) at byte \(position)")
            }
            if put == 0 {
                throw FileError(
                    .io, "\(self.path): nothing written at byte \(position)", errno: EIO)
            }
            position += put
            // A short write moves on to what is left; the next call reports why it was short.
            while let first = vectors.first, put >= first.iov_len {
                put -= first.iov_len
                vectors.removeFirst()
            }
            if put > 0, !vectors.isEmpty {
                vectors[0].iov_base += put
                vectors[0].iov_len -= put
            }
        }
    }

    public func writeBack(_ length: Int, at offset: Int) throws(FileError) {
        if isMemory { return }
        while csys_write_back(cachedFD, offset, length) != 0 {
            // Where the file system has no such thing, the next flush takes longer.
            if errno == ENOSYS || errno == EINVAL || errno == ESPIPE { return }
            if errno != EINTR { throw Self.sysError("cannot write back \(path) at byte \(offset)") }
        }
    }

    public func flush() throws(FileError) {
        while fdatasync(cachedFD) != 0 {
            if errno != EINTR { throw Self.sysError("cannot flush \(path)") }
        }
        drop(0, at: 0)
    }

    public func flushAll() throws(FileError) {
        while fsync(cachedFD) != 0 {
            if errno != EINTR { throw Self.sysError("cannot flush \(path)") }
        }
    }

    public func reserve(_ length: Int, at offset: Int) throws(FileError) {
        while csys_fallocate(cachedFD, 0, offset, length) != 0 {
            if errno == EINTR { continue }
            if errno == EOPNOTSUPP {
                if ftruncate(cachedFD, offset + length) == 0 { return }
            }
            throw Self.sysError("cannot reserve \(length) bytes for \(path)")
        }
    }

    public func truncate(to size: Int) throws(FileError) {
        while ftruncate(cachedFD, size) != 0 {
            if errno != EINTR { throw Self.sysError("cannot cut \(path) off at byte \(size)") }
        }
    }

    public func size() throws(FileError) -> Int {
        var info = stat()
        if fstat(cachedFD, &info) != 0 { throw Self.sysError("cannot examine \(path)") }
        return Int(info.st_size)
    }

    // MARK: Locks

    /// Takes the lock that every user of a cache file holds: exclusive to write, shared to look.
    /// Throws `.locked` when another process has it. C function: `fcntl(F_OFD_SETLK)`.
    public func lock(exclusive: Bool) throws(FileError) {
        let type = Int16(exclusive ? F_WRLCK : F_RDLCK)
        if csys_ofd_lock(cachedFD, type, Self.lockRange.start, Self.lockRange.length) != 0 {
            if errno == EAGAIN || errno == EACCES {
                throw FileError(.locked, "\(path) is in use by another process", errno: EAGAIN)
            }
            throw Self.sysError("cannot lock \(path)")
        }
    }

    /// Says to other processes whether this one is serving a mount (true) or starting or stopping.
    public func setServing(_ serving: Bool) {
        let type = Int16(serving ? F_WRLCK : F_UNLCK)
        _ = csys_ofd_lock(cachedFD, type, Self.servingRange.start, Self.servingRange.length)
    }

    /// Whether the process that holds the lock is serving a mount.
    public func isServedElsewhere() -> Bool {
        csys_ofd_conflict(
            cachedFD, Int16(F_WRLCK), Self.servingRange.start, Self.servingRange.length) == 1
    }

    /// Magic number of the file system, as in statfs(2).
    public var fileSystemType: Int { csys_fs_type(cachedFD) }

    // MARK: Errors and names

    /// Makes the entry of `path` in its directory durable. C function: `fsync` of the directory.
    public static func flushDirectory(of path: String) throws(FileError) {
        let directory = parent(of: path)
        let fd = Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if fd < 0 { throw sysError("cannot open \(directory)") }
        defer { close(fd) }
        if fsync(fd) != 0 { throw sysError("cannot flush \(directory)") }
    }

    /// The directory part of a path, "." when there is none.
    public static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// The error that `errno` stands for, with its text appended to `message`.
    public static func sysError(_ message: String) -> FileError {
        let number = errno
        let kind: FileError.Kind
        switch number {
        case ENOENT, ENOTDIR: kind = .missing
        case EEXIST: kind = .exists
        case EACCES, EPERM, EROFS: kind = .denied
        case ENOSPC, EDQUOT, EFBIG: kind = .noSpace
        default: kind = .io
        }
        return FileError(kind, "\(message): \(String(cString: strerror(number)))", errno: number)
    }
}
