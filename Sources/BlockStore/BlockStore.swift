import FileIO

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
        /// Given up because there are newer bytes; may have happened, or yet happen.
        case overtaken
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

/// When a read gives content.
public enum ReadCondition: Sendable, Equatable {
    case always
    /// Only of this version; of any other, `.conflict` is thrown.
    case expecting(ObjectVersion)
    /// Not of this version, which is known already.
    case unlessKnown(ObjectVersion)
}

/// What a conditional read has led to.
public enum ReadAnswer: Sendable, Equatable {
    /// The target has the content of this version; when absent it is untouched.
    case content(ObjectVersion)
    /// The block still has the version that is known. The target may have been written to.
    case unchanged
}

/// One block that has an object, as a listing shows it.
public struct ListedBlock: Sendable, Equatable {
    public let block: UInt64
    /// nil where the store would have to read the block for it: ask `head`.
    public let version: ObjectVersion?
    /// Size of the object in bytes.
    public let byteCount: UInt64

    public init(block: UInt64, version: ObjectVersion?, byteCount: UInt64) {
        self.block = block
        self.version = version
        self.byteCount = byteCount
    }
}

/// The blocks of a range that have an object, as far as one request tells.
public struct ListedRange: Sendable, Equatable {
    /// In ascending order.
    public let blocks: [ListedBlock]
    /// Every block before this one, from the beginning of the range on, that is not named had no
    /// object. Behind the beginning, so that asking on from here comes to an end.
    public let end: UInt64

    public init(_ blocks: [ListedBlock], end: UInt64) {
        self.blocks = blocks
        self.end = end
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

    /// Reads some bytes of a block into `target`, which has their number.
    func read(
        _ block: UInt64, _ range: Range<Int>, into target: UnsafeMutableRawBufferPointer,
        _ condition: ReadCondition
    ) throws(StoreError) -> ReadAnswer

    /// The version of a block, without its content.
    func head(_ block: UInt64) throws(StoreError) -> ObjectVersion

    /// Whether `replacing` keeps others' changes safe.
    var honorsConditions: Bool { get }

    /// How long a `put` or `delete` that failed may still take effect, in milliseconds. 0: never.
    var lateMs: UInt64 { get }

    /// Replaces a block. When it returns, the store has it for good.
    /// - Parameters:
    ///   - replacing: the version it must have now, else `.conflict` is thrown and nothing changed;
    ///     nil: whatever it has. Only where `honorsConditions`.
    ///   - hints: what helps.
    func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?,
        _ hints: PutHints
    ) throws(StoreError) -> StoreOutcome

    /// Removes a block; removing one that is not there succeeds.
    func delete(_ block: UInt64, replacing: ObjectVersion?) throws(StoreError) -> StoreOutcome

    /// How many blocks one request deletes; 1: each takes its own.
    var deletedTogether: Int { get }

    /// Removes many blocks, whatever is there. No block twice.
    ///
    /// - Returns: what became of each, in the same order.
    func delete(_ blocks: [UInt64]) -> [Result<StoreOutcome, StoreError>]

    /// Tells of every block of a part that has an object, a page of some thousand at most at a time,
    /// in no order. When it returns without having been stopped, the other blocks of the part had
    /// none; blocks that change meanwhile may be told of either way, or twice.
    ///
    /// - Parameter page: Called in the calling thread; returns false to stop.
    func list(
        _ part: ListPart, _ page: ([ListedBlock]) -> Bool
    ) throws(StoreError)

    /// Whether `listed` takes no longer for a range than for the blocks it names, and shows what was
    /// changed before it was called.
    var listsInOrder: Bool { get }

    /// Tells of the blocks of a range that have an object, from its beginning on, some thousand at
    /// most. Blocks that change meanwhile may be told of either way. Only where `listsInOrder`.
    ///
    /// - Parameter range: Not empty.
    func listed(_ range: Range<UInt64>) throws(StoreError) -> ListedRange
}

extension BlockStore {
    /// Replaces a block, without help.
    public func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?
    ) throws(StoreError) -> StoreOutcome {
        try put(block, source, replacing: replacing, PutHints())
    }

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

    /// Reads the whole block.
    public func read(
        _ block: UInt64, _ range: Range<Int>, into target: UnsafeMutableRawBufferPointer,
        _ condition: ReadCondition
    ) throws(StoreError) -> ReadAnswer {
        precondition(range.count == target.count && range.upperBound <= blockSize)
        let buffer = AlignedBuffer(blockSize)
        let version = try get(block, into: buffer.mutableBytes)
        switch condition {
        case .unlessKnown(version): return .unchanged
        case .expecting(let expected) where expected != version:
            throw StoreError(.conflict, "block \(block): there is another version", block: block)
        default: break
        }
        if version != .absent {
            target.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer.bytes[range]))
        }
        return .content(version)
    }

    public var listsInOrder: Bool { false }

    public func listed(_ range: Range<UInt64>) throws(StoreError) -> ListedRange {
        throw StoreError(.permanent, "the store cannot list a range")
    }

    public var deletedTogether: Int { 1 }

    /// One after the other.
    public func delete(_ blocks: [UInt64]) -> [Result<StoreOutcome, StoreError>] {
        blocks.map { block in
            do throws(StoreError) {
                return .success(try delete(block, replacing: nil))
            } catch {
                return .failure(error)
            }
        }
    }
}
