import FileIO

/// Sees to it that the end of a mount does not take longer than it may, whatever the store does.
///
/// `@unchecked Sendable`: `isOver` is only touched under `condition`.
final class StopLimit: @unchecked Sendable {
    /// How long uploads may go on; nil: until they are done.
    let uploadMs: Int?
    private let condition = Condition()
    private var isOver = false
    private var watcher: Worker?

    /// What is kept for the rest: the last checkpoint, and letting go of the volume.
    private static let restMaxMs = 2000
    /// To remove the mark in the bucket, however short the limit is.
    private static let releaseMinMs = 1000

    /// - Parameters:
    ///   - limitMs: For all; nil: there is none.
    ///   - home: Its requests are ended, first those of blocks, in the end all.
    init(_ limitMs: Int?, _ home: any VolumeHome) {
        guard let limitMs else {
            uploadMs = nil
            return
        }
        let uploadMs = limitMs - min(Self.restMaxMs, limitMs / 5)
        self.uploadMs = uploadMs
        let begun = Monotonic.nowMs
        let allMs = max(limitMs, Self.releaseMinMs)
        nonisolated(unsafe) let home = home
        watcher = Worker(name: "limit") { [self] in
            if wait(until: begun + UInt64(uploadMs)) { home.cancelRequests(.ofBlocks) }
            if wait(until: begun + UInt64(allMs)) { home.cancelRequests(.all) }
        }
    }

    /// - Returns: Whether it is that late; else it is over.
    private func wait(until ms: UInt64) -> Bool {
        condition.withLock {
            while !isOver {
                let now = Monotonic.nowMs
                if now >= ms { return true }
                condition.wait(ms: ms - now)
            }
            return false
        }
    }

    /// All has ended. Blocks for a moment.
    func end() {
        condition.withLock {
            isOver = true
            condition.broadcast()
        }
        watcher?.join()
        watcher = nil
    }
}
