import CEpoll
import Glibc

/// What a thread waits for of many descriptors: epoll(7), with what it was told remembered, so that
/// it is told of changes only.
final class Watch {
    struct Events: OptionSet {
        let rawValue: UInt32
        static let input = Events(rawValue: EPOLLIN.rawValue)
        static let output = Events(rawValue: EPOLLOUT.rawValue)
    }

    private let fd = epoll_create1(Int32(EPOLL_CLOEXEC))
    private var wanted: [Int32: Events] = [:]
    private var ready: [Int32: Events] = [:]
    private var found = [epoll_event](repeating: epoll_event(), count: 256)

    deinit { close(fd) }

    /// Of a descriptor for which nothing is wanted, nothing is told, not even that it is broken. That
    /// has to be so before it is closed.
    func set(_ descriptor: Int32, _ events: Events) {
        guard descriptor >= 0 else { return }
        let old = wanted[descriptor] ?? []
        if events == old { return }
        var event = epoll_event()
        event.events = events.rawValue
        event.data.fd = descriptor
        let change = events.isEmpty ? EPOLL_CTL_DEL : old.isEmpty ? EPOLL_CTL_ADD : EPOLL_CTL_MOD
        epoll_ctl(fd, change, descriptor, &event)
        wanted[descriptor] = events.isEmpty ? nil : events
        if events.isEmpty { ready[descriptor] = nil }
    }

    /// - Parameter ms: At most; -1: until something happens.
    func wait(ms: Int32) {
        ready.removeAll(keepingCapacity: true)
        let count = epoll_wait(fd, &found, Int32(found.count), ms)
        for event in found.prefix(max(0, Int(count))) {
            ready[event.data.fd] = Events(rawValue: event.events)
        }
    }

    func isReady(_ descriptor: Int32) -> Bool { ready[descriptor] != nil }

    /// Bytes, the end, or an error, of which reading tells.
    func hasInput(_ descriptor: Int32) -> Bool {
        ready[descriptor].map { !$0.subtracting(.output).isEmpty } ?? false
    }
}
