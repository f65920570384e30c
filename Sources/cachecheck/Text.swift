import BlockStore

/// Numbers, times and foreign text for people.
enum Text {
    /// `text` with everything that could steer a terminal written as `\u{..}`.
    static func safe(_ text: String, keepsLines: Bool = false) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            if isPlain(scalar) || (keepsLines && scalar == "\n") {
                result.unicodeScalars.append(scalar)
            } else {
                result += "\\u{\(String(scalar.value, radix: 16))}"
            }
        }
        return result
    }

    /// Neither control nor format characters (also those that turn the direction of writing).
    static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned,
            .privateUse:
            false
        default: true
        }
    }

    static func count(_ number: Int, _ what: String) -> String {
        number == 1 ? "1 \(what)" : "\(number) \(what)s"
    }

    /// `1.5 MiB (1572864 bytes)`; the first number is cut, not rounded.
    static func size(_ bytes: UInt64) -> String {
        let exact = bytes == 1 ? "1 byte" : "\(bytes) bytes"
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
        var unit = -1
        var shift: UInt64 = 0
        while unit + 1 < units.count, bytes >> (shift + 10) > 0 {
            unit += 1
            shift += 10
        }
        guard unit >= 0 else { return exact }
        let whole = bytes >> shift
        let tenth = ((bytes >> (shift - 10)) & 1023) * 10 / 1024
        return "\(whole)\(tenth == 0 ? "" : ".\(tenth)") \(units[unit]) (\(exact))"
    }

    /// Seconds since 1970 as `2026-11-22 15:43:26 UTC`.
    static func time(_ seconds: UInt64) -> String {
        if seconds == 0 { return "unknown" }
        // Up to the year 9999.
        guard seconds < 253_402_300_800 else { return "second \(seconds)" }
        let (days, rest) = Int(seconds).quotientAndRemainder(dividingBy: 86_400)
        let (year, month, day) = date(days)
        let parts = [rest / 3600, rest / 60 % 60, rest % 60].map(padded).joined(separator: ":")
        return "\(year)-\(padded(month))-\(padded(day)) \(parts) UTC"
    }

    private static func padded(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }

    /// Gregorian date of a day after 1970-01-01, by eras of 400 years that begin in March.
    private static func date(_ days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let (era, dayOfEra) = shifted.quotientAndRemainder(dividingBy: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let part = (5 * dayOfYear + 2) / 153
        let month = part < 10 ? part + 3 : part - 9
        let year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * part + 2) / 5 + 1)
    }

    static func uuid(_ bytes: [UInt8]) -> String {
        if bytes.allSatisfy({ $0 == 0 }) { return "none" }
        let text = Array(Digest.hex(bytes))
        return [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { String(text[$0]) }
            .joined(separator: "-")
    }
}
