/// Sizes as the command line writes them: a number and at most one suffix letter.
package enum SizeGrammar {
    package enum Failure: Error, Equatable {
        case malformed
        case tooBig
    }

    private static let suffixes = Array("kmgtpezy".utf8)

    /// Reads `123`, `64k`, `1T`: suffixes k, m, g, t, p, e, z, y stand for 2^10 to 2^80, in either
    /// case. The result is at most `max`.
    package static func parse(_ text: String, max: UInt64 = UInt64(Int64.max)) throws(Failure)
        -> UInt64
    {
        var digits = Array(text.utf8)
        var shift = 0
        if let last = digits.last, let index = suffixes.firstIndex(of: last | 0x20) {
            shift = (index + 1) * 10
            digits.removeLast()
        }
        if digits.isEmpty { throw .malformed }
        var value: UInt64 = 0
        for digit in digits {
            guard (0x30...0x39).contains(digit) else { throw .malformed }
            let (product, overflowA) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflowB) = product.addingReportingOverflow(UInt64(digit - 0x30))
            if overflowA || overflowB { throw .tooBig }
            value = sum
        }
        if value == 0 { return 0 }
        if shift >= 64 || value > max >> UInt64(shift) { throw .tooBig }
        return value << UInt64(shift)
    }

    /// Whether `text` ends in a suffix, that is, counts bytes and not pieces.
    package static func hasSuffix(_ text: String) -> Bool {
        guard let last = text.utf8.last else { return false }
        return suffixes.contains(last | 0x20)
    }

    /// The shortest way to write a size exactly: `1m`, `64k`, `1000`.
    package static func text(_ bytes: UInt64) -> String {
        var value = bytes
        var count = 0
        while value != 0 && value % 1024 == 0 && count < 6 {
            value /= 1024
            count += 1
        }
        if count == 0 { return String(value) }
        return String(value) + String(UnicodeScalar(suffixes[count - 1]))
    }
}
