import Glibc

/// Dates as S3 and the mount token write them.
public enum S3Date {
    /// `YYYYMMDDTHHMMSSZ` in UTC.
    public static func text(_ seconds: Int = time(nil)) -> String {
        var seconds = seconds
        var parts = tm()
        gmtime_r(&seconds, &parts)
        var text = [CChar](repeating: 0, count: 32)
        let length = strftime(&text, text.count, "%Y%m%dT%H%M%SZ", &parts)
        return String(decoding: text[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// `YYYYMMDDTHHMMSSZ` as `YYYY-MM-DD HH:MM:SS UTC`; anything else unchanged.
    public static func readable(_ text: String) -> String {
        let bytes = Array(text.utf8)
        guard bytes.count == 16, bytes[8] == 0x54, bytes[15] == 0x5a else { return text }
        func part(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
        return "\(part(0..<4))-\(part(4..<6))-\(part(6..<8)) "
            + "\(part(9..<11)):\(part(11..<13)):\(part(13..<15)) UTC"
    }
}
