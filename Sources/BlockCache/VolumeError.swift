/// Why the volume could not do what was asked.
public struct VolumeError: Error, Sendable, CustomStringConvertible {
    public enum Kind: Sendable {
        /// The cache file could not be read.
        case io
        /// Stored bytes do not match their checksum and no other copy exists.
        case damaged
        /// The volume is stopping.
        case stopped
        /// A write or flush of the cache file failed; nothing is acknowledged any more.
        case poisoned
        /// The store failed.
        case store
    }

    public let kind: Kind
    public let message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var description: String { message }
}
