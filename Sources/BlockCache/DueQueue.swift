/// A dirty block that waits for its upload.
package struct DirtyItem {
    package let block: UInt64
    /// Since when it waits.
    package let sinceMs: UInt64
    /// Not before this, unless it is urgent.
    package let dueMs: UInt64

    package init(block: UInt64, sinceMs: UInt64, dueMs: UInt64) {
        self.block = block
        self.sinceMs = sinceMs
        self.dueMs = dueMs
    }
}

/// Blocks that wait for times of their own, the one that is due first in front: a binary heap, since
/// a store that takes nothing may leave every block of a large cache here.
package struct DueQueue {
    private var items: [DirtyItem] = []

    package init() {}

    package var isEmpty: Bool { items.isEmpty }
    package var first: DirtyItem? { items.first }
    /// Since when the one waits that has waited longest. Looks at all.
    package var oldestMs: UInt64? { items.lazy.map(\.sinceMs).min() }

    package mutating func append(_ item: DirtyItem) {
        var hole = items.count
        items.append(item)
        while hole > 0, item.dueMs < items[(hole - 1) / 2].dueMs {
            items[hole] = items[(hole - 1) / 2]
            hole = (hole - 1) / 2
        }
        items[hole] = item
    }

    package mutating func popFirst() -> DirtyItem? {
        guard let first = items.first else { return nil }
        let last = items.removeLast()
        if !items.isEmpty { sink(last) }
        return first
    }

    /// Puts an item in place of the first.
    private mutating func sink(_ item: DirtyItem) {
        var hole = 0
        while 2 * hole + 1 < items.count {
            var child = 2 * hole + 1
            if child + 1 < items.count, items[child + 1].dueMs < items[child].dueMs { child += 1 }
            if items[child].dueMs >= item.dueMs { break }
            items[hole] = items[child]
            hole = child
        }
        items[hole] = item
    }
}
