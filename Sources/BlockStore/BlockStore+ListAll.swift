import FileIO

extension BlockStore {
    /// Lists the whole volume, several parts at the same time. Blocks.
    ///
    /// - Parameter page: Called in a thread of each part; returns false to stop them all.
    /// - Throws: What one of them threw; the others are stopped, then.
    public func listAll(
        parts: Int, _ page: @escaping @Sendable ([ListedBlock]) -> Bool
    ) throws(StoreError) {
        let end = ListingEnd()
        let workers = (0..<parts).map { index in
            Worker(name: "list-\(index)") {
                do throws(StoreError) {
                    try list(ListPart(index, of: parts)) { blocks in
                        if end.isReached { return false }
                        if page(blocks) { return true }
                        end.reach(nil)
                        return false
                    }
                } catch {
                    end.reach(error)
                }
            }
        }
        for worker in workers { worker.join() }
        if let error = end.error { throw error }
    }
}

/// Tells the threads of a listing that it is over.
private final class ListingEnd: Sendable {
    private let state = Locked<(isReached: Bool, error: StoreError?)>((false, nil))

    var isReached: Bool { state.withLock { $0.isReached } }
    var error: StoreError? { state.withLock { $0.error } }

    func reach(_ error: StoreError?) {
        state.withLock { $0 = (true, $0.error ?? error) }
    }
}
