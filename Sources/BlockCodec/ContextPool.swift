import FileIO

/// Contexts of a compression library between uses: making one costs as much as a small block.
final class ContextPool: Sendable {
    /// More only wait for the processors; and for high levels they are large.
    private static let keptMax = 4

    private let idle = Locked<[UInt]>([])
    private let create: @Sendable () -> OpaquePointer?
    private let free: @Sendable (OpaquePointer) -> Void

    init(
        create: @escaping @Sendable () -> OpaquePointer?,
        free: @escaping @Sendable (OpaquePointer) -> Void
    ) {
        self.create = create
        self.free = free
    }

    /// Lends a context to one caller.
    func use<Result>(_ body: (OpaquePointer) -> Result) -> Result {
        let kept = idle.withLock { $0.popLast() }.flatMap { OpaquePointer(bitPattern: $0) }
        guard let context = kept ?? create() else { fatalError("out of memory") }
        defer {
            let isKept = idle.withLock { idle in
                if idle.count == Self.keptMax { return false }
                idle.append(UInt(bitPattern: context))
                return true
            }
            if !isKept { free(context) }
        }
        return body(context)
    }
}
