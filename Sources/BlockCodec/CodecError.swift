/// Why bytes of an object are not a block, or a block cannot become one.
public struct CodecError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Kind: Sendable {
        /// `Content-Encoding` is not one of the forms that exist.
        case unknownEncoding
        /// Encrypted, and there is no password.
        case needsPassword
        /// Encrypted with another cipher than the one of the mount.
        case otherCipher
        /// Not encrypted, although the mount encrypts.
        case notEncrypted
        /// The signature is missing or does not fit content, number, cipher and password.
        case signature
        /// What is left after the checks before it does not become a block.
        case damaged
        /// No block can be made with these settings.
        case unusable
    }

    public let kind: Kind
    /// The end of a sentence that begins with the name of the object; one line, never data.
    public let message: String
    /// The cipher of the object, where it has one.
    public let cipher: String

    init(_ kind: Kind, _ message: String, cipher: String = "") {
        self.kind = kind
        self.message = message
        self.cipher = cipher
    }

    public var description: String { message }
}
