import BlockStore
import CacheFile

extension Base {
    /// The identity of an object as it is kept in the directory.
    package init(_ version: ObjectVersion) {
        switch version {
        case .absent: self = .absent
        case .tag(let text):
            if let digest = Self.md5(text) {
                self.init(.md5, digest)
            } else if let parts = Self.multipart(text) {
                self.init(.multipart, parts)
            } else if text.utf8.count <= 24, !text.utf8.contains(0) {
                self.init(.text, Array(text.utf8))
            } else {
                let digest = Array(text.utf8).withUnsafeBytes { Digest.sha256($0) }
                self.init(.hashed, Array(digest.prefix(24)))
            }
        }
    }

    /// 32 lower-case hex digits as 16 bytes.
    private static func md5<Text: StringProtocol>(_ text: Text) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count == 32 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 32, by: 2) {
            guard let high = hexValue(digits[index]), let low = hexValue(digits[index + 1]) else {
                return nil
            }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    /// `HEX-N` as 16 bytes and a u32.
    private static func multipart(_ text: String) -> [UInt8]? {
        let pieces = text.split(separator: "-", omittingEmptySubsequences: false)
        guard pieces.count == 2, let digest = md5(pieces[0]), let count = UInt32(pieces[1]),
            String(count) == pieces[1]
        else { return nil }
        return digest + withUnsafeBytes(of: count.littleEndian) { Array($0) }
    }

    private static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x61...0x66: digit - 0x61 + 10
        default: nil
        }
    }
}

extension ObjectVersion {
    /// The version a base stands for; nil where it does not say (unknown, hashed).
    package init?(_ base: Base) {
        switch base.kind {
        case .unknown, .hashed: return nil
        case .absent: self = .absent
        case .md5: self = .tag(Digest.hex(Array(base.bytes.prefix(16))))
        case .multipart:
            let count = base.bytes[16..<20].enumerated()
                .reduce(UInt32(0)) { $0 | UInt32($1.element) << (8 * UInt32($1.offset)) }
            self = .tag("\(Digest.hex(Array(base.bytes.prefix(16))))-\(count)")
        case .text:
            self = .tag(String(decoding: base.bytes.prefix { $0 != 0 }, as: UTF8.self))
        }
    }
}
