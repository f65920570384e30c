import COpenSSL

/// Encrypts and signs blocks, byte for byte as the real s3backer does (docs/objects.md).
///
/// Calls may come from any number of threads. `@unchecked Sendable`: what OpenSSL keeps here is
/// only read after `init`; every call makes contexts of its own.
public final class BlockCipher: @unchecked Sendable {
    public let cipher: Cipher

    private let implementation: OpaquePointer
    /// Of the whole derived length, while the cipher takes as much as it needs.
    package let key: SecretBytes
    package let ivKey: SecretBytes
    /// A signature with the key, before its first byte.
    private let unsigned: OpaquePointer

    private static let rounds: Int32 = 5000
    static let signatureBytes = 20
    /// An encrypted block is at most this much longer.
    package static let paddingMax = Int(EVP_MAX_BLOCK_LENGTH)

    /// Derives the keys, which takes some milliseconds.
    ///
    /// - Parameters:
    ///   - salt: Bucket, slash and prefix.
    ///   - keyLength: Bytes to derive, `cipher.keyLength...Cipher.keyLengthMax`; nil: no more than
    ///     the cipher needs.
    public init(_ cipher: Cipher, password: SecretBytes, salt: String, keyLength: Int?) {
        let length = keyLength ?? cipher.keyLength
        precondition((cipher.keyLength...Cipher.keyLengthMax).contains(length))
        self.cipher = cipher
        key = password.withBytes { Self.derive($0, salt: Array(salt.utf8), length) }
        let first = key
        ivKey = key.withBytes { Self.derive($0, salt: first, length) }
        guard let implementation = Cipher.fetch(cipher.name),
            let unsigned = Self.startSignature(key)
        else { fatalError("libcrypto cannot encrypt: out of memory") }
        self.implementation = implementation
        self.unsigned = unsigned
    }

    deinit {
        EVP_CIPHER_free(implementation)
        EVP_MAC_CTX_free(unsigned)
    }

    // MARK: Keys

    private static func derive(
        _ password: UnsafeRawBufferPointer, salt: [UInt8], _ length: Int
    ) -> SecretBytes {
        salt.withUnsafeBytes { derive(password, saltBytes: $0, length) }
    }

    private static func derive(
        _ password: UnsafeRawBufferPointer, salt: SecretBytes, _ length: Int
    ) -> SecretBytes {
        salt.withBytes { derive(password, saltBytes: $0, length) }
    }

    private static func derive(
        _ password: UnsafeRawBufferPointer, saltBytes: UnsafeRawBufferPointer, _ length: Int
    ) -> SecretBytes {
        SecretBytes(countMax: length) { target in
            let result = PKCS5_PBKDF2_HMAC_SHA1(
                password.bindMemory(to: CChar.self).baseAddress, Int32(password.count),
                saltBytes.bindMemory(to: UInt8.self).baseAddress, Int32(saltBytes.count), rounds,
                Int32(length), target.bindMemory(to: UInt8.self).baseAddress)
            precondition(result == 1, "libcrypto cannot derive a key")
            return length
        }
    }

    /// The initialisation vector of a block: always the same.
    package func iv(_ block: UInt64) -> [UInt8] {
        var bytes = BlockCodec.digits(block)
        bytes += [UInt8](repeating: 0, count: Int(EVP_MAX_IV_LENGTH) - bytes.count)
        let count = bytes.withUnsafeMutableBytes { buffer in
            transform(
                buffer, count: cipher.blockLength, isEncrypting: true, key: ivKey, iv: ivKey.start,
                isPadded: false)
        }
        precondition(count == cipher.blockLength, "libcrypto cannot encrypt")
        // Behind the one block there would be digits, if the cipher wanted more.
        return bytes[..<cipher.blockLength]
            + [UInt8](repeating: 0, count: bytes.count - cipher.blockLength)
    }

    // MARK: Encryption

