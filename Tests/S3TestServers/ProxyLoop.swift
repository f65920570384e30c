import Foundation
import Glibc

enum DetachedThread {
    static func start(_ body: @escaping @Sendable () -> Void) {
        Thread.detachNewThread(body)
    }
}

/// The thread of a `DelayProxy`: waits, takes connections, and moves bytes when they are due.
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
    private let watch = Watch()
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
        watch.set(wakeFD, .input)
        while !isEnding {
            watch.set(door.fd, isTaking ? .input : [])
            wait()
            obey()
            guard mode == .on, !isEnding else { continue }
            let now = ProxyLoop.nowNs
            for link in links {
                let hasEvents = ProxyLink.End.allCases.contains { watch.isReady(link.fd($0)) }
                // Most have nothing to do.
                if hasEvents || link.nextDue() <= now { move(link) }
            }
            links.removeAll { $0.isOver }
            if watch.isReady(door.fd) { takeConnections() }
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

    private func wait() {
        var due = UInt64.max
        if mode == .on { for link in links { due = min(due, link.nextDue()) } }
        let now = Self.nowNs
        // Rounded up: too early would be waiting in vain.
        let ms = due > now ? min((due - now + 999_999) / 1_000_000, 1_000_000) : 0
        watch.wait(ms: due == .max ? -1 : Int32(ms))
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
            watch.set(door.fd, [])
            door.close()
        } else {
            door.open()
        }
        for link in links { link.watch(mode == .on) }
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
            let link = ProxyLink(client: fd, target: target, readyNs: readyNs, watch)
            links.append(link)
            link.watch(true)
        }
    }

    private func move(_ link: ProxyLink) {
        let oneWayNs = UInt64(delayMs) * 500_000
        if watch.hasInput(link.fd(.client)) {
            let taken = link.receive(.client, &chunk, delayNs: oneWayNs)
            count { $0.bytesToServer += taken }
        }
        if watch.hasInput(link.fd(.server)) {
            let taken = link.receive(.server, &chunk, delayNs: oneWayNs)
            count { $0.bytesToClient += taken }
        }
        let now = Self.nowNs
        link.send(to: .server, now)
        link.send(to: .client, now)
        link.closeIfDone()
        link.watch(true)
    }
}
