import BlockCache
import CFuse
import Glibc

// The content of the files. Callbacks never wait for the store: the volume replies when it can.

/// The text of the statistics file as it was at open; libfuse keeps a reference in `fh`.
private final class StatsSnapshot {
    let text: [UInt8]
    init(_ text: [UInt8]) { self.text = text }
}

private func snapshot(_ file: UnsafeMutablePointer<fuse_file_info>?) -> Unmanaged<StatsSnapshot>? {
    guard let file, let raw = UnsafeRawPointer(bitPattern: UInt(file.pointee.fh)) else {
        return nil
    }
    return Unmanaged<StatsSnapshot>.fromOpaque(raw)
}

func fuseOpen(
    _ raw: OpaquePointer?, _ ino: fuse_ino_t, _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    withEngine(raw) { engine, request in
        guard let file else { return request.fail(EINVAL) }
        var info = file.pointee
        let isWriting = info.flags & O_ACCMODE != O_RDONLY
        switch ino {
        case FuseAttributes.fileIno:
            if isWriting && engine.plan.isReadOnly { return request.fail(EROFS) }
            if engine.plan.isDirect {
                info.direct_io = 1
            } else {
                // Nothing but this mount changes the content, so the page cache stays true.
                info.keep_cache = 1
            }
            _ = request.opened(info)
        case FuseAttributes.statsIno:
            if isWriting { return request.fail(EACCES) }
            let held = Unmanaged.passRetained(StatsSnapshot(engine.statistics.text()))
            info.direct_io = 1
            info.fh = UInt64(UInt(bitPattern: held.toOpaque()))
            // Without an open file there will be no release.
            if !request.opened(info) { held.release() }
        case FuseAttributes.rootIno:
            request.fail(EISDIR)
        default:
            request.fail(ENOENT)
        }
    }
}

func fuseRelease(
    _ raw: OpaquePointer?, _ ino: fuse_ino_t, _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    withEngine(raw) { _, request in
        if ino == FuseAttributes.statsIno { snapshot(file)?.release() }
        request.succeed()
    }
}

func fuseRead(
    _ raw: OpaquePointer?, _ ino: fuse_ino_t, _ size: Int, _ offset: off_t,
    _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    withEngine(raw) { engine, request in
        if ino == FuseAttributes.statsIno { return readStats(request, size, offset, file) }
        guard ino == FuseAttributes.fileIno else { return request.fail(EISDIR) }
        let end = Int(engine.plan.fileSize)
        if offset < 0 || offset > end { return request.fail(ESPIPE) }
        let count = min(size, end - offset)
        if count <= 0 { return request.data(UnsafeRawBufferPointer(start: nil, count: 0)) }
        engine.attributes.noteRead()
        let failures = engine.failures
        engine.volume.read(at: UInt64(offset), count: count) { result in
            switch result {
            case .success(let reply): request.data(reply.bytes)
            case .failure(let error):
                request.fail(failures.report(error, "read of \(count) bytes at \(offset)"))
            }
        }
    }
}

private func readStats(
    _ request: FuseRequest, _ size: Int, _ offset: off_t,
    _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    guard let held = snapshot(file) else { return request.fail(EBADF) }
    held._withUnsafeGuaranteedRef { snapshot in
        snapshot.text.withUnsafeBytes { text in
            let start = min(max(offset, 0), text.count)
            let end = min(start + size, text.count)
            request.data(UnsafeRawBufferPointer(rebasing: text[start..<end]))
        }
    }
}

func fuseWrite(
    _ raw: OpaquePointer?, _ ino: fuse_ino_t, _ source: UnsafePointer<CChar>?, _ size: Int,
    _ offset: off_t, _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    withEngine(raw) { engine, request in
        guard ino == FuseAttributes.fileIno else { return request.fail(EACCES) }
        if engine.plan.isReadOnly { return request.fail(EROFS) }
        let end = Int(engine.plan.fileSize)
        if offset < 0 || offset > end { return request.fail(ESPIPE) }
        if size == 0 { return request.written(0) }
        let count = min(size, end - offset)
        if count <= 0 { return request.fail(ENOSPC) }
        engine.attributes.noteWrite()
        let failures = engine.failures
        let bytes = UnsafeRawBufferPointer(start: source, count: count)
        engine.volume.write(at: UInt64(offset), from: bytes) { error in
            if let error {
                request.fail(failures.report(error, "write of \(count) bytes at \(offset)"))
            } else {
                request.written(count)
            }
        }
    }
}

func fuseFsync(
    _ raw: OpaquePointer?, _ ino: fuse_ino_t, _ dataOnly: Int32,
    _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    withEngine(raw) { engine, request in
        guard ino == FuseAttributes.fileIno, !engine.plan.isReadOnly else {
            return request.succeed()
        }
        let failures = engine.failures
        engine.volume.sync { error in
            if let error {
                request.fail(failures.report(error, "fsync"))
            } else {
                request.succeed()
            }
        }
    }
}

/// Every close(2): nothing to do, since fsync is what makes data durable.
func fuseFlush(
    _ raw: OpaquePointer?, _ ino: fuse_ino_t, _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    withEngine(raw) { _, request in request.succeed() }
}

/// Makes bytes zeros, or promises space, which a file of fixed size always has.
func fuseFallocate(
    _ raw: OpaquePointer?, _ ino: fuse_ino_t, _ mode: Int32, _ offset: off_t, _ length: off_t,
    _ file: UnsafeMutablePointer<fuse_file_info>?
) {
    withEngine(raw) { engine, request in
        guard ino == FuseAttributes.fileIno else { return request.fail(EACCES) }
        if engine.plan.isReadOnly { return request.fail(EROFS) }
        switch AllocateRequest(mode, offset, length, size: Int(engine.plan.fileSize)) {
        case .nothing: request.succeed()
        case .fails(let number): request.fail(number)
        case .zeros(let range):
            engine.attributes.noteWrite()
            let failures = engine.failures
            engine.volume.trim(at: UInt64(range.lowerBound), count: UInt64(range.count)) { error in
                guard let error else { return request.succeed() }
                request.fail(
                    failures.report(error, "trim of \(range.count) bytes at \(range.lowerBound)"))
            }
        }
    }
}

/// What a call of fallocate(2) means for a file whose size is fixed.
enum AllocateRequest: Equatable {
    case nothing
    /// These bytes become zeros.
    case zeros(Range<Int>)
    case fails(Int32)

    private static let keepSize: Int32 = 1
    private static let punchHole: Int32 = 2
    private static let zeroRange: Int32 = 16

    init(_ mode: Int32, _ offset: Int, _ length: Int, size: Int) {
        guard offset >= 0, length > 0 else {
            self = .fails(EINVAL)
            return
        }
        let (end, overflow) = offset.addingReportingOverflow(length)
        let isBeyond = overflow || end > size
        let zeros = min(offset, size)..<(isBeyond ? size : end)
        switch mode {
        case 0, Self.keepSize: self = isBeyond ? .fails(ENOSPC) : .nothing
        case Self.zeroRange: self = isBeyond ? .fails(ENOSPC) : .zeros(zeros)
        // What lies behind the end has no bytes.
        case Self.punchHole | Self.keepSize, Self.zeroRange | Self.keepSize:
            self = zeros.isEmpty ? .nothing : .zeros(zeros)
        default: self = .fails(EOPNOTSUPP)
        }
    }
}
