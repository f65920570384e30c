import BlockCache
import CacheFile
import FileIO
import Journal
import Simulation

/// Steps that scenarios with an exact order of events are made of.
extension SimWorld {
    /// A world in which nothing happens by itself: no upload, no timer.
    static func quiet(_ change: (inout WorldPlan) -> Void = { _ in }) throws -> SimWorld {
        var plan = WorldPlan()
        plan.blockSize = 16384
        plan.volumeBlocks = 10
        plan.storedPercent = 100
        plan.engine.writeDelayMs = 1 << 50
        plan.engine.checkpointIntervalMs = 1 << 40
        plan.engine.syncIntervalMs = 1 << 40
        plan.engine.sealDelayMs = 1 << 40
        plan.engine.retryDelayMs = 10
        plan.engine.retryDelayMaxMs = 100
        change(&plan)
        let world = try SimWorld(plan, seed: 1)
        world.keepsLog = true
        return world
    }

    // MARK: Users

    func writeBlock(_ block: Int) {
        write(content(plan.blockSize), at: block * plan.blockSize)
        settle()
    }

    func writeGranules(_ block: Int, _ granules: Range<Int>) {
        let size = geometry.granuleSize
        write(
            content(granules.count * size), at: block * plan.blockSize + granules.lowerBound * size)
        settle()
    }

    func readGranules(_ block: Int, _ granules: Range<Int>, mayHit: Bool = false) {
        let size = geometry.granuleSize
        let start = block * plan.blockSize
        let range = start + granules.lowerBound * size..<start + granules.upperBound * size
        read(range, mayHit: mayHit)
        settle()
    }

    func fsync() throws(Violation) {
        startSync()
        settle()
        try finishAll()
    }

    func wait(_ milliseconds: UInt64) {
        pass(milliseconds)
        settle()
    }

    // MARK: I/O

    func isKind(_ item: PendingItem, _ name: ItemName) -> Bool {
        switch (item.kind, name) {
        case (.group, .group), (.flush, .flush), (.read, .read), (.hit, .hit),
            (.destage, .destage), (.checkpoint, .checkpoint), (.fetch, .fetch), (.upload, .upload),
            (.settle, .settle), (.move, .move), (.survey, .survey):
            return true
        case (.slot(let write), .userSlot):
            if case .user = write.purpose { return true }
            return false
        case (.slot(let write), .fill):
            if case .fill = write.purpose { return true }
            return false
        default: return false
        }
    }

    enum ItemName {
        case group, flush, userSlot, fill, read, destage, checkpoint, fetch, upload, settle, move
        case survey, hit
    }

    func first(_ name: ItemName) throws(Violation) -> PendingItem {
        guard let item = pending.first(where: { isKind($0, name) }) else {
            throw Violation(
                "scenario: no \(name) is under way; before: \(log.suffix(12).joined(separator: "; "))"
            )
        }
        return item
    }

    /// Lets one item come to its end.
    func finish(_ item: PendingItem) throws(Violation) {
        while pending.contains(where: { $0 === item }) {
            advance(item)
            settle()
            try raise()
        }
    }

    func finish(_ name: ItemName) throws(Violation) { try finish(first(name)) }

    /// Lets everything come to its end but items of these kinds; `after` runs at every step.
    func finishAll(
        except kept: [ItemName] = [], after: (() throws(Violation) -> Void)? = nil
    ) throws(Violation) {
        var left = 5000
        while let item = pending.first(where: { item in !kept.contains { isKind(item, $0) } }) {
            left -= 1
            if left == 0 { throw Violation("scenario: never comes to rest") }
            advance(item)
            settle()
            try raise()
            try after?()
        }
    }

    // MARK: Crashes

    /// Crash images of every kind of what is on the disk now.
    func checkAll() throws(Violation) {
        for kind in Self.kinds {
            for _ in 0..<3 {
                let image = crashed(kind, disk, &random)
                coverage.sawImage(image.cache.contentHash)
                _ = try recover(image, floor: floor(kind), "\(kind)")
            }
        }
    }

    /// The same at every step until all has come to rest.
    func finishAllChecked(except kept: [ItemName] = []) throws(Violation) {
        try checkAll()
        try finishAll(except: kept) { () throws(Violation) in try self.checkAll() }
    }

    /// Asks for a checkpoint: destage first, as the interval would.
    func askForCheckpoint() { wait(1 << 41) }

    func require(_ condition: Bool, _ what: String) throws(Violation) {
        if !condition {
            throw Violation(
                "scenario: not so: \(what); before: \(log.suffix(12).joined(separator: "; "))")
        }
    }
}
