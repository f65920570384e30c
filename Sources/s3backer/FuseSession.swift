import CFuse
import FileIO
import Glibc
import Logging
import VolumeOptions

/// One mount: owns libfuse's session and the engine that its callbacks use.
final class FuseSession {
    private let session: OpaquePointer
    private let engine: FuseEngine
    private let mountPoint: String
    private var isMounted = false

    static let requestBytesMax: UInt32 = 1 << 20
    private static let threads: UInt32 = 10
    private static let backgroundMax: UInt32 = 64

    /// - Throws: When libfuse refuses an option; the message is libfuse's.
    init(_ engine: FuseEngine) throws(StartupError) {
        self.engine = engine
        mountPoint = engine.plan.mountPoint
        var words = [Program.name, "-o", Self.mountOptions(engine.plan).joined(separator: ",")]
        if engine.plan.isTracing { words.append("-d") }
        var operations = Self.operations()
        var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        argv.append(nil)
        let made = cfuse_session_new(
            Int32(words.count), &argv, &operations,
            Unmanaged.passUnretained(engine).toOpaque())
        for word in argv { free(word) }
        guard let made else {
            throw StartupError("cannot set up the mount: \(FuseLog.last("bad mount option"))")
        }
        session = made
        guard fuse_set_signal_handlers(session) == 0 else {
            // All is initialised, so deinit ends the session.
            throw StartupError("cannot handle signals: \(String(cString: strerror(errno)))")
        }
    }

    /// All replies have been sent or dropped by now.
    deinit {
        unmount()
        fuse_remove_signal_handlers(session)
        fuse_session_destroy(session)
    }

    /// Blocks until the kernel has the mount. Requests wait for `loop`.
    func mount() throws(StartupError) {
        if fuse_session_mount(session, mountPoint) != 0 {
            let reason = FuseLog.last(String(cString: strerror(errno)))
            throw StartupError("cannot mount \(mountPoint): \(reason)")
        }
        isMounted = true
    }

    /// Serves until the mount ends or a signal asks to stop.
    ///
    /// - Returns: 0 when unmounted, a signal's number, or an errno below zero.
    func loop() -> Int32 { cfuse_session_loop(session, Self.threads) }

    /// Takes the mount away if it is still there. No reply follows; the kernel answers what was
    /// asked and not yet answered with an error.
    func unmount() {
        engine.gate.close()
        if isMounted { fuse_session_unmount(session) }
        isMounted = false
    }

    // MARK: Parameters

    /// Words of the command line come last and so win.
    private static func mountOptions(_ plan: MountPlan) -> [String] {
        var options = [
            "fsname=" + escaped(plan.description), "subtype=\(Program.name)",
            "default_permissions", "nodev", "nosuid", "max_read=\(requestBytesMax)",
        ]
        if geteuid() == 0 { options.append("allow_other") }
        if plan.isReadOnly { options.append("ro") }
        return options + plan.mountWords.map(escaped)
    }

    private static func escaped(_ word: String) -> String {
        var result = ""
        for letter in word {
            if letter == "," || letter == "\\" { result.append("\\") }
            result.append(letter)
        }
        return result
    }

    private static func operations() -> fuse_lowlevel_ops {
        var operations = fuse_lowlevel_ops()
        operations.`init` = fuseInit
        operations.lookup = fuseLookup
        operations.getattr = fuseGetattr
        operations.setattr = fuseSetattr
        operations.readdir = fuseReaddir
        operations.statfs = fuseStatfs
        operations.unlink = fuseUnlink
        operations.open = fuseOpen
        operations.release = fuseRelease
        operations.read = fuseRead
        operations.write = fuseWrite
        operations.flush = fuseFlush
        operations.fsync = fuseFsync
        operations.fallocate = fuseFallocate
        return operations
    }

    /// Agrees on the size of requests and on what the kernel may do by itself.
    fileprivate static func negotiate(_ connection: inout fuse_conn_info) {
        connection.max_write = requestBytesMax
        connection.max_read = requestBytesMax
        connection.max_background = backgroundMax
        connection.congestion_threshold = backgroundMax / 4 * 3
        // Replies come from plain memory; the content changes only through this mount; truncating
        // at open is a request of its own; and no write may wait in the kernel.
        let unwanted =
            UInt32(FUSE_CAP_SPLICE_READ) | UInt32(FUSE_CAP_SPLICE_WRITE)
            | UInt32(FUSE_CAP_SPLICE_MOVE) | UInt32(FUSE_CAP_AUTO_INVAL_DATA)
            | UInt32(FUSE_CAP_ATOMIC_O_TRUNC) | UInt32(FUSE_CAP_WRITEBACK_CACHE)
        connection.want &= ~unwanted
        connection.want |= connection.capable & UInt32(FUSE_CAP_ASYNC_READ)
    }
}

/// The first request of a mount.
func fuseInit(
    _ data: UnsafeMutableRawPointer?, _ connection: UnsafeMutablePointer<fuse_conn_info>?
) {
    guard let data, let connection else { return }
    FuseSession.negotiate(&connection.pointee)
    Unmanaged<FuseEngine>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.ready() }
}

/// What libfuse has to say: kept while starting, to be part of an error, then logged.
enum FuseLog {
    private struct State {
        var last: String?
        var logger: Logger?
    }
    private static let state = Locked(State())

    /// Begins to keep messages.
    static func capture() { cfuse_set_log(fuseLogLine) }

    /// From now on messages go to `logger`.
    static func forward(to logger: Logger) { state.withLock { $0.logger = logger } }

    /// The last message kept, or `fallback`.
    static func last(_ fallback: String) -> String { state.withLock { $0.last } ?? fallback }

    static func add(_ level: Int32, _ line: String) {
        let logger = state.withLock { state -> Logger? in
            state.last = line.hasPrefix("fuse: ") ? String(line.dropFirst(6)) : line
            return state.logger
        }
        switch level {
        case ...3: logger?.error("\(line)")
        case 4: logger?.warning("\(line)")
        case 7...: logger?.debug("\(line)")
        default: logger?.info("\(line)")
        }
    }
}

private func fuseLogLine(_ level: Int32, _ line: UnsafePointer<CChar>?) {
    if let line { FuseLog.add(level, String(cString: line)) }
}
