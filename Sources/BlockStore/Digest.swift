import COpenSSL

/// Cryptographic digests of bytes in memory.
public enum Digest {
    /// 16 bytes.
    public static func md5(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        compute(bytes, EVP_md5(), byteCount: 16)
    }

    /// 32 bytes.
    public static func sha256(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        compute(bytes, EVP_sha256(), byteCount: 32)
    }

    /// HMAC with SHA-256, 32 bytes.
    public static func hmacSHA256(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        hmac(EVP_sha256(), byteCount: 32, key, message)
    }

    /// HMAC with SHA-1, 20 bytes.
    public static func hmacSHA1(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        hmac(EVP_sha1(), byteCount: 20, key, message)
    }

    private static func hmac(
        _ kind: OpaquePointer?, byteCount: Int, _ key: [UInt8], _ message: [UInt8]
    ) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: byteCount)
        var length: UInt32 = 0
        let result = HMAC(
            kind, key, Int32(key.count), message, message.count, &digest, &length)
        precondition(result != nil && length == byteCount, "libcrypto cannot compute a digest")
        return digest
    }

    /// The usual base64 with padding.
    public static func base64(_ bytes: [UInt8]) -> String {
        let alphabet = Array(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
            for index in 0..<4 {
                let isPadding = index > group.count
                text.append(isPadding ? 0x3d : alphabet[bits >> (18 - 6 * index) & 63])
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Two lowercase digits for each byte.
    public static func hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count * 2)
        for byte in bytes {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    private static func compute(
        _ bytes: UnsafeRawBufferPointer, _ kind: OpaquePointer?, byteCount: Int
    ) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: byteCount)
        var length: UInt32 = 0
        let result = EVP_Digest(bytes.baseAddress, bytes.count, &digest, &length, kind, nil)
        // Fails only without memory, or where the library was built without the algorithm.
        precondition(result == 1 && Int(length) == byteCount, "libcrypto cannot compute a digest")
        return digest
    }
}
