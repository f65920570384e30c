import CFuse
import Glibc
import Synchronization

/// The three inodes of a mount and what stat(2) says about them.
final class FuseAttributes: Sendable {
    static let rootIno: fuse_ino_t = 1
    static let fileIno: fuse_ino_t = 2
    static let statsIno: fuse_ino_t = 3

    /// How long the kernel may believe attributes; those of the statistics change all the time.
    static let timeoutSeconds = 1.0
    static let entryTimeoutSeconds = 31536000.0

    private let plan: MountPlan
    private let startTime: Int
    private let readTime: Atomic<Int>
    private let writeTime: Atomic<Int>

    init(_ plan: MountPlan) {
        self.plan = plan
        startTime = time(nil)
        readTime = Atomic(startTime)
        writeTime = Atomic(startTime)
    }

    func noteRead() { readTime.store(time(nil), ordering: .relaxed) }
    func noteWrite() { writeTime.store(time(nil), ordering: .relaxed) }
    func setReadTime(_ seconds: Int) { readTime.store(seconds, ordering: .relaxed) }
    func setWriteTime(_ seconds: Int) { writeTime.store(seconds, ordering: .relaxed) }

    func ino(of name: String) -> fuse_ino_t? {
        if name == plan.filename { return Self.fileIno }
        if name == plan.statsFilename && !name.isEmpty { return Self.statsIno }
        return nil
    }

    static func timeout(of ino: fuse_ino_t) -> Double {
        ino == statsIno ? 0 : timeoutSeconds
    }

    /// - Parameter statsBytes: Length of the statistics as they are now.
    func info(of ino: fuse_ino_t, statsBytes: () -> Int) -> stat? {
        var info = stat()
        info.st_ino = UInt(ino)
        info.st_uid = plan.uid
        info.st_gid = plan.gid
        info.st_ctim.tv_sec = startTime
        switch ino {
        case Self.rootIno:
            info.st_mode = S_IFDIR | 0o755
            info.st_nlink = 2
            info.st_atim.tv_sec = startTime
            info.st_mtim.tv_sec = startTime
            info.st_blksize = 4096
        case Self.fileIno:
            info.st_mode = S_IFREG | plan.fileMode
            info.st_nlink = 1
            info.st_size = Int(plan.fileSize)
            info.st_blksize = plan.blockSize
            info.st_blocks = Int(plan.fileSize / 512)
            info.st_atim.tv_sec = readTime.load(ordering: .relaxed)
            info.st_mtim.tv_sec = writeTime.load(ordering: .relaxed)
        case Self.statsIno where !plan.statsFilename.isEmpty:
            let now = time(nil)
            info.st_mode = S_IFREG | 0o444
            info.st_nlink = 1
            info.st_size = statsBytes()
            info.st_blksize = 4096
            info.st_atim.tv_sec = now
            info.st_mtim.tv_sec = now
        default:
            return nil
        }
        return info
    }

    func fileSystemInfo() -> statvfs {
        var info = statvfs()
        info.f_bsize = UInt(plan.blockSize)
        info.f_frsize = UInt(plan.blockSize)
        info.f_blocks = UInt(plan.blockCount)
        info.f_files = 3
        info.f_namemax = 255
        return info
    }
}
