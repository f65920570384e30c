import CCurl
import Glibc

/// Dates as S3, HTTP and the mount token write them. Seconds are those since 1970.
public enum S3Date {
    /// `YYYYMMDDTHHMMSSZ` in UTC.
    public static func text(_ seconds: Int = time(nil)) -> String {
        formatted(parts(seconds), "%Y%m%dT%H%M%SZ")
    }

    /// `Day, DD Mon YYYY HH:MM:SS GMT`, as in the header `Date` (RFC 9110, section 5.6.7).
    package static func httpText(_ seconds: Int) -> String {
        // The names of strftime would be in the language of the environment.
        let parts = parts(seconds)
        let rest = formatted(parts, "%d # %Y %H:%M:%S GMT")
        let halves = rest.split(separator: "#")
        return "\(days[Int(parts.tm_wday)]), \(halves[0])\(months[Int(parts.tm_mon)])\(halves[1])"
    }

    /// Seconds of `YYYYMMDDTHHMMSSZ`, of `YYYY-MM-DDTHH:MM:SSZ`, or of a date of HTTP; nil for
    /// anything else.
    package static func seconds(_ text: String) -> Int? {
        var digits: [Int] = []
        for byte in text.utf8 where (0x30...0x39).contains(byte) { digits.append(Int(byte) - 0x30) }
        if text.hasSuffix("Z"), text.utf8.count >= 16, text.utf8.count <= 32, digits.count >= 14,
            text.utf8.allSatisfy({ "0123456789TZ-:.".utf8.contains($0) })
        {
            func number(_ range: Range<Int>) -> Int { digits[range].reduce(0) { $0 * 10 + $1 } }
            var parts = tm()
            parts.tm_year = Int32(number(0..<4) - 1900)
            parts.tm_mon = Int32(number(4..<6) - 1)
            parts.tm_mday = Int32(number(6..<8))
            parts.tm_hour = Int32(number(8..<10))
            parts.tm_min = Int32(number(10..<12))
            parts.tm_sec = Int32(number(12..<14))
            return timegm(&parts)
        }
        let seconds = curl_getdate(text, nil)
        return seconds < 0 ? nil : seconds
    }

    /// `YYYYMMDDTHHMMSSZ` as `YYYY-MM-DD HH:MM:SS UTC`; anything else unchanged.
    public static func readable(_ text: String) -> String {
        let bytes = Array(text.utf8)
        guard bytes.count == 16, bytes[8] == 0x54, bytes[15] == 0x5a else { return text }
        func part(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
        return "\(part(0..<4))-\(part(4..<6))-\(part(6..<8)) "
            + "\(part(9..<11)):\(part(11..<13)):\(part(13..<15)) UTC"
    }

    private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    private static func parts(_ seconds: Int) -> tm {
        var seconds = seconds
        var parts = tm()
        gmtime_r(&seconds, &parts)
        return parts
    }

    private static func formatted(_ parts: tm, _ format: String) -> String {
        var parts = parts
        var text = [CChar](repeating: 0, count: 64)
        let length = strftime(&text, text.count, format, &parts)
        return String(decoding: text[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
