import Foundation
import Glibc

enum DetachedThread {
    static func start(_ body: @escaping @Sendable () -> Void) {
        Thread.detachNewThread(body)
    }
}

/// The thread of a `DelayProxy`: polls, takes connections, and moves bytes when they are due.
final class ProxyLoop {
    private let door: ProxyDoor
    private let target: UInt16
    private let wakeFD: Int32
    private let takeOrders: () -> [DelayProxy.Order]
    private let count: ((inout DelayProxy.Counts) -> Void) -> Void

    private var delayMs: Int
    private var mode = DelayProxy.Mode.on
    private var isEnding = false
    private var links: [ProxyLink] = []
    private var chunk = [UInt8](repeating: 0, count: 256 << 10)

    private static let connectionsMax = 1024

    init(
        door: ProxyDoor, target: UInt16, delayMs: Int, wakeFD: Int32,
        takeOrders: @escaping () -> [DelayProxy.Order],
        count: @escaping ((inout DelayProxy.Counts) -> Void) -> Void
    ) {
        self.door = door
        self.target = target
        self.delayMs = delayMs
        self.wakeFD = wakeFD
        self.takeOrders = takeOrders
        self.count = count
    }

    func run() {
        while !isEnding {
            var polled = [
                pollfd(fd: wakeFD, events: Int16(POLLIN), revents: 0),
                pollfd(fd: isTaking ? door.fd : -1, events: Int16(POLLIN), revents: 0),
            ]
            let now = ProxyLoop.nowNs
            for link in links {
                for end in ProxyLink.End.allCases {
                    let events = mode == .on ? link.events(of: end, now) : 0
                    // Without events it must not be polled: a broken connection always answers.
                    polled.append(
                        pollfd(fd: events == 0 ? -1 : link.fd(end), events: events, revents: 0))
                }
            }
            wait(&polled, now)
            obey()
            guard mode == .on, !isEnding else { continue }
            for (index, link) in links.enumerated() where 2 * index + 3 < polled.count {
                move(link, polled[2 * index + 2].revents, polled[2 * index + 3].revents)
            }
            links.removeAll { $0.isOver }
            if polled[1].revents != 0 { takeConnections() }
        }
        for link in links { link.reset() }
        door.close()
        close(wakeFD)
        finish(takeOrders())
    }

    static var nowNs: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    // MARK: Waiting

    private var isTaking: Bool { mode == .on && links.count < Self.connectionsMax }

    private func wait(_ polled: inout [pollfd], _ now: UInt64) {
        var due = UInt64.max
        if mode == .on { for link in links { due = min(due, link.nextDue()) } }
        // Rounded up: too early would be polling in vain.
        let ms = due > now ? min((due - now + 999_999) / 1_000_000, 1_000_000) : 0
        poll(&polled, nfds_t(polled.count), due == .max ? -1 : Int32(ms))
    }

    private func obey() {
        var bytes = [UInt8](repeating: 0, count: 64)
        while read(wakeFD, &bytes, bytes.count) > 0 {}
        let orders = takeOrders()
        for order in orders {
            switch order.command {
            case .mode(let mode): enter(mode)
            case .delay(let ms): delayMs = ms
            case .reset: resetAll()
            case .stop: isEnding = true
            }
        }
        if !isEnding { finish(orders) } else { ending = orders }
    }

    /// Answered when all is closed.
    private var ending: [DelayProxy.Order] = []

    private func finish(_ orders: [DelayProxy.Order]) {
        for order in ending + orders { order.done.signal() }
        ending = []
    }

    private func enter(_ mode: DelayProxy.Mode) {
        self.mode = mode
        if mode == .cut {
            resetAll()
            door.close()
        } else {
            door.open()
        }
    }

    private func resetAll() {
        for link in links { link.reset() }
        links = []
    }

    // MARK: Moving

    private func takeConnections() {
        while isTaking {
            let fd = accept(door.fd, nil, nil)
            if fd < 0 { return }
            makeNonBlocking(fd)
            count { $0.connections += 1 }
            let readyNs = Self.nowNs + UInt64(delayMs) * 1_000_000
            links.append(ProxyLink(client: fd, target: target, readyNs: readyNs))
        }
    }

    private func move(_ link: ProxyLink, _ clientEvents: Int16, _ serverEvents: Int16) {
        let oneWayNs = UInt64(delayMs) * 500_000
        if clientEvents & ~Int16(POLLOUT) != 0 {
            let taken = link.receive(.client, &chunk, delayNs: oneWayNs)
            count { $0.bytesToServer += taken }
        }
        if serverEvents & ~Int16(POLLOUT) != 0 {
            let taken = link.receive(.server, &chunk, delayNs: oneWayNs)
            count { $0.bytesToClient += taken }
        }
        let now = Self.nowNs
        link.send(to: .server, now)
        link.send(to: .client, now)
        link.closeIfDone()
    }
}
