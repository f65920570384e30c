/// What a store says about the version of an object: its identity, never a checksum.
public enum ObjectVersion: Equatable, Hashable, Sendable {
    /// There is no object: the block is all zeros.
    case absent
    /// The entity tag, without quotes, as the store gave it.
    case tag(String)
}

/// Why a store operation failed.
public struct StoreError: Error, Sendable, CustomStringConvertible {
    public enum Kind: Sendable {
        /// May succeed later: network, overload, disk.
        case temporary
        /// Will not succeed without a change of configuration or rights.
        case permanent
        /// The object exists and cannot be what it should be (size, encoding, signature).
        case damaged
        /// The store has another version than the one to be replaced; nothing was changed.
        case conflict
    }

    public let kind: Kind
    public let message: String
    public let block: UInt64?

    public init(_ kind: Kind, _ message: String, block: UInt64? = nil) {
        self.kind = kind
        self.message = message
        self.block = block
    }

    public var description: String { message }
}

/// What a change of a block has led to.
public struct StoreOutcome: Sendable, Equatable {
    /// The version the block has now.
    public let version: ObjectVersion
    /// A try before the one that succeeded was not answered: it may arrive once more within `lateMs`.
    public let mayArriveAgain: Bool

    public init(_ version: ObjectVersion, mayArriveAgain: Bool = false) {
        self.version = version
        self.mayArriveAgain = mayArriveAgain
    }
}

/// A place for the numbered blocks of one volume, all of one size. A missing block is zeros.
///
/// Every call blocks until the store answered and may come from many threads at once, for
/// different blocks; the cache never has two calls for one block under way.
public protocol BlockStore: Sendable {
    /// Bytes in a block.
    var blockSize: Int { get }

    /// Reads a block whole into `target` (`blockSize` bytes); untouched when absent.
    func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion

    /// The version of a block, without its content.
    func head(_ block: UInt64) throws(StoreError) -> ObjectVersion

    /// Whether `replacing` keeps others' changes safe.
    var honorsConditions: Bool { get }

    /// How long a `put` or `delete` that failed may still take effect, in milliseconds. 0: never.
    var lateMs: UInt64 { get }

    /// Replaces a block. When it returns, the store has it for good.
    /// - Parameter replacing: the version it must have now, else `.conflict` is thrown and nothing
    ///   changed; nil: whatever it has. Only where `honorsConditions`.
    func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?
    ) throws(StoreError) -> StoreOutcome

    /// Removes a block; removing one that is not there succeeds.
    func delete(_ block: UInt64, replacing: ObjectVersion?) throws(StoreError) -> StoreOutcome
}

extension BlockStore {
    /// Replaces a block, whatever is there.
    public func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        try put(block, source, replacing: nil).version
    }

    /// Removes a block, whatever is there.
    public func delete(_ block: UInt64) throws(StoreError) {
        _ = try delete(block, replacing: nil)
    }
}
