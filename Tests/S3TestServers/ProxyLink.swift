import Glibc

/// One connection through a `DelayProxy`: two sockets, and what is under way in each direction.
final class ProxyLink {
    enum End: CaseIterable {
        case client, server
        var other: End { self == .client ? .server : .client }
    }

    /// Bytes that were read together; none: the end of the stream.
    private struct Piece {
        var bytes: [UInt8]
        var dueNs: UInt64
        var done = 0
    }

    /// What goes to one end.
    private struct Stream {
        var pieces: [Piece] = []
        var first = 0
        var bytesHeld = 0
        /// The sender has ended.
        var hasEnd = false
        /// The end was passed on.
        var isOver = false
        /// The last attempt to send found no room.
        var isBlocked = false

        var nextDue: UInt64 {
            isBlocked || first == pieces.count ? .max : pieces[first].dueNs
        }
    }

    private let client: Int32
    private let server: Int32
    private let readyNs: UInt64
    private let watch: Watch
    private var toServer = Stream()
    private var toClient = Stream()
    private(set) var isOver = false

    /// A sender waits while that much is under way; at 50 ms each way this is 1.2 GB/s.
    private static let heldMax = 64 << 20

    /// - Parameter readyNs: When the connection counts as made; nothing arrives earlier.
    init(client: Int32, target: UInt16, readyNs: UInt64, _ watch: Watch) {
        self.client = client
        self.readyNs = readyNs
        self.watch = watch
        server = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | ProxyDoor.nonBlocking, 0)
        for fd in [client, server] {
            var one: Int32 = 1
            setsockopt(
                fd, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        }
        var address = loopback(target)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if result != 0 && errno != EINPROGRESS { reset() }
    }

    func fd(_ end: End) -> Int32 { end == .client ? client : server }

    // MARK: What to wait for

    /// - Parameter isOn: Something may happen at all.
    func watch(_ isOn: Bool) {
        if isOver { return }
        watch.set(client, isOn ? Self.events(from: toServer, to: toClient) : [])
        watch.set(server, isOn ? Self.events(from: toClient, to: toServer) : [])
    }

    private static func events(from: borrowing Stream, to: borrowing Stream) -> Watch.Events {
        var events: Watch.Events = []
        if !from.hasEnd && from.bytesHeld < heldMax { events.insert(.input) }
        if to.isBlocked { events.insert(.output) }
        return events
    }

    /// When the next bytes have to be sent; those that found no room wait for room instead.
    func nextDue() -> UInt64 { isOver ? .max : min(toServer.nextDue, toClient.nextDue) }

    // MARK: Moving

    /// Reads what an end has sent; returns how many bytes.
    func receive(_ end: End, _ chunk: inout [UInt8], delayNs: UInt64) -> Int {
        var taken = 0
        while !isOver && stream(to: end.other).bytesHeld < Self.heldMax {
            let got = read(fd(end), &chunk, chunk.count)
            if got < 0 {
                if errno != EAGAIN { reset() }
                break
            }
            let arrival = max(ProxyLoop.nowNs, readyNs) + delayNs
            change(to: end.other) { stream in
                stream.pieces.append(Piece(bytes: Array(chunk[..<got]), dueNs: arrival))
                stream.bytesHeld += got
                if got == 0 { stream.hasEnd = true }
            }
            taken += got
            if got < chunk.count { break }
        }
        return taken
    }

    /// Sends what is due to an end.
    func send(to end: End, _ now: UInt64) {
        if isOver { return }
        let fd = fd(end)
        var isBroken = false
        change(to: end) { stream in
            stream.isBlocked = false
            while stream.first < stream.pieces.count, stream.pieces[stream.first].dueNs <= now {
                let piece = stream.pieces[stream.first]
                if piece.bytes.isEmpty {
                    shutdown(fd, Int32(SHUT_WR))
                    stream.isOver = true
                } else {
                    let sent = piece.bytes.withUnsafeBytes {
                        Glibc.send(
                            fd, $0.baseAddress.map { $0 + piece.done }, $0.count - piece.done,
                            Int32(MSG_NOSIGNAL))
                    }
                    if sent < 0 {
                        // Not connected yet is no room either.
                        if errno == EAGAIN || errno == ENOTCONN {
                            stream.isBlocked = true
                        } else {
                            isBroken = true
                        }
                        return
                    }
                    stream.pieces[stream.first].done += sent
                    stream.bytesHeld -= sent
                    if stream.pieces[stream.first].done < piece.bytes.count { continue }
                }
                stream.pieces[stream.first].bytes = []
                stream.first += 1
            }
            if stream.first == stream.pieces.count {
                stream.pieces.removeAll(keepingCapacity: true)
                stream.first = 0
            } else if stream.first > 1024 {
                stream.pieces.removeFirst(stream.first)
                stream.first = 0
            }
        }
        if isBroken { reset() }
    }

    /// Ends a connection whose both directions have ended.
    func closeIfDone() {
        guard !isOver, toServer.isOver, toClient.isOver else { return }
        isOver = true
        for fd in [client, server] {
            watch.set(fd, [])
            close(fd)
        }
    }

    /// Breaks it off: both ends see a reset.
    func reset() {
        if isOver { return }
        isOver = true
        for fd in [client, server] {
            watch.set(fd, [])
            resetOnClose(fd)
            close(fd)
        }
    }

    private func stream(to end: End) -> Stream { end == .server ? toServer : toClient }

    private func change(to end: End, _ body: (inout Stream) -> Void) {
        if end == .server { body(&toServer) } else { body(&toClient) }
    }
}

/// Makes closing a socket send a reset in place of an orderly end.
func resetOnClose(_ fd: Int32) {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
}
