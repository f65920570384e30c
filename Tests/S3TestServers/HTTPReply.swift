import Foundation
import Glibc
import Synchronization

/// The least of an HTTP client: one request, one connection.
public struct HTTPReply: Sendable {
    public var status: Int
    /// Names in lower case.
    public var headers: [String: String]
    public var body: [UInt8]

    public var text: String { String(decoding: body, as: UTF8.self) }

    /// A reply that does not end within 60 s is taken as far as it came.
    public static func get(
        port: UInt16, _ method: String, _ path: String, headers: [String], body: [UInt8] = []
    ) throws -> HTTPReply {
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        defer { close(fd) }
        var address = loopback(port)
        let isConnected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard isConnected else { throw TestServer.Failure(description: "cannot connect") }
        var head = "\(method) \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nConnection: close\r\n"
        for header in headers { head += header + "\r\n" }
        head += "Content-Length: \(body.count)\r\n\r\n"
        sendAll(fd, Array(head.utf8) + body)
        var received: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let got = read(fd, &chunk, chunk.count)
            if got <= 0 { break }
            received += chunk[..<got]
        }
        return try HTTPReply(received)
    }

    init(_ bytes: [UInt8]) throws {
        guard let end = Data(bytes).range(of: Data("\r\n\r\n".utf8)) else {
            throw TestServer.Failure(description: "no HTTP reply")
        }
        let lines = String(decoding: bytes[..<end.lowerBound], as: UTF8.self)
            .components(separatedBy: "\r\n")
        status = Int(lines[0].components(separatedBy: " ").dropFirst().first ?? "") ?? 0
        headers = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            headers[line[..<colon].lowercased()] = line[line.index(after: colon)...]
                .trimmingCharacters(in: .whitespaces)
        }
        body = Array(bytes[end.upperBound...])
    }
}

func loopback(_ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
}

private func loopbackV6() -> sockaddr_in6 {
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_addr = in6addr_loopback
    return address
}

/// Returns how many bytes were sent before the other side had enough.
@discardableResult
func sendAll(_ fd: Int32, _ bytes: [UInt8]) -> Int {
    var done = 0
    while done < bytes.count {
        let sent = bytes.withUnsafeBytes {
            send(fd, $0.baseAddress.map { $0 + done }, $0.count - done, Int32(MSG_NOSIGNAL))
        }
        if sent <= 0 { break }
        done += sent
    }
    return done
}

/// A TCP port of 127.0.0.1 that the kernel chose.
public final class ListeningSocket: Sendable {
    public let port: UInt16
    let fd: Int32
    private let isV6: Bool

    /// - Parameter isV6: On `::1` instead.
    public init(isV6: Bool = false) throws {
        self.isV6 = isV6
        fd = socket(isV6 ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        // What packets are marked with is kept for `typeOfService`.
        var one: Int32 = 1
        setsockopt(
            fd, Int32(isV6 ? IPPROTO_IPV6 : IPPROTO_IP), isV6 ? IPV6_RECVTCLASS : IP_RECVTOS, &one,
            socklen_t(MemoryLayout<Int32>.size))
        let bound = isV6 ? Self.bind(fd, loopbackV6()) : Self.bind(fd, loopback(0))
        guard let bound else { throw TestServer.Failure(description: "cannot listen") }
        port = bound
    }

    /// - Returns: The port; nil: cannot listen.
    private static func bind<Address>(_ fd: Int32, _ address: Address) -> UInt16? {
        var address = address
        var length = socklen_t(MemoryLayout<Address>.size)
        return withUnsafeMutableBytes(of: &address) { bytes in
            let start = bytes.assumingMemoryBound(to: sockaddr.self).baseAddress
            guard let start, Glibc.bind(fd, start, length) == 0, listen(fd, 64) == 0,
                getsockname(fd, start, &length) == 0
            else { return nil }
            // At the same place in both kinds of addresses.
            return UInt16(bigEndian: bytes.load(fromByteOffset: 2, as: UInt16.self))
        }
    }

    /// What the packets of a connection that was taken are marked with; nil: the kernel did not say.
    func typeOfService(of connection: Int32) -> Int? {
        var message = [Int32](repeating: 0, count: 16)
        var length = socklen_t(MemoryLayout<Int32>.size * message.count)
        let result =
            isV6
            ? getsockopt(
                connection, Int32(IPPROTO_IPV6), IPV6_2292PKTOPTIONS, &message, &length)
            : getsockopt(connection, Int32(IPPROTO_IP), IP_PKTOPTIONS, &message, &length)
        // The head of a control message is 16 bytes long; then comes the value.
        return result == 0 && length >= 20 ? Int(message[4]) : nil
    }

    /// Takes one connection, reads what comes first, and closes it.
    public func firstBytes() -> [UInt8] {
        let connection = accept(fd, nil, nil)
        defer { Glibc.close(connection) }
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = read(connection, &bytes, bytes.count)
        return Array(bytes[..<max(0, count)])
    }

    private let isOpen = Mutex(true)

    /// Makes `accept` fail. Also after `close`, when the number may be that of another socket.
    func stop() { isOpen.withLock { if $0 { _ = shutdown(fd, Int32(SHUT_RDWR)) } } }

    public func close() {
        isOpen.withLock { isOpen in
            if isOpen { Glibc.close(fd) }
            isOpen = false
        }
    }
}
