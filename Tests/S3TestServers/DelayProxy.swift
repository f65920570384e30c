import Dispatch
import Glibc
import Synchronization

/// A network between a client and a server on 127.0.0.1: it adds to the time of a round trip, half
/// of it each way, and can go away.
///
/// It delays and does not throttle: bytes that come in together go out together, that much later.
/// A new connection costs one round trip more, as a TCP handshake would. One thread moves all.
public final class DelayProxy: Sendable {
    public enum Mode: String, Sendable {
        case on
        /// Connections are reset, new ones refused.
        case cut
        /// Connections go silent, new ones are taken by the kernel and never served; `on` goes on
        /// where they stopped.
        case hang
    }

    public let port: UInt16
    public var url: String { "http://127.0.0.1:\(port)/" }

    enum Command {
        case mode(Mode)
        case delay(Int)
        case reset
        case stop
    }

    /// A command, and who waits until it is in effect.
    struct Order {
        var command: Command
        var done: DispatchSemaphore
    }

    /// What has passed so far.
    public struct Counts: Sendable {
        /// Connections taken.
        public var connections = 0
        public var bytesToServer = 0
        public var bytesToClient = 0
    }

    private let orders = Mutex<[Order]>([])
    private let passed = Mutex(Counts())
    private let isStopped = Mutex(false)
    /// Written to make the thread look at the orders.
    private let wakeFD: Int32

    /// - Parameters:
    ///   - target: The server's port.
    ///   - delayMs: Added to each round trip.
    ///   - listen: 0: the kernel chooses.
    public init(to target: UInt16, delayMs: Int = 0, listen: UInt16 = 0) throws {
        let door = try ProxyDoor(port: listen)
        port = door.port
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw TestServer.Failure(description: "no pipe") }
        for fd in ends { makeNonBlocking(fd) }
        wakeFD = ends[1]
        let loop = ProxyLoop(
            door: door, target: target, delayMs: delayMs, wakeFD: ends[0],
            takeOrders: { [self] in
                orders.withLock { orders in
                    defer { orders = [] }
                    return orders
                }
            },
            count: { [self] change in passed.withLock { change(&$0) } })
        // Handed over to its thread, and used by nobody else.
        let handed = Unmanaged.passRetained(loop).toOpaque()
        nonisolated(unsafe) let raw = handed
        DetachedThread.start { Unmanaged<ProxyLoop>.fromOpaque(raw).takeRetainedValue().run() }
    }

    public var counts: Counts { passed.withLock { $0 } }

    /// In effect when it returns, as all that follow.
    public func set(_ mode: Mode) { order(.mode(mode)) }

    public func setDelay(ms: Int) { order(.delay(ms)) }

    /// Resets the connections there are; new ones are welcome.
    public func resetConnections() { order(.reset) }

    /// Ends it and all connections. Whoever makes a proxy stops it.
    public func stop() {
        let isFirst = isStopped.withLock { stopped in
            defer { stopped = true }
            return !stopped
        }
        guard isFirst else { return }
        send(.stop)
        close(wakeFD)
    }

    private func order(_ command: Command) {
        if !isStopped.withLock({ $0 }) { send(command) }
    }

    private func send(_ command: Command) {
        let done = DispatchSemaphore(value: 0)
        orders.withLock { $0.append(Order(command: command, done: done)) }
        var byte: UInt8 = 0
        // Full: it will look anyway.
        _ = write(wakeFD, &byte, 1)
        done.wait()
    }
}

/// The listening socket of a proxy, which may close and open again on the same port.
final class ProxyDoor {
    let port: UInt16
    private(set) var fd: Int32 = -1
    /// Bound and never listening, so that nobody else gets the port while the door is closed.
    private let holder: Int32

    private static let backlog: Int32 = 256

    init(port wanted: UInt16) throws {
        holder = Self.bound(wanted)
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let holder = holder
        let isKnown = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(holder, $0, &length) == 0
            }
        }
        port = UInt16(bigEndian: address.sin_port)
        guard holder >= 0, isKnown, open() else {
            throw TestServer.Failure(description: "cannot listen on port \(wanted)")
        }
    }

    deinit {
        close()
        Glibc.close(holder)
    }

    @discardableResult
    func open() -> Bool {
        if fd >= 0 { return true }
        fd = Self.bound(port)
        return fd >= 0 && listen(fd, Self.backlog) == 0
    }

    func close() {
        if fd >= 0 { Glibc.close(fd) }
        fd = -1
    }

    private static func bound(_ port: UInt16) -> Int32 {
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | nonBlocking, 0)
        var one: Int32 = 1
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var address = loopback(port)
        let isBound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        if isBound { return fd }
        Glibc.close(fd)
        return -1
    }

    static let nonBlocking = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
}

func makeNonBlocking(_ fd: Int32) {
    _ = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)
    _ = fcntl(fd, F_SETFD, FD_CLOEXEC)
}
