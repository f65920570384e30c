import COpenSSL

/// A cipher of OpenSSL and what has to be known of it.
public struct Cipher: Sendable, Equatable {
    /// As OpenSSL prints it: part of every signature.
    public let name: String
    /// In bytes.
    public let keyLength: Int
    /// In bytes; 1: a stream cipher.
    let blockLength: Int
    let ivLength: Int

    /// Keys may be longer than the cipher needs, up to this.
    public static let keyLengthMax = SecretBytes.capacityMin
    /// Of the real s3backer.
    public static let usual = "AES-128-CBC"

    /// Whether blocks may be written with it. The initialisation vector of a block is always the
    /// same: a stream cipher would give away the exclusive-or of an old and a new content, and
    /// without one equal pieces show. What the real s3backer up to 1.5.4 wrote with them hangs on
    /// chance, except without initialisation vector (ECB).
    public var isSafe: Bool { blockLength > 1 && ivLength == blockLength }

    /// - Parameter name: Any name that OpenSSL knows, in upper or lower case.
    /// - Returns: nil when there is no such cipher, or none that can encrypt blocks.
    public init?(named name: String) {
        guard let fetched = Self.fetch(name) else { return nil }
        defer { EVP_CIPHER_free(fetched) }
        guard let known = EVP_get_cipherbyname(name),
            let text = OBJ_nid2sn(EVP_CIPHER_get_nid(known))
        else { return nil }
        self.name = String(cString: text)
        keyLength = Int(EVP_CIPHER_get_key_length(fetched))
        blockLength = Int(EVP_CIPHER_get_block_size(fetched))
        ivLength = Int(EVP_CIPHER_get_iv_length(fetched))
        // Others want more than a key, an initialisation vector and bytes.
        let isSimple = EVP_CIPHER_get_mode(fetched) <= EVP_CIPH_CTR_MODE
        let isAuthenticated =
            EVP_CIPHER_get_flags(fetched) & UInt(EVP_CIPH_FLAG_AEAD_CIPHER) != 0
        if !isSimple || isAuthenticated || !(1...Self.keyLengthMax).contains(keyLength) {
            return nil
        }
    }

    /// - Returns: To be freed.
    static func fetch(_ name: String) -> OpaquePointer? {
        if let cipher = EVP_CIPHER_fetch(nil, name, nil) { return cipher }
        // Old ones, such as BF-CBC, are kept apart.
        OSSL_PROVIDER_try_load(nil, "legacy", 1)
        let cipher = EVP_CIPHER_fetch(nil, name, nil)
        ERR_clear_error()
        return cipher
    }
}
