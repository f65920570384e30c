/// Reads the JSON that `JSON` writes: whole numbers from 0, no member twice. Untrusted.
struct JSONReader {
    struct Malformed: Error { let at: Int }

    private let bytes: [UInt8]
    private var at = 0
    private static let depthMax = 8
    private static let membersMax = 64

    static func read(_ bytes: [UInt8]) throws(Malformed) -> JSON {
        var reader = JSONReader(bytes: bytes)
        let value = try reader.value(0)
        reader.skipBlanks()
        guard reader.at == bytes.count else { throw reader.malformed }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var malformed: Malformed { Malformed(at: at) }
    private var next: UInt8 { at < bytes.count ? bytes[at] : 0 }

    private mutating func skipBlanks() { while next == 0x20 || next == 0x09 { at += 1 } }

    private mutating func take(_ byte: UInt8) throws(Malformed) {
        skipBlanks()
        guard next == byte else { throw malformed }
        at += 1
    }

    private mutating func takes(_ byte: UInt8) -> Bool {
        skipBlanks()
        guard next == byte else { return false }
        at += 1
        return true
    }

    private mutating func value(_ depth: Int) throws(Malformed) -> JSON {
        guard depth < Self.depthMax else { throw malformed }
        skipBlanks()
        switch next {
        case UInt8(ascii: "{"): return try object(depth)
        case UInt8(ascii: "["): return try array(depth)
        case UInt8(ascii: "\""): return .string(try string())
        case 0x30...0x39: return .number(try number())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: throw malformed
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSON) throws(Malformed) -> JSON {
        let count = text.utf8CodeUnitCount
        let isThere = text.withUTF8Buffer { bytes[at...].prefix(count).elementsEqual($0) }
        guard isThere else { throw malformed }
        at += count
        return value
    }

    private mutating func object(_ depth: Int) throws(Malformed) -> JSON {
        try take(UInt8(ascii: "{"))
        var members: [(String, JSON)] = []
        if takes(UInt8(ascii: "}")) { return .object(members) }
        repeat {
            skipBlanks()
            let name = try string()
            guard members.count < Self.membersMax, !members.contains(where: { $0.0 == name }) else {
                throw malformed
            }
            try take(UInt8(ascii: ":"))
            members.append((name, try value(depth + 1)))
        } while takes(UInt8(ascii: ","))
        try take(UInt8(ascii: "}"))
        return .object(members)
    }

    private mutating func array(_ depth: Int) throws(Malformed) -> JSON {
        try take(UInt8(ascii: "["))
        var items: [JSON] = []
        if takes(UInt8(ascii: "]")) { return .array(items) }
        repeat { items.append(try value(depth + 1)) } while takes(UInt8(ascii: ","))
        try take(UInt8(ascii: "]"))
        return .array(items)
    }

    private mutating func number() throws(Malformed) -> UInt64 {
        var result: UInt64 = 0
        let start = at
        while (0x30...0x39).contains(next) {
            let (product, overflowA) = result.multipliedReportingOverflow(by: 10)
            let (sum, overflowB) = product.addingReportingOverflow(UInt64(next - 0x30))
            guard !overflowA, !overflowB else { throw malformed }
            result = sum
            at += 1
        }
        guard at == start + 1 || bytes[start] != 0x30 else { throw malformed }
        return result
    }

    private mutating func string() throws(Malformed) -> String {
        guard next == UInt8(ascii: "\"") else { throw malformed }
        at += 1
        let start = at
        while at < bytes.count, next != UInt8(ascii: "\""), next != UInt8(ascii: "\\") { at += 1 }
        if next == UInt8(ascii: "\"") {
            at += 1
            return String(decoding: bytes[start..<at - 1], as: UTF8.self)
        }
        var units = Array(String(decoding: bytes[start..<at], as: UTF8.self).utf16)
        while next != UInt8(ascii: "\"") {
            guard at < bytes.count else { throw malformed }
            guard next == UInt8(ascii: "\\") else {
                let from = at
                while at < bytes.count, next != UInt8(ascii: "\""), next != UInt8(ascii: "\\") {
                    at += 1
                }
                units += String(decoding: bytes[from..<at], as: UTF8.self).utf16
                continue
            }
            at += 1
            units.append(try escape())
        }
        at += 1
        return String(decoding: units, as: UTF16.self)
    }

    private mutating func escape() throws(Malformed) -> UInt16 {
        let kind = next
        at += 1
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return UInt16(kind)
        case UInt8(ascii: "n"): return 0x0a
        case UInt8(ascii: "t"): return 0x09
        case UInt8(ascii: "u"):
            guard at + 4 <= bytes.count,
                let unit = UInt16(String(decoding: bytes[at..<at + 4], as: UTF8.self), radix: 16)
            else { throw malformed }
            at += 4
            return unit
        default: throw malformed
        }
    }
}

/// Why a document cannot be used, with the path to what is wrong.
struct DocumentError: Error { let message: String }

/// A value in a document, and the way to it.
struct JSONPlace {
    let value: JSON
    let path: String

