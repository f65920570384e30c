import CFuse
import Glibc
import Synchronization

/// The one file.
final class NullFile: @unchecked Sendable {
    static let requestBytesMax = 1 << 20
    static let backgroundMax: UInt32 = 64
    static let rootIno: fuse_ino_t = 1
    static let fileIno: fuse_ino_t = 2
    static let name = "file"

    /// Set before anything is mounted.
    var size = 0
    /// Never written.
    let zeros = UnsafeMutableRawPointer.allocate(byteCount: requestBytesMax, alignment: 4096)
    let largestRead = Atomic<Int>(0)
    let largestWrite = Atomic<Int>(0)

    init() { zeros.initializeMemory(as: UInt8.self, repeating: 0, count: Self.requestBytesMax) }

    func info(of ino: fuse_ino_t) -> stat? {
        var info = stat()
        info.st_ino = UInt(ino)
        info.st_uid = geteuid()
        info.st_gid = getegid()
        switch ino {
        case Self.rootIno:
            info.st_mode = S_IFDIR | 0o755
            info.st_nlink = 2
        case Self.fileIno:
            info.st_mode = S_IFREG | 0o600
            info.st_nlink = 1
            info.st_size = size
            info.st_blocks = size / 512
        default: return nil
        }
        info.st_blksize = 4096
        return info
    }
}

let nullFile = NullFile()

func nullOperations() -> fuse_lowlevel_ops {
    var operations = fuse_lowlevel_ops()
    operations.`init` = { _, connection in
        guard let connection else { return }
        let c = connection
        c.pointee.max_write = UInt32(NullFile.requestBytesMax)
        c.pointee.max_read = UInt32(NullFile.requestBytesMax)
        c.pointee.max_background = NullFile.backgroundMax
        c.pointee.congestion_threshold = NullFile.backgroundMax / 4 * 3
        let unwanted =
            UInt32(FUSE_CAP_SPLICE_READ) | UInt32(FUSE_CAP_SPLICE_WRITE)
            | UInt32(FUSE_CAP_SPLICE_MOVE) | UInt32(FUSE_CAP_AUTO_INVAL_DATA)
            | UInt32(FUSE_CAP_ATOMIC_O_TRUNC) | UInt32(FUSE_CAP_WRITEBACK_CACHE)
        c.pointee.want &= ~unwanted
        c.pointee.want |= c.pointee.capable & UInt32(FUSE_CAP_ASYNC_READ)
    }
    operations.lookup = { request, parent, name in
        guard parent == NullFile.rootIno, let name, String(cString: name) == NullFile.name,
            let info = nullFile.info(of: NullFile.fileIno)
        else {
            fuse_reply_err(request, ENOENT)
            return
        }
        var entry = fuse_entry_param()
        entry.ino = NullFile.fileIno
        entry.attr = info
        entry.attr_timeout = 1
        entry.entry_timeout = 31_536_000
        fuse_reply_entry(request, &entry)
    }
    operations.getattr = { request, ino, _ in replyAttributes(request, ino) }
    // Truncating at open: success without effect, as with s3backer.
    operations.setattr = { request, ino, _, _, _ in replyAttributes(request, ino) }
    operations.open = { request, ino, file in
        guard ino == NullFile.fileIno, let file else {
            fuse_reply_err(request, EISDIR)
            return
        }
        file.pointee.keep_cache = 1
        fuse_reply_open(request, file)
    }
    operations.release = { request, _, _ in fuse_reply_err(request, 0) }
    operations.flush = { request, _, _ in fuse_reply_err(request, 0) }
    operations.fsync = { request, _, _, _ in fuse_reply_err(request, 0) }
    operations.read = { request, _, size, offset, _ in
        let count = max(0, min(size, nullFile.size - offset, NullFile.requestBytesMax))
        nullFile.largestRead.max(count, ordering: .relaxed)
        fuse_reply_buf(request, nullFile.zeros.assumingMemoryBound(to: CChar.self), count)
    }
    operations.write = { request, _, _, size, offset, _ in
        let count = max(0, min(size, nullFile.size - offset))
        nullFile.largestWrite.max(count, ordering: .relaxed)
        if count == 0 { fuse_reply_err(request, ENOSPC) } else { fuse_reply_write(request, count) }
    }
    return operations
}

private func replyAttributes(_ request: OpaquePointer?, _ ino: fuse_ino_t) {
    guard var info = nullFile.info(of: ino) else {
        fuse_reply_err(request, ENOENT)
        return
    }
    fuse_reply_attr(request, &info, 1)
}