    /// Encrypts in place.
    ///
    /// - Parameter buffer: Has room for `paddingMax` bytes more.
    /// - Returns: How many bytes there are now.
    package func encrypt(_ block: UInt64, _ buffer: UnsafeMutableRawBufferPointer, count: Int)
        -> Int
    {
        precondition(buffer.count - count >= Self.paddingMax)
        let encrypted = transform(
            buffer, count: count, isEncrypting: true, key: key, iv: iv(block), isPadded: true)
        guard let encrypted else { preconditionFailure("libcrypto cannot encrypt") }
        return encrypted
    }

    /// Decrypts in place.
    ///
    /// - Returns: How many bytes there are now; nil: these were not encrypted with this key.
    package func decrypt(_ block: UInt64, _ buffer: UnsafeMutableRawBufferPointer) -> Int? {
        transform(
            buffer, count: buffer.count, isEncrypting: false, key: key, iv: iv(block),
            isPadded: true)
    }

    private func transform(
        _ buffer: UnsafeMutableRawBufferPointer, count: Int, isEncrypting: Bool, key: SecretBytes,
        iv: UnsafePointer<UInt8>?, isPadded: Bool
    ) -> Int? {
        guard let context = EVP_CIPHER_CTX_new(),
            let start = buffer.bindMemory(to: UInt8.self).baseAddress
        else { return nil }
        defer { EVP_CIPHER_CTX_free(context) }
        var length: Int32 = 0
        var rest: Int32 = 0
        guard
            EVP_CipherInit_ex2(
                context, implementation, key.start, iv, isEncrypting ? 1 : 0, nil) == 1,
            EVP_CIPHER_CTX_set_padding(context, isPadded ? 1 : 0) == 1,
            EVP_CipherUpdate(context, start, &length, start, Int32(count)) == 1,
            EVP_CipherFinal_ex(context, start + Int(length), &rest) == 1
        else {
            ERR_clear_error()
            return nil
        }
        return Int(length + rest)
    }

    // MARK: Signature

    private static func startSignature(_ key: SecretBytes) -> OpaquePointer? {
        guard let algorithm = EVP_MAC_fetch(nil, OSSL_MAC_NAME_HMAC, nil) else { return nil }
        defer { EVP_MAC_free(algorithm) }
        guard let context = EVP_MAC_CTX_new(algorithm) else { return nil }
        var digest = Array("SHA1".utf8CString)
        let result = digest.withUnsafeMutableBufferPointer { name in
            let parameters = [
                OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name.baseAddress, 0),
                OSSL_PARAM_construct_end(),
            ]
            return EVP_MAC_init(context, key.start, key.count, parameters)
        }
        if result == 1 { return context }
        EVP_MAC_CTX_free(context)
        return nil
    }

    /// Binds encrypted bytes to block, cipher and password.
    package func sign(_ block: UInt64, _ body: UnsafeRawBufferPointer) -> [UInt8] {
        let context = EVP_MAC_CTX_dup(unsigned)
        defer { EVP_MAC_CTX_free(context) }
        let head = BlockCodec.digits(block) + Array(cipher.name.utf8)
        var signature = [UInt8](repeating: 0, count: Self.signatureBytes)
        var length = 0
        let isMade =
            EVP_MAC_update(context, head, head.count) == 1
            && EVP_MAC_update(
                context, body.bindMemory(to: UInt8.self).baseAddress, body.count) == 1
            && EVP_MAC_final(context, &signature, &length, signature.count) == 1
        precondition(isMade && length == signature.count, "libcrypto cannot sign")
        return signature
    }

    /// Takes the same time whatever differs.
    func isSigned(
        _ block: UInt64, _ body: UnsafeRawBufferPointer, with signature: [UInt8]
    ) -> Bool {
        let wanted = sign(block, body)
        return signature.count == wanted.count
            && CRYPTO_memcmp(signature, wanted, wanted.count) == 0
    }
}
