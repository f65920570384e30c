import CSys
import Glibc

/// A mutex with a condition variable on the monotonic clock.
///
/// `@unchecked Sendable`: the two handles are created here, live as long as the object, and are
/// meant for any thread.
package final class Condition: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>

    package init() {
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    @inline(__always)
    package func withLock<Result>(_ body: () throws -> Result) rethrows -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }

    /// Only under the lock. Blocks until signalled; may also return without reason.
    package func wait() { pthread_cond_wait(condition, mutex) }

    /// Only under the lock. Blocks until signalled or until `ms` have passed.
    package func wait(ms: UInt64) {
        var until = timespec()
        clock_gettime(CLOCK_MONOTONIC, &until)
        let nanoseconds = until.tv_nsec + Int(ms % 1000) * 1_000_000
        until.tv_sec += Int(ms / 1000) + nanoseconds / 1_000_000_000
        until.tv_nsec = nanoseconds % 1_000_000_000
        pthread_cond_timedwait(condition, mutex, &until)
    }

    /// Better not under the lock, for which the thread that wakes up would have to wait.
    package func signal() { pthread_cond_signal(condition) }
    package func broadcast() { pthread_cond_broadcast(condition) }
}

/// A value that is only reached under a lock. As `Mutex` of the standard library, but for the thread
/// sanitizer, which does not see that one's lock and reports all that it guards.
///
/// `@unchecked Sendable`: `value` is touched in `withLock` only.
package final class Locked<Value>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var value: Value

    package init(_ value: sending Value) {
        mutex = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        self.value = value
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    package func withLock<Result, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&value)
    }
}

/// A thread that runs a closure; joined by its owner.
///
/// All signals are blocked in it: one thread of the program handles them.
package final class Worker: @unchecked Sendable {
    private final class Body {
        let name: String
        let run: @Sendable () -> Void
        init(_ name: String, _ run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// Set once, before the object is shared.
    private var thread = pthread_t()

    package init(name: String, _ run: @escaping @Sendable () -> Void) {
        let context = Unmanaged.passRetained(Body(name, run)).toOpaque()
        var all = sigset_t()
        var old = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &old)
        let result = pthread_create(&thread, nil, workerMain, context)
        pthread_sigmask(SIG_SETMASK, &old, nil)
        guard result == 0 else { fatalError("cannot create a thread (\(result))") }
    }

    /// Blocks until the closure has returned.
    package func join() { pthread_join(thread, nil) }

    /// It ends by itself; never joined then.
    package func detach() { pthread_detach(thread) }

    fileprivate static func enter(_ context: UnsafeMutableRawPointer) {
        let body = Unmanaged<Body>.fromOpaque(context).takeRetainedValue()
        csys_name_thread(body.name)
        body.run()
    }
}

private func workerMain(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let context { Worker.enter(context) }
    return nil
}
