import CFuse
import Glibc

// Names and attributes: everything about the mount that is not the content of its files.

/// Runs `body` with the engine of a request.
///
/// The engine outlives the session, so no retain is needed.
func withEngine(
    _ raw: OpaquePointer?, _ body: (FuseEngine, FuseRequest) -> Void
) {
    guard let raw, let data = fuse_req_userdata(raw) else { return }
    Unmanaged<FuseEngine>.fromOpaque(data)._withUnsafeGuaranteedRef { engine in
        body(engine, FuseRequest(raw, engine))
    }
}

func fuseLookup(_ raw: OpaquePointer?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?) {
    withEngine(raw) { engine, request in
        guard parent == FuseAttributes.rootIno, let name,
            let ino = engine.attributes.ino(of: String(cString: name)),
            let info = engine.attributes.info(of: ino, statsBytes: { engine.statistics.count })
        else { return request.fail(ENOENT) }
        var entry = fuse_entry_param()
        entry.ino = ino
        entry.attr = info
        entry.attr_timeout = FuseAttributes.timeout(of: ino)
        entry.entry_timeout = FuseAttributes.entryTimeoutSeconds
        request.entry(entry)
    }
}

func fuseGetattr(
    _ raw: OpaquePointer?, _ ino: fuse_ino_t, _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    withEngine(raw) { engine, request in replyAttributes(engine, request, ino) }
}

/// Truncating succeeds and changes nothing, since the disk has one size; times of the disk are
/// taken; owner and mode cannot be changed.
func fuseSetattr(
    _ raw: OpaquePointer?, _ ino: fuse_ino_t, _ wanted: UnsafeMutablePointer<stat>?,
    _ flags: Int32, _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    withEngine(raw) { engine, request in
        if flags & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) != 0 {
            return request.fail(ENOSYS)
        }
        if ino == FuseAttributes.fileIno {
            if engine.plan.isReadOnly { return request.fail(EROFS) }
            setTimes(engine.attributes, wanted, flags)
        }
        replyAttributes(engine, request, ino)
    }
}

private func setTimes(
    _ attributes: FuseAttributes, _ wanted: UnsafeMutablePointer<stat>?, _ flags: Int32
) {
    if flags & FUSE_SET_ATTR_ATIME_NOW != 0 {
        attributes.noteRead()
    } else if flags & FUSE_SET_ATTR_ATIME != 0, let wanted {
        attributes.setReadTime(wanted.pointee.st_atim.tv_sec)
    }
    if flags & FUSE_SET_ATTR_MTIME_NOW != 0 {
        attributes.noteWrite()
    } else if flags & FUSE_SET_ATTR_MTIME != 0, let wanted {
        attributes.setWriteTime(wanted.pointee.st_mtim.tv_sec)
    }
}

private func replyAttributes(
    _ engine: FuseEngine, _ request: FuseRequest, _ ino: fuse_ino_t
) {
    guard let info = engine.attributes.info(of: ino, statsBytes: { engine.statistics.count })
    else { return request.fail(ENOENT) }
    request.attributes(info, timeout: FuseAttributes.timeout(of: ino))
}

func fuseReaddir(
    _ raw: OpaquePointer?, _ ino: fuse_ino_t, _ size: Int, _ offset: off_t,
    _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    withEngine(raw) { engine, request in
        guard ino == FuseAttributes.rootIno else { return request.fail(ENOTDIR) }
        var entries: [(name: String, ino: fuse_ino_t, type: mode_t)] = [
            (".", FuseAttributes.rootIno, S_IFDIR), ("..", FuseAttributes.rootIno, S_IFDIR),
            (engine.plan.filename, FuseAttributes.fileIno, S_IFREG),
        ]
        if !engine.plan.statsFilename.isEmpty {
            entries.append((engine.plan.statsFilename, FuseAttributes.statsIno, S_IFREG))
        }
        let room = min(size, 4096)
        var listing = [CChar](repeating: 0, count: room)
        var used = 0
        for (index, entry) in entries.enumerated() where index >= offset {
            var info = stat()
            info.st_ino = UInt(entry.ino)
            info.st_mode = entry.type
            let length = listing.withUnsafeMutableBufferPointer { target in
                fuse_add_direntry(
                    raw, target.baseAddress.map { $0 + used }, room - used, entry.name, &info,
                    index + 1)
            }
            if length > room - used { break }
            used += length
        }
        listing.withUnsafeBytes { request.data(UnsafeRawBufferPointer(rebasing: $0[..<used])) }
    }
}

func fuseStatfs(_ raw: OpaquePointer?, _ ino: fuse_ino_t) {
    withEngine(raw) { engine, request in request.fileSystem(engine.attributes.fileSystemInfo()) }
}

/// Removing the statistics sets their counters to zero; the file stays.
func fuseUnlink(_ raw: OpaquePointer?, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>?) {
    withEngine(raw) { engine, request in
        guard let name, let ino = engine.attributes.ino(of: String(cString: name)) else {
            return request.fail(ENOENT)
        }
        if ino != FuseAttributes.statsIno { return request.fail(EOPNOTSUPP) }
        engine.statistics.reset()
        request.succeed()
    }
}
