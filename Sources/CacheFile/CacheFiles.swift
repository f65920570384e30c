import FileIO

/// What is known of the process that holds a cache file.
public struct CacheHolder: Sendable {
    /// It serves a mount; otherwise it is starting or stopping.
    public let isServing: Bool
    /// As it wrote down when it opened the file: process id and mount point.
    public let mounter: String
    public let host: String
}

/// A cache file that no other process can open, before its session begins.
public struct LockedCacheFile: Sendable {
    let file: PosixFile
    /// As the session before left it.
    let superblock: Superblock

    /// 16 bytes, zero when the file was made for a volume without.
    public var volumeUUID: [UInt8] { superblock.volumeUUID }
    public var blockSize: Int { Int(superblock.blockSize) }
    public var volumeBlocks: UInt64 { superblock.volumeBlocks }
    public var slotCount: Int { Int(superblock.slotCount) }
    /// Value of the mount token of the session before; 0: none.
    public var mountToken: UInt64 { superblock.mountToken }

    /// Throws what opening the file for this volume would: `.otherVolume`, `.otherBlockSize`,
    /// `.otherSize`.
    public func check(_ identity: VolumeIdentity) throws(CacheFileError) {
        try Binding.check(superblock, identity)
    }
}

/// Cache files by path: create, open, look into.
public enum CacheFiles {
    /// Creates a cache file; appears under `path` only when complete. Mode 0600.
    ///
    /// - Parameter ringBytes: nil for the usual size.
    /// - Throws: `.exists`, `.noSpace` with the bytes needed, `.invalid`, or an I/O error; nothing
    ///   is left behind.
    /// - Blocks: yes, until everything is durable.
    public static func create(
        _ path: String, identity: VolumeIdentity, slots: Int, info: SessionInfo,
        ringBytes: Int? = nil
    ) throws(CacheFileError) {
        let geometry = try LayoutRequest(
            blockSize: identity.blockSize, volumeBlocks: identity.volumeBlocks, slots: slots,
            ringBytes: ringBytes
        ).layOut()
        let file = try io { () throws(FileError) in try PosixFile.createUnlinked(for: path) }
        let freeBytes = file.freeBytes
        do {
            try Creation.format(file, geometry: geometry, identity: identity, info: info)
            try io { () throws(FileError) in try file.link(as: path) }
        } catch {
            file.discard()
            if error.kind == .noSpace {
                throw CacheFileError(
                    .noSpace, "needs \(geometry.fileSize) bytes and \(freeBytes) are free")
            }
            throw error
        }
        try io { () throws(FileError) in try PosixFile.flushDirectory(of: path) }
    }

    /// Opens and locks a file without a session, to see what it belongs to. Throws `.locked` when
    /// in use.
    public static func lock(_ path: String) throws(CacheFileError) -> LockedCacheFile {
        let file = try io { () throws(FileError) in
            let file = try PosixFile.open(path, readOnly: false)
            try file.lock(exclusive: true)
            return file
        }
        return LockedCacheFile(file: file, superblock: try SuperblockSet.read(file).current)
    }

    /// Recovers a locked file and begins a session.
    /// - Parameter identity: nil where nothing is done that depends on the volume.
    public static func open(
        _ locked: LockedCacheFile, identity: VolumeIdentity?, info: SessionInfo
    ) throws(CacheFileError) -> OpenedCache {
        let cache = try SessionStart.open(locked.file, identity: identity, info: info)
        cache.warnings += warnings(locked.file)
        return cache
    }

    /// Locks, recovers and begins a session. Throws `.locked` when in use.
    public static func open(
        _ path: String, identity: VolumeIdentity, info: SessionInfo
    ) throws(CacheFileError) -> OpenedCache {
        try open(lock(path), identity: identity, info: info)
    }

    /// The same engine on a file in memory.
    public static func openInMemory(
        identity: VolumeIdentity, slots: Int, info: SessionInfo
    ) throws(CacheFileError) -> OpenedCache {
        let geometry = try LayoutRequest(
            blockSize: identity.blockSize, volumeBlocks: identity.volumeBlocks, slots: slots
        ).layOut()
        let file = try io { () throws(FileError) in try PosixFile.inMemory("s3backer-cache") }
        try Creation.format(file, geometry: geometry, identity: identity, info: info)
        return try SessionStart.open(file, identity: identity, info: info, isVolatile: true)
    }

    /// Who has the file. Meaningful while it is locked.
    public static func holder(_ path: String) -> CacheHolder? {
        guard let file = try? PosixFile.open(path, readOnly: true),
            let set = try? SuperblockSet.read(file)
        else { return nil }
        return CacheHolder(
            isServing: file.isServedElsewhere(), mounter: set.current.mounter,
            host: set.current.host)
    }

    private static func warnings(_ file: PosixFile) -> [String] {
        var found: [String] = []
        if !file.hasDirect {
            found.append("the cache file's file system has no O_DIRECT: fsync will be slow")
        }
        switch file.fileSystemType {
        case 0x6969: found.append("the cache file is on NFS: locks and flushes may not hold")
        case 0x0102_1994: found.append("the cache file is on tmpfs: it does not survive a reboot")
        case 0x9123_683e, 0x2fc1_2fc1:
            found.append("the cache file is on a copy-on-write file system: space is not reserved")
        default: break
        }
        return found
    }
}
