import FileIO

/// Why a cache file cannot be created, opened or trusted.
public struct CacheFileError: Error, Sendable, CustomStringConvertible {
    public enum Kind: Sendable {
        case missing, exists, denied, locked, noSpace, shortFile, io
        /// Not a cache file at all.
        case garbage
        /// A cache file of the original s3backer.
        case foreign
        case otherVolume, otherBlockSize, otherSize
        /// A newer format or an unknown feature.
        case unsupported
        /// Damaged beyond what a mount may decide; `findings` of an inspection say how.
        case needsCheck
        /// The request itself makes no sense (too few slots, too large for the format).
        case invalid
    }

    public let kind: Kind
    public let message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    package init(_ error: FileError) {
        message = error.message
        switch error.kind {
        case .missing: kind = .missing
        case .exists: kind = .exists
        case .denied: kind = .denied
        case .locked: kind = .locked
        case .noSpace: kind = .noSpace
        case .shortFile: kind = .shortFile
        case .io: kind = .io
        }
    }

    public var description: String { message }
}

/// Runs file I/O and turns its errors into this module's.
func io<Result>(_ body: () throws(FileError) -> Result) throws(CacheFileError) -> Result {
    do { return try body() } catch { throw CacheFileError(error) }
}
