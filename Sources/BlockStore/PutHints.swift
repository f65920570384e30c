import Synchronization

/// Told once that nothing is worth waiting for any more. For any thread.
public final class CancelFlag: Sendable {
    private let flag = Atomic<Bool>(false)

    public init() {}

    public var isSet: Bool { flag.load(ordering: .relaxed) }
    public func set() { flag.store(true, ordering: .relaxed) }
}

/// What helps a store with a `put`, and need not be heeded.
public struct PutHints: Sendable {
    /// SHA-256 of the bytes, if it is known already.
    public var digest: [UInt8]?
    /// Set: there are newer bytes for the block. The `put` may fail with `.overtaken` then, and may
    /// have happened or yet happen all the same.
    public var overtaken: CancelFlag?

    public init(digest: [UInt8]? = nil, overtaken: CancelFlag? = nil) {
        self.digest = digest
        self.overtaken = overtaken
    }
}
