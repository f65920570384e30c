import CSys

/// Finds the slot of a block: open addressing with linear probing over flat memory.
///
/// Holds slot numbers only, 4 bytes at a load of at most one half; the block number is compared
/// where it already is, in the slot's hot entry.
package struct BlockIndex: ~Copyable {
    private let table: UnsafeMutablePointer<UInt32>
    private let mask: Int
    private let shift: UInt64
    package private(set) var count = 0

    /// Entries of the table for this many slots.
    private static func capacity(slots: Int) -> Int {
        var capacity = 16
        while capacity < slots * 2 { capacity <<= 1 }
        return capacity
    }

    /// Memory that the table for this many slots takes.
    package static func bytes(slots: Int) -> Int {
        capacity(slots: slots) * MemoryLayout<UInt32>.stride
    }

    package init(slots: Int) {
        let capacity = Self.capacity(slots: slots)
        table = .allocate(capacity: capacity)
        table.initialize(repeating: 0, count: capacity)
        mask = capacity - 1
        shift = UInt64(64 - capacity.trailingZeroBitCount)
    }

    deinit { table.deallocate() }

    @inline(__always)
    private func home(_ block: UInt64) -> Int {
        // `>>` binds tighter than `&*` in Swift.
        Int(((block &+ 1) &* 0x9e37_79b9_7f4a_7c15) >> shift)
    }

    /// The slot that holds `block`; `blockOf` tells which block a slot holds.
    @inline(__always)
    package func find(_ block: UInt64, blockOf: (Int) -> UInt64) -> Int? {
        var at = home(block)
        while table[at] != 0 {
            let slot = Int(table[at] - 1)
            if blockOf(slot) == block { return slot }
            at = (at + 1) & mask
        }
        return nil
    }

    /// Fetches ahead what looking up or inserting `block` will touch first.
    @inline(__always)
    package func prefetch(_ block: UInt64) { csys_prefetch(table + home(block)) }

    /// Inserts unless another slot holds the block already; one probe sequence for both.
    /// - Returns: whether it was inserted.
    @inline(__always)
    package mutating func insertIfAbsent(
        _ block: UInt64, slot: Int, blockOf: (Int) -> UInt64
    ) -> Bool {
        precondition(count * 2 <= mask)
        var at = home(block)
        while table[at] != 0 {
            if blockOf(Int(table[at] - 1)) == block { return false }
            at = (at + 1) & mask
        }
        table[at] = UInt32(slot + 1)
        count += 1
        return true
    }

    package mutating func insert(_ block: UInt64, slot: Int) {
        precondition(count * 2 <= mask)
        var at = home(block)
        while table[at] != 0 { at = (at + 1) & mask }
        table[at] = UInt32(slot + 1)
        count += 1
    }

    /// Removes the entry of `slot`, which holds `block`. The entries behind it move up, so that no
    /// probe sequence is cut.
    package mutating func remove(_ block: UInt64, slot: Int, blockOf: (Int) -> UInt64) {
        var at = home(block)
        while table[at] != UInt32(slot + 1) {
            precondition(table[at] != 0, "slot is not in the index")
            at = (at + 1) & mask
        }
        count -= 1
        var hole = at
        while true {
            at = (at + 1) & mask
            if table[at] == 0 { break }
            let ideal = home(blockOf(Int(table[at] - 1)))
            // Moves unless its home lies behind the hole, cyclically.
            if (at - ideal) & mask >= (at - hole) & mask {
                table[hole] = table[at]
                hole = at
            }
        }
        table[hole] = 0
    }
}
