import CSys

/// How one transfer reaches the medium.
public enum IOPath: Sendable {
    /// Through the page cache.
    case cached
    /// Past the page cache where the file system can (`O_DIRECT`); offset, length and memory are
    /// multiples of 4096.
    case direct
}

/// Why a file operation failed.
public struct FileError: Error, Sendable, CustomStringConvertible {
    public enum Kind: Sendable {
        case missing, exists, denied, locked, noSpace, shortFile, io
    }

    public let kind: Kind
    public let message: String
    public let errno: Int32

    public init(_ kind: Kind, _ message: String, errno: Int32 = 0) {
        self.kind = kind
        self.message = message
        self.errno = errno
    }

    public var description: String { message }
}

/// One file that holds a cache: the only door to a file descriptor.
///
/// Implementations: `PosixFile` (a real file or a memory file) and, in the tests, a simulated disk
/// that can lose, reorder and tear what was not flushed. Calls may come from any thread.
public protocol FileIO: AnyObject, Sendable {
    /// Fills `target` from `offset`. Throws `.shortFile` when the file ends before.
    /// Blocks: one disk read. C function: `pread`.
    func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError)

    /// Writes the pieces one after the other from `offset`; all bytes or an error.
    /// Blocks: one disk write. C function: `pwritev`.
    func write(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath
    ) throws(FileError)

    /// Starts to bring cached writes of a range to the medium. Makes nothing durable; it only keeps a
    /// later `flush` short. An error counts as one of `write`.
    /// C function: `sync_file_range`.
    func writeBack(_ length: Int, at offset: Int) throws(FileError)

    /// Makes every write that returned before this call durable. After an error the state of those
    /// writes is unknown for ever; the caller must not call again and believe a success.
    /// C function: `fdatasync`.
    func flush() throws(FileError)

    /// Like `flush`, but of the inode too (size, allocation). C function: `fsync`.
    func flushAll() throws(FileError)

    /// Reserves `length` bytes from `offset`, growing the file. C function: `fallocate`.
    func reserve(_ length: Int, at offset: Int) throws(FileError)

    /// Cuts the file off at `size`, which is not above its own. Durable after `flushAll`; until then
    /// a crash may bring the old size back. C function: `ftruncate`.
    func truncate(to size: Int) throws(FileError)

    /// Size in bytes.
    func size() throws(FileError) -> Int
}

extension FileIO {
    /// Where nothing lingers in a page cache there is nothing to do.
    public func writeBack(_ length: Int, at offset: Int) throws(FileError) {}

    public func write(
        _ source: UnsafeRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        try write([source], at: offset, path)
    }
}
