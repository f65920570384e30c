/// Percent-encoding as Signature V4 wants it, the same in the URL and in what is signed.
package enum PercentEncoding {
    /// Everything but letters, digits and `-._~` as `%XX`; slashes stay if `keepingSlashes`.
    package static func encode(_ text: String, keepingSlashes: Bool) -> String {
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

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: true
        default: false
        }
    }
}
