import Glibc

/// Answers that no proper server gives. All but `singleBytes` end the connection.
public enum HostileAnswer: Sendable, Equatable {
    /// A reset in place of a reply.
    case resetBeforeReply
    /// A reset after half of the head.
    case resetInHeader
    /// A reset after a quarter of a body of `count` bytes.
    case resetInBody(count: Int)
    /// An orderly end after a quarter of a body of `count` bytes.
    case cutInBody(count: Int)
    /// A good reply of `count` bytes 5, each byte in a packet of its own.
    case singleBytes(count: Int)
    /// A body without end and, unless it is in chunks, of no known length.
    case endlessBody(status: Int, inChunks: Bool)
    /// A head without end: always one more field.
    case endlessHeader
    /// A head with a megabyte of fields.
    case largeHeader
    /// A head with one line of a megabyte.
    case longHeaderLine
    /// An error document that breaks off.
    case truncatedXML(status: Int)
    /// An error document whose entities would become gigabytes.
    case xmlBomb(status: Int)
    /// An error document with elements in elements, ten thousand deep.
    case deepXML(status: Int)
    /// An error document and headers with control characters, raw and escaped.
    case controlCharacters(status: Int)
    /// `Content-Length` is `claimed`, the body has `count` bytes; then the connection ends.
    case wrongLength(claimed: String, count: Int)
    /// `Content-Length` twice, with two values.
    case twoLengths(Int, Int)
    /// No HTTP at all.
    case garbage
    /// What came before HTTP had heads: a body and nothing else.
    case bareBody
    /// A hundred thousand times `100 Continue`, and no reply.
    case endlessContinue

    /// What an endless answer sends at most, should nobody hang up.
    public static let bytesMax = 256 << 20
    public static let message = "what it is"

    /// Sends the answer. Returns how many bytes the other side let it send.
    func send(_ fd: Int32) -> Int {
        switch self {
        case .resetBeforeReply:
            resetOnClose(fd)
            return 0
        case .resetInHeader: return reset(fd, after: "HTTP/1.1 200 OK\r\nETag: \"t")
        case .resetInBody(let count):
            return reset(fd, after: Self.head(200, "Content-Length: \(count)"), count / 4)
        case .cutInBody(let count):
            return Self.send(fd, Self.head(200, "Content-Length: \(count)"), count / 4)
        case .singleBytes(let count):
            let head = Self.head(200, "Content-Length: \(count)")
            return Self.sendSingly(fd, Array(head.utf8) + [UInt8](repeating: 5, count: count))
        case .endlessBody(let status, let inChunks):
            return Self.sendEndlessly(fd, status, inChunks)
        case .endlessHeader:
            return Self.sendEndlessly(
                fd, "HTTP/1.1 200 OK\r\n",
                Self.text(64) { "X-\($0): \(String(repeating: "h", count: 1000))\r\n" })
        case .largeHeader:
            let fields = (0..<1024).map { "X-\($0): \(String(repeating: "h", count: 1010))\r\n" }
            return Self.send(
                fd,
                "HTTP/1.1 200 OK\r\nETag: \"t\"\r\n" + fields.joined()
                    + "Content-Length: 4096\r\n\r\n", 4096)
        case .longHeaderLine:
            let line = "X-Long: " + String(repeating: "h", count: 1 << 20)
            return Self.send(fd, Self.head(200, line + "\r\nContent-Length: 4096"), 4096)
        case .truncatedXML(let status):
            return Self.send(
                fd, status, "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Mess")
        case .xmlBomb(let status): return Self.send(fd, status, Self.bomb)
        case .deepXML(let status):
            let depth = 5000
            return Self.send(
                fd, status,
                String(repeating: "<E>", count: depth) + "<Code>AccessDenied</Code>"
                    + String(repeating: "</E>", count: depth))
        case .controlCharacters(let status):
            let odd = "a\u{1}\u{7}\u{1b}[31m\u{7f}b"
            return Self.send(
                fd, status,
                "<Error><Code>Odd&#10;&#13;Code</Code>"
                    + "<Message>\(Self.message)&#9;&#10;&#x85;</Message><Key>\(odd)</Key></Error>",
                field: "Location: http://x/\(odd)\r\nx-amz-bucket-region: r\(odd)")
        case .wrongLength(let claimed, let count):
            return Self.send(fd, Self.head(200, "Content-Length: \(claimed)"), count)
        case .twoLengths(let first, let second):
            return Self.send(
                fd, Self.head(200, "Content-Length: \(first)\r\nContent-Length: \(second)"),
                max(first, second))
        case .garbage: return Self.send(fd, "\u{0}\u{1}\u{2} 220 mail.example.net ESMTP\r\n\r\n", 0)
        case .bareBody: return Self.send(fd, "", 4096)
        case .endlessContinue:
            return Self.sendEndlessly(
                fd, "", Self.text(1000) { _ in "HTTP/1.1 100 Continue\r\n\r\n" }, limit: 2_500_000)
        }
    }

    var keepsConnection: Bool {
        if case .singleBytes = self { return true }
        return false
    }

    // MARK: Parts

    private static let bomb: String = {
        var text = "<?xml version=\"1.0\"?><!DOCTYPE Error [<!ENTITY e0 \"ha\">"
        for level in 1...30 {
            let inner = String(repeating: "&e\(level - 1);", count: 10)
            text += "<!ENTITY e\(level) \"\(inner)\">"
        }
        return text + "]><Error><Code>&e30;</Code><Message>&e30;</Message></Error>"
    }()

    private static func head(_ status: Int, _ fields: String) -> String {
        "HTTP/1.1 \(status) Some\r\nETag: \"t\"\r\n\(fields)\r\n\r\n"
    }

    private static func text(_ count: Int, _ line: (Int) -> String) -> String {
        (0..<count).map(line).joined()
    }

    private static func send(_ fd: Int32, _ head: String, _ bodyCount: Int) -> Int {
        sendAll(fd, Array(head.utf8) + [UInt8](repeating: 5, count: bodyCount))
    }

    private static func send(
        _ fd: Int32, _ status: Int, _ document: String, field: String = "X: y"
    ) -> Int {
        let length = "Content-Length: \(document.utf8.count)"
        return sendAll(fd, Array((head(status, "\(field)\r\n\(length)") + document).utf8))
    }

    private func reset(_ fd: Int32, after head: String, _ bodyCount: Int = 0) -> Int {
        let sent = Self.send(fd, head, bodyCount)
        resetOnClose(fd)
        return sent
    }

    private static func sendSingly(_ fd: Int32, _ bytes: [UInt8]) -> Int {
        var one: Int32 = 1
        setsockopt(fd, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        for (index, byte) in bytes.enumerated() where sendAll(fd, [byte]) == 0 { return index }
        return bytes.count
    }

    private static func sendEndlessly(_ fd: Int32, _ status: Int, _ inChunks: Bool) -> Int {
        let piece = String(repeating: "5", count: 65536)
        return inChunks
            ? sendEndlessly(
                fd, head(status, "Transfer-Encoding: chunked"), "10000\r\n\(piece)\r\n")
            : sendEndlessly(fd, head(status, "Connection: close"), piece)
    }

    private static func sendEndlessly(
        _ fd: Int32, _ head: String, _ piece: String, limit: Int = bytesMax
    ) -> Int {
        let bytes = Array(piece.utf8)
        var total = sendAll(fd, Array(head.utf8))
        while total < limit {
            let sent = sendAll(fd, bytes)
            total += sent
            if sent < bytes.count { break }
        }
        return total
    }
}
