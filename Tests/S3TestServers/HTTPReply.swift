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

    public init() throws {
        fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = loopback(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let fd = fd
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(fd, $0, length) == 0 && listen(fd, 64) == 0
                    && getsockname(fd, $0, &length) == 0
            }
        }
        guard isBound else { throw TestServer.Failure(description: "cannot listen") }
        port = UInt16(bigEndian: address.sin_port)
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
