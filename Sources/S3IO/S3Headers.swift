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
        let name = Array(name.lowercased().utf8)
        var found: Range<Int>?
        lines.withUnsafeBufferPointer { bytes in
            var start = 0
            while start < bytes.count {
                let end = bytes[start...].firstIndex(of: 0x0a) ?? bytes.count
                if let value = Self.value(of: name, in: bytes[start..<end]) { found = value }
                start = end + 1
            }
        }
        return found.map { String(decoding: lines[$0], as: UTF8.self) }
    }

    /// The lines, for people.
    var shown: [String] {
        String(decoding: lines, as: UTF8.self).split(whereSeparator: \.isNewline).map(String.init)
    }

    /// Takes one line of a reply's head; a status line begins anew.
    package mutating func add(line: UnsafeRawBufferPointer) {
        if line.starts(with: "HTTP/".utf8) {
            lines.removeAll(keepingCapacity: true)
            isTooLong = false
            return
        }
        guard lines.count + line.count < Self.bytesMax else {
            isTooLong = true
            return
        }
        lines.append(contentsOf: line)
        // What ends a line is the line, not what is in it.
        if line.last != 0x0a { lines.append(0x0a) }
    }

    /// Where the value is, if the line has this name.
    private static func value(
        of name: [UInt8], in line: Slice<UnsafeBufferPointer<UInt8>>
    ) -> Range<Int>? {
        guard line.count > name.count, line[line.startIndex + name.count] == 0x3a else {
            return nil
        }
        for (wanted, byte) in zip(name, line) where wanted != lowercased(byte) { return nil }
        var start = line.startIndex + name.count + 1
        var end = line.endIndex
        while start < end, line[start] <= 0x20 { start += 1 }
        while end > start, line[end - 1] <= 0x20 { end -= 1 }
        return start..<end
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 {
        (0x41...0x5a).contains(byte) ? byte | 0x20 : byte
    }
}
