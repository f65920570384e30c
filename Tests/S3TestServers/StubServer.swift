import Foundation
import Synchronization

/// A server that says what a test wants it to say, and remembers what it was asked.
public final class StubServer: Sendable {
    /// One request as it came.
    public struct Request: Sendable {
        public var method: String
        public var path: String
        /// Names in lower case.
        public var headers: [String: String]
        public var body: [UInt8]
        /// Seconds since some start.
        public var time: Double
        /// 0-based number of the connection it came on.
        public var connection: Int
        /// What the packets of that connection were marked with, `IP_TOS` or `IPV6_TCLASS`.
        public var typeOfService: Int?
    }

    public enum Answer: Sendable {
        case reply(status: Int, headers: [String], body: [UInt8])
        /// These bytes, then the connection ends.
        case raw([UInt8])
        /// Nothing, until the client gives up.
        case silence
        case hostile(HostileAnswer)

        public static func status(_ status: Int, _ body: String = "") -> Answer {
            .reply(status: status, headers: [], body: Array(body.utf8))
        }
    }

    public let port: UInt16
    public let url: String

    private let listener: ListeningSocket
    private let seen = Mutex<[Request]>([])
    private let connections = Atomic<Int>(0)
    private let hostileBytes = Mutex<[Int]>([])
    private let answer: @Sendable (Int, Request) -> Answer

    /// - Parameters:
    ///   - isV6: On `::1` instead of `127.0.0.1`.
    ///   - answer: Called with the 0-based number of the request.
    public init(
        isV6: Bool = false, _ answer: @escaping @Sendable (Int, Request) -> Answer
    ) throws {
        listener = try ListeningSocket(isV6: isV6)
        port = listener.port
        url = "http://\(isV6 ? "[::1]" : "127.0.0.1"):\(port)/"
        self.answer = answer
        Thread.detachNewThread { [self] in acceptAll() }
    }

    public var requests: [Request] { seen.withLock { $0 } }

    /// How much of each hostile answer the client let it send.
    public var hostileBytesSent: [Int] { hostileBytes.withLock { $0 } }

    /// Ends the server; connections end with their clients.
    public func stop() { listener.stop() }

    private func acceptAll() {
        while true {
            let fd = accept(listener.fd, nil, nil)
            if fd < 0 { break }
            let number = connections.wrappingAdd(1, ordering: .relaxed).oldValue
            Thread.detachNewThread { [self] in
                serve(fd, number)
                close(fd)
            }
        }
        listener.close()
    }

    private func serve(_ fd: Int32, _ connection: Int) {
        var buffer: [UInt8] = []
        while let request = next(fd, &buffer, connection) {
            let number = seen.withLock { seen in
                seen.append(request)
                return seen.count - 1
            }
            switch answer(number, request) {
            case .reply(let status, let headers, let body):
                var head = "HTTP/1.1 \(status) Some\r\n"
                for header in headers { head += header + "\r\n" }
                if !headers.contains(where: { $0.lowercased().hasPrefix("content-length") }) {
                    head += "Content-Length: \(body.count)\r\n"
                }
                sendAll(fd, Array((head + "\r\n").utf8) + (request.method == "HEAD" ? [] : body))
                if request.headers["connection"] == "close" { return }
            case .raw(let bytes):
                sendAll(fd, bytes)
                return
            case .silence:
                var byte: UInt8 = 0
                _ = read(fd, &byte, 1)
                return
            case .hostile(let answer):
                let sent = answer.send(fd)
                hostileBytes.withLock { $0.append(sent) }
                if !answer.keepsConnection { return }
            }
        }
    }

    private func next(_ fd: Int32, _ buffer: inout [UInt8], _ connection: Int) -> Request? {
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            if let end = Data(buffer).range(of: Data("\r\n\r\n".utf8)) {
                let lines = String(decoding: buffer[..<end.lowerBound], as: UTF8.self)
                    .components(separatedBy: "\r\n")
                var headers: [String: String] = [:]
                for line in lines.dropFirst() {
                    guard let colon = line.firstIndex(of: ":") else { continue }
                    headers[line[..<colon].lowercased()] = line[line.index(after: colon)...]
                        .trimmingCharacters(in: .whitespaces)
                }
                let length = Int(headers["content-length"] ?? "0") ?? 0
                if buffer.count >= end.upperBound + length {
                    let words = lines[0].components(separatedBy: " ")
                    let body = Array(buffer[end.upperBound..<end.upperBound + length])
                    buffer.removeFirst(end.upperBound + length)
                    return Request(
                        method: words[0], path: words.count > 1 ? words[1] : "", headers: headers,
                        body: body, time: ProcessInfo.processInfo.systemUptime,
                        connection: connection, typeOfService: listener.typeOfService(of: fd))
                }
            }
            let got = read(fd, &chunk, chunk.count)
            if got <= 0 { return nil }
            buffer += chunk[..<got]
        }
    }
}
