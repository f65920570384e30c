import BlockCodec

/// What happens to blocks on their way into the bucket.
package struct CodecPlan: Equatable {
    package struct Encryption: Equatable {
        package var cipher: Cipher
        package var password: SecretBytes
        /// nil: as long as the cipher needs.
        package var keyLength: Int?
    }

    package var compression: Compression?
    package var encryption: Encryption?
    /// Of objects that say nothing.
    package var defaultEncoding: String?

    package init(
        compression: Compression? = nil, encryption: Encryption? = nil,
        defaultEncoding: String? = nil
    ) {
        self.compression = compression
        self.encryption = encryption
        self.defaultEncoding = defaultEncoding
    }

    /// Derives the keys.
    package func makeCodec(
        blockSize: Int, bucket: String, prefix: String
    ) throws(StartupError) -> BlockCodec {
        let cipher = encryption.map {
            BlockCipher(
                $0.cipher, password: $0.password, salt: bucket + "/" + prefix,
                keyLength: $0.keyLength)
        }
        do throws(CodecError) {
            return try BlockCodec(
                blockSize: blockSize, compression: compression, encryption: cipher,
                defaultEncoding: defaultEncoding)
        } catch {
            throw StartupError(
                "--defaultContentEncoding=\(defaultEncoding ?? ""): \(error.message); "
                    + "give one that s3backer writes, such as deflate")
        }
    }

    /// Why a volume cannot be used with this plan, and what to do.
    package func explain(_ error: CodecError, place: String) -> String {
        let what = "\(place) \(error.message)"
        switch error.kind {
        case .needsPassword where !error.cipher.isEmpty:
            return "\(place) is encrypted; give --encrypt=\(error.cipher) and the password"
        case .notEncrypted: return "\(what); leave out --encrypt, or choose another volume"
        case .otherCipher: return "\(what); use --encrypt=\(error.cipher)"
        case .signature:
            return "\(what); check --password or --passwordFile, and --keyLength"
        default: return what
        }
    }
}
