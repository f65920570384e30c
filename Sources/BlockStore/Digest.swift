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
