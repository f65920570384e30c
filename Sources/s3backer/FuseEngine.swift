import BlockCache
import CFuse
import Glibc
import Logging
import Synchronization

/// What the FUSE callbacks work with: one object, alive until the process ends.
final class FuseEngine: Sendable {
    let plan: MountPlan
    let volume: any Volume
    let statistics: Statistics
    let failures: FailureLog
    let gate = ReplyGate()
    let attributes: FuseAttributes
    /// Called once, when the kernel has found the mount answering.
    private let onReady: @Sendable () -> Void
    private let wasReady = Atomic<Bool>(false)

    init(
        plan: MountPlan, volume: any Volume, logger: Logger,
        onReady: @escaping @Sendable () -> Void
    ) {
        self.plan = plan
        self.volume = volume
        self.onReady = onReady
        statistics = Statistics { volume.statistics }
        failures = FailureLog(logger)
        attributes = FuseAttributes(plan)
    }

    func ready() {
        if !wasReady.exchange(true, ordering: .relaxed) { onReady() }
    }
}

/// Keeps replies from being written to the kernel's channel once it is about to be closed: its
/// descriptor number may then belong to another file.
final class ReplyGate: @unchecked Sendable {
    // Guarded by itself; at a fixed address until deinit.
    private let lock: UnsafeMutablePointer<pthread_rwlock_t>
    // Written under the write lock, read under the read lock.
    private var isOpen = true

    init() {
        lock = .allocate(capacity: 1)
        pthread_rwlock_init(lock, nil)
    }

    deinit {
        pthread_rwlock_destroy(lock)
        lock.deallocate()
    }

    /// Runs `body(true)` while replies may be sent, `body(false)` afterwards.
    func pass(_ body: (Bool) -> Void) {
        pthread_rwlock_rdlock(lock)
        body(isOpen)
        pthread_rwlock_unlock(lock)
    }

    /// When it returns, no reply is under way and none will follow.
    func close() {
        pthread_rwlock_wrlock(lock)
        isOpen = false
        pthread_rwlock_unlock(lock)
    }
}

/// One request of the kernel; ends in exactly one reply, from any thread.
///
/// Unchecked: libfuse lets any thread reply, and only one does.
struct FuseRequest: @unchecked Sendable {
    private let raw: OpaquePointer
    private let engine: Unmanaged<FuseEngine>

    /// The engine stays alive for the life of the session, and so outlives every request.
    init(_ raw: OpaquePointer, _ engine: FuseEngine) {
        self.raw = raw
        self.engine = Unmanaged.passUnretained(engine)
    }

    func fail(_ number: Int32) { reply { fuse_reply_err($0, number) } }
    func succeed() { reply { fuse_reply_err($0, 0) } }
    func written(_ count: Int) { reply { fuse_reply_write($0, count) } }

    func data(_ bytes: UnsafeRawBufferPointer) {
        let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        reply { fuse_reply_buf($0, start, bytes.count) }
    }

    func attributes(_ info: stat, timeout: Double) {
        var info = info
        reply { fuse_reply_attr($0, &info, timeout) }
    }

    func entry(_ entry: fuse_entry_param) {
        var entry = entry
        reply { fuse_reply_entry($0, &entry) }
    }

    func opened(_ info: fuse_file_info) -> Bool {
        var info = info
        var result: Int32 = -ENOENT
        reply {
            result = fuse_reply_open($0, &info)
            return result
        }
        return result == 0
    }

    func fileSystem(_ info: statvfs) {
        var info = info
        reply { fuse_reply_statfs($0, &info) }
    }

    private func reply(_ body: (OpaquePointer) -> Int32) {
        engine._withUnsafeGuaranteedRef { engine in
            engine.gate.pass { isOpen in
                // An error here means that the kernel no longer waits for the answer.
                if isOpen { _ = body(raw) } else { fuse_reply_none(raw) }
            }
        }
    }
}
