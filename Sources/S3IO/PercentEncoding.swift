/// Percent-encoding as Signature V4 wants it, the same in the URL and in what is signed.
package enum PercentEncoding {
    /// Everything but letters, digits and `-._~` as `%XX`; slashes stay if `keepingSlashes`.
    package static func encode(_ text: String, keepingSlashes: Bool) -> String {
        // Nearly all keys have nothing else.
        if text.utf8.allSatisfy({ isUnreserved($0) || (keepingSlashes && $0 == 0x2f) }) {
            return text
        }
        let digits = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            if isUnreserved(byte) || (keepingSlashes && byte == 0x2f) {
                result.append(byte)
            } else {
                result += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// `name=value` pairs in canonical order, both sides encoded.
    package static func query(_ pairs: [(name: String, value: String)]) -> String {
        pairs
            .map {
                encode($0.name, keepingSlashes: false) + "="
                    + encode($0.value, keepingSlashes: false)
            }
            .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            .joined(separator: "&")
    }

    /// The text that a server has encoded, with a plus for a blank as in forms; nil: it is not
    /// encoded, or no UTF-8.
    package static func decode(_ text: String) -> String? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == 0x25 {
                guard let high = rest.popFirst().flatMap(hexValue),
                    let low = rest.popFirst().flatMap(hexValue)
                else { return nil }
                bytes.append(high << 4 | low)
            } else {
                bytes.append(byte == 0x2b ? 0x20 : byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x41...0x46: digit - 0x41 + 10
        case 0x61...0x66: digit - 0x61 + 10
        default: nil
        }
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: true
        default: false
        }
    }
}
