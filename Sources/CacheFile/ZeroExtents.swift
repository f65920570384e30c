import Journal

/// Blocks that the user trimmed while they were in no slot: they are zeros, and the store may still
/// have objects for them. Disjoint ranges, ascending, none touching the next.
///
/// A range says nothing about a block that is in a slot: the slot has its content. So a block that
/// joins a slot may stay in its range, and has to be carved out when it leaves the slot (EVICT).
public struct ZeroExtents: Sendable {
    public struct Extent: Sendable, Equatable {
        public var blocks: Range<UInt64>
        /// Last record of the user that contributed.
        public var lsn: LSN
        /// Ring position of the oldest group that replay needs for it.
        public var position: UInt64
    }

    public private(set) var items: [Extent] = []
    /// Blocks of all ranges, those in slots included.
    public private(set) var blockCount: UInt64 = 0

    package init() {}

    public var isEmpty: Bool { items.isEmpty }
    public var count: Int { items.count }

    // MARK: Looking up

    /// Index of the first range that ends behind `block`.
    private func index(endingAfter block: UInt64) -> Int {
        var low = 0
        var high = items.count
        while low < high {
            let middle = (low + high) / 2
            if items[middle].blocks.upperBound > block { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// The range that has a block.
    public func extent(at block: UInt64) -> Extent? {
        let at = index(endingAfter: block)
        guard at < items.count, items[at].blocks.contains(block) else { return nil }
        return items[at]
    }

    public func contains(_ block: UInt64) -> Bool { !isEmpty && extent(at: block) != nil }

    /// Whether `range` would only make ranges longer that are there already.
    public func touches(_ range: Range<UInt64>) -> Bool { !touching(range).isEmpty }

    /// Ranges that overlap or touch `range`.
    private func touching(_ range: Range<UInt64>) -> Range<Int> {
        let first = index(endingAfter: range.lowerBound == 0 ? 0 : range.lowerBound - 1)
        var end = first
        while end < items.count, items[end].blocks.lowerBound <= range.upperBound { end += 1 }
        return first..<end
    }

    /// Whether `range` and a range of this set with an LSN up to `lsn` have a block in common.
    public func overlaps(_ range: Range<UInt64>, upTo lsn: LSN = .max) -> Bool {
        overlapping(range).contains { $0.lsn <= lsn }
    }

    public func overlapping(_ range: Range<UInt64>) -> ArraySlice<Extent> {
        items[index(endingAfter: range.lowerBound)...].prefix { $0.blocks.overlaps(range) }
    }

    /// Whether carving a block out makes two ranges of one.
    public func splits(at block: UInt64) -> Bool {
        guard let found = extent(at: block) else { return false }
        return found.blocks.lowerBound < block && block + 1 < found.blocks.upperBound
    }

    public var oldestPosition: UInt64? { items.lazy.map(\.position).min() }

    /// Ranges whose records begin before `position`: to be carried before the tail can pass them.
    public func before(_ position: UInt64) -> [Extent] {
        items.filter { $0.position < position }.sorted { $0.position < $1.position }
    }

    // MARK: Changes

    /// Adds a range; those it overlaps or touches become one with it.
    mutating func add(_ range: Range<UInt64>, lsn: LSN, position: UInt64) {
        let found = touching(range)
        var merged = Extent(blocks: range, lsn: lsn, position: position)
        for item in items[found] {
            let low = min(merged.blocks.lowerBound, item.blocks.lowerBound)
            merged.blocks = low..<max(merged.blocks.upperBound, item.blocks.upperBound)
            merged.position = min(merged.position, item.position)
        }
        replace(found, with: [merged])
    }

    /// The range again, at another place of the ring.
    mutating func carry(_ range: Range<UInt64>, lsn: LSN, position: UInt64) {
        remove(range)
        let at = index(endingAfter: range.lowerBound)
        replace(at..<at, with: [Extent(blocks: range, lsn: lsn, position: position)])
    }

    /// Takes blocks out of ranges with an LSN up to `lsn`.
    mutating func remove(_ range: Range<UInt64>, upTo lsn: LSN = .max) {
        let first = index(endingAfter: range.lowerBound)
        var end = first
        var kept: [Extent] = []
        while end < items.count, items[end].blocks.lowerBound < range.upperBound {
            let item = items[end]
            end += 1
            guard item.lsn <= lsn else {
                kept.append(item)
                continue
            }
            var left = item
            left.blocks = item.blocks.lowerBound..<max(item.blocks.lowerBound, range.lowerBound)
            var right = item
            right.blocks = min(item.blocks.upperBound, range.upperBound)..<item.blocks.upperBound
            kept += [left, right].filter { !$0.blocks.isEmpty }
        }
        replace(first..<end, with: kept)
    }

    private mutating func replace(_ range: Range<Int>, with fresh: [Extent]) {
        for item in items[range] { blockCount -= UInt64(item.blocks.count) }
        for item in fresh { blockCount += UInt64(item.blocks.count) }
        items.replaceSubrange(range, with: fresh)
    }

    /// Asked by tests.
    package func checkInvariants() {
        for (one, next) in zip(items, items.dropFirst()) {
            precondition(one.blocks.upperBound < next.blocks.lowerBound, "ranges meet")
        }
        precondition(items.allSatisfy { !$0.blocks.isEmpty })
        precondition(blockCount == items.reduce(0) { $0 + UInt64($1.blocks.count) })
    }
}