    func wrong(_ what: String) -> DocumentError { DocumentError(message: "\(path): \(what)") }

    /// nil: there is no such member.
    func find(_ name: String) throws(DocumentError) -> JSONPlace? {
        guard case .object(let members) = value else { throw wrong("is no object") }
        return members.first { $0.0 == name }.map {
            JSONPlace(value: $0.1, path: "\(path).\(name)")
        }
    }

    func member(_ name: String) throws(DocumentError) -> JSONPlace {
        guard let found = try find(name) else { throw wrong("has no member \(name)") }
        return found
    }

    func number(_ most: UInt64 = .max / 4) throws(DocumentError) -> UInt64 {
        guard case .number(let number) = value else { throw wrong("is no number from 0") }
        guard number <= most else { throw wrong("\(number) is more than \(most)") }
        return number
    }

    func int(_ most: Int) throws(DocumentError) -> Int { Int(try number(UInt64(most))) }

    func bool() throws(DocumentError) -> Bool {
        guard case .bool(let bool) = value else { throw wrong("is neither true nor false") }
        return bool
    }

    func string() throws(DocumentError) -> String {
        guard case .string(let text) = value else { throw wrong("is no text") }
        return text
    }

    func items() throws(DocumentError) -> [JSONPlace] {
        guard case .array(let items) = value else { throw wrong("is no array") }
        return items.enumerated().map {
            JSONPlace(value: $0.element, path: "\(path)[\($0.offset)]")
        }
    }

    /// Bytes in hexadecimal digits.
    func bytes(_ count: Int) throws(DocumentError) -> [UInt8] {
        let digits = Array(try string().utf8)
        guard digits.count == 2 * count else { throw wrong("has not \(2 * count) digits") }
        var result: [UInt8] = []
        result.reserveCapacity(count)
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Self.digit(digits[index]), let low = Self.digit(digits[index + 1])
            else { throw wrong("has other characters than 0-9 and a-f") }
            result.append(high << 4 | low)
        }
        return result
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }

    /// `[first, last]`, both included and below `limit`.
    func range(_ limit: UInt64) throws(DocumentError) -> Range<UInt64> {
        let ends = try items()
        guard ends.count == 2 else { throw wrong("is not [first, last]") }
        let first = try ends[0].number()
        let last = try ends[1].number()
        guard first <= last, last < limit else { throw wrong("\(first) to \(last)") }
        return first..<last + 1
    }

    /// Ascending ranges that do not touch.
    func ranges(_ limit: Int) throws(DocumentError) -> [Range<Int>] {
        var result: [Range<Int>] = []
        for item in try items() {
            let range = try item.range(UInt64(limit))
            let next = Int(range.lowerBound)..<Int(range.upperBound)
            if let last = result.last, last.upperBound >= next.lowerBound {
                throw item.wrong("does not come behind the one before")
            }
            result.append(next)
        }
        return result
    }
}
