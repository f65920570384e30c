import COpenSSL

/// Cryptographic digests of bytes in memory.
public enum Digest {
    // Found by name once: libcrypto takes locks to do so. They live as long as the process.
    nonisolated(unsafe) private static let md5Kind = EVP_MD_fetch(nil, "MD5", nil)
    nonisolated(unsafe) private static let sha256Kind = EVP_MD_fetch(nil, "SHA2-256", nil)

    /// 16 bytes.
    public static func md5(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        compute(bytes, md5Kind, byteCount: 16)
    }

    /// 32 bytes.
    public static func sha256(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        compute(bytes, sha256Kind, byteCount: 32)
    }

    /// HMAC with SHA-256, 32 bytes.
    public static func hmacSHA256(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        message.withUnsafeBytes { HMACKey(sha256: key).sign($0) }
    }

    /// HMAC with SHA-1, 20 bytes.
    public static func hmacSHA1(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 20)
        var length: UInt32 = 0
        let result = HMAC(
            EVP_sha1(), key, Int32(key.count), message, message.count, &digest, &length)
        precondition(result != nil && length == 20, "libcrypto cannot compute a digest")
        return digest
    }

    /// The usual base64 with padding.
    public static func base64(_ bytes: [UInt8]) -> String {
        String(unsafeUninitializedCapacity: (bytes.count + 2) / 3 * 4) { text in
            var end = 0
            for start in stride(from: 0, to: bytes.count, by: 3) {
                let group = bytes[start..<min(start + 3, bytes.count)]
                let bits = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
                for index in 0..<4 {
                    let isPadding = index > group.count
                    text[end] = isPadding ? 0x3d : base64Digits[bits >> (18 - 6 * index) & 63]
                    end += 1
                }
            }
            return end
        }
    }

    private static let base64Digits = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// Two lowercase digits for each byte.
    public static func hex(_ bytes: [UInt8]) -> String {
        String(unsafeUninitializedCapacity: bytes.count * 2) { text in
            for (index, byte) in bytes.enumerated() {
                text[2 * index] = hexDigits[Int(byte >> 4)]
                text[2 * index + 1] = hexDigits[Int(byte & 15)]
            }
            return bytes.count * 2
        }
    }

    private static let hexDigits = Array("0123456789abcdef".utf8)

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

/// A key for HMAC with SHA-256, prepared once for many messages.
///
/// `@unchecked Sendable`: the context is only ever copied, which does not change it.
public final class HMACKey: @unchecked Sendable {
    private let context: OpaquePointer

    nonisolated(unsafe) private static let algorithm = EVP_MAC_fetch(nil, "HMAC", nil)

    public init(sha256 key: [UInt8]) {
        guard let context = EVP_MAC_CTX_new(Self.algorithm) else {
            preconditionFailure("libcrypto has no HMAC")
        }
        self.context = context
        var name = Array("SHA2-256".utf8CString)
        let result = name.withUnsafeMutableBufferPointer { name in
            let options = [
                OSSL_PARAM_construct_utf8_string("digest", name.baseAddress, 0),
                OSSL_PARAM_construct_end(),
            ]
            return EVP_MAC_init(context, key, key.count, options)
        }
        precondition(result == 1, "libcrypto cannot set up a key")
    }

    deinit { EVP_MAC_CTX_free(context) }

    /// 32 bytes.
    public func sign(_ message: UnsafeRawBufferPointer) -> [UInt8] {
        let copy = withExtendedLifetime(self) { EVP_MAC_CTX_dup(context) }
        defer { EVP_MAC_CTX_free(copy) }
        var digest = [UInt8](repeating: 0, count: 32)
        var length = 0
        let bytes = message.assumingMemoryBound(to: UInt8.self)
        let isDone =
            EVP_MAC_update(copy, bytes.baseAddress, bytes.count) == 1
            && EVP_MAC_final(copy, &digest, &length, digest.count) == 1
        precondition(isDone && length == digest.count, "libcrypto cannot compute a digest")
        return digest
    }
}
