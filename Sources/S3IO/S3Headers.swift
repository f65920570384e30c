import Glibc

/// Header fields of a reply; names compare without regard to case.
///
/// Kept as they came: a reply has a dozen fields, and one or two of them are ever looked at.
package struct S3Headers: Sendable {
    private var lines: [UInt8] = []
    /// A head that is longer than this is no reply: nothing of it may be believed.
    static let bytesMax = 128 << 10

    package init() {}

    /// Whether lines had to be left out.
    package private(set) var isTooLong = false

    /// Value without blanks around; of a field that came twice, the last.
    package subscript(_ name: String) -> String? {
        var name = name
        return name.withUTF8 { name in
            lines.withUnsafeBufferPointer { bytes in
                guard let found = Self.value(of: name, in: bytes) else { return nil }
                return String(decoding: UnsafeBufferPointer(rebasing: bytes[found]), as: UTF8.self)
            }
        }
    }

    /// The lines, for people.
    var shown: [String] {
        String(decoding: lines, as: UTF8.self).split(whereSeparator: \.isNewline).map(String.init)
    }

    /// Takes one line of a reply's head; a status line begins anew.
    package mutating func add(line: UnsafeRawBufferPointer) {
        if Self.isStatus(line) {
            lines.removeAll(keepingCapacity: true)
            isTooLong = false
            return
        }
        guard lines.count + line.count < Self.bytesMax else {
            isTooLong = true
            return
        }
        if lines.isEmpty { lines.reserveCapacity(1024) }
        lines.append(contentsOf: line)
        // What ends a line is the line, not what is in it.
        if line.last != 0x0a { lines.append(0x0a) }
    }

    /// Whether the line begins the head of a reply.
    static func isStatus(_ line: UnsafeRawBufferPointer) -> Bool {
        guard line.count >= 5, let start = line.baseAddress else { return false }
        return memcmp(start, "HTTP/", 5) == 0
    }

    /// Without regard to the case of ASCII letters; never to the language of the environment.
    private static func isSame(
        _ one: UnsafePointer<UInt8>, _ other: UnsafePointer<UInt8>, _ count: Int
    ) -> Bool {
        (0..<count).allSatisfy { lowercased(one[$0]) == lowercased(other[$0]) }
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 {
        (0x41...0x5a).contains(byte) ? byte | 0x20 : byte
    }

    /// Where the value is of the last line with this name.
    private static func value(
        of name: UnsafeBufferPointer<UInt8>, in bytes: UnsafeBufferPointer<UInt8>
    ) -> Range<Int>? {
        guard let base = bytes.baseAddress, let wanted = name.baseAddress else { return nil }
        var found: Range<Int>?
        var next = 0
        while next < bytes.count {
            let line = next
            var end = bytes.count
            if let feed = memchr(base + line, 0x0a, end - line) {
                end = UnsafeRawPointer(base).distance(to: feed)
            }
            next = end + 1
            var start = line + name.count + 1
            guard start <= end, base[start - 1] == 0x3a,
                isSame(base + line, wanted, name.count)
            else { continue }
            while start < end, base[start] <= 0x20 { start += 1 }
            while end > start, base[end - 1] <= 0x20 { end -= 1 }
            found = start..<end
        }
        return found
    }
}
