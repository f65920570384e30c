import CSys
import FileIO

/// Finds the slot of a block: open addressing with linear probing over flat memory.
///
/// An entry is 8 bytes at a load of at most one half: the slot number, and the low half of the
/// block's hash, so that entries of other blocks are passed without a look at their slots. Which
/// block a slot holds is asked of its hot entry.
package struct BlockIndex: ~Copyable {
    private let memory: ZeroedMemory
    private let table: UnsafeMutablePointer<Entry>
    private let mask: Int
    private let shift: UInt64
    package private(set) var count = 0

    /// All zeros: no entry.
    private struct Entry {
        let tag: UInt32
        let slotPlusOne: UInt32

        @inline(__always) var isEmpty: Bool { slotPlusOne == 0 }
        @inline(__always) var slot: Int { Int(slotPlusOne) - 1 }

        static let none = Entry(tag: 0, slotPlusOne: 0)
    }

    /// Entries of the table for this many slots.
    private static func capacity(slots: Int) -> Int {
        var capacity = 16
        while capacity < slots * 2 { capacity <<= 1 }
        return capacity
    }

    /// Memory that the table for this many slots takes.
    package static func bytes(slots: Int) -> Int {
        capacity(slots: slots) * MemoryLayout<Entry>.stride
    }

    package init(slots: Int) {
        let capacity = Self.capacity(slots: slots)
        memory = ZeroedMemory(capacity * MemoryLayout<Entry>.stride)
        table = memory.base.bindMemory(to: Entry.self, capacity: capacity)
        mask = capacity - 1
        shift = UInt64(64 - capacity.trailingZeroBitCount)
    }

    @inline(__always)
    private func hash(_ block: UInt64) -> UInt64 { (block &+ 1) &* 0x9e37_79b9_7f4a_7c15 }

    @inline(__always)
    private func home(_ hash: UInt64) -> Int { Int(hash >> shift) }

    /// The slot that holds `block`; `blockOf` tells which block a slot holds.
    @inline(__always)
    package func find(_ block: UInt64, blockOf: (Int) -> UInt64) -> Int? {
        let hash = hash(block)
        var at = home(hash)
        while true {
            let entry = table[at]
            if entry.isEmpty { return nil }
            if entry.tag == UInt32(truncatingIfNeeded: hash), blockOf(entry.slot) == block {
                return entry.slot
            }
            at = (at + 1) & mask
        }
    }

    /// Fetches ahead what looking up or inserting `block` will touch first.
    @inline(__always)
    package func prefetch(_ block: UInt64) { csys_prefetch(table + home(hash(block))) }

    /// Inserts unless another slot holds the block already; one probe sequence for both.
    /// - Returns: whether it was inserted.
    @inline(__always)
    package mutating func insertIfAbsent(
        _ block: UInt64, slot: Int, blockOf: (Int) -> UInt64
    ) -> Bool {
        precondition(count * 2 <= mask)
        let hash = hash(block)
        let tag = UInt32(truncatingIfNeeded: hash)
        var at = home(hash)
        while !table[at].isEmpty {
            if table[at].tag == tag, blockOf(table[at].slot) == block { return false }
            at = (at + 1) & mask
        }
        table[at] = Entry(tag: tag, slotPlusOne: UInt32(slot + 1))
        count += 1
        return true
    }

    /// Inserts a block that no slot holds.
    package mutating func insert(_ block: UInt64, slot: Int) {
        _ = insertIfAbsent(block, slot: slot) { _ in ~block }
    }

    /// Removes the entry of `slot`, which holds `block`. The entries behind it move up, so that no
    /// probe sequence is cut.
    package mutating func remove(_ block: UInt64, slot: Int, blockOf: (Int) -> UInt64) {
        var at = home(hash(block))
        while table[at].slotPlusOne != UInt32(slot + 1) {
            precondition(!table[at].isEmpty, "slot is not in the index")
            at = (at + 1) & mask
        }
        count -= 1
        var hole = at
        while true {
            at = (at + 1) & mask
            if table[at].isEmpty { break }
            let ideal = home(hash(blockOf(table[at].slot)))
            // Moves unless its home lies behind the hole, cyclically.
            if (at - ideal) & mask >= (at - hole) & mask {
                table[hole] = table[at]
                hole = at
            }
        }
        table[hole] = .none
    }
}
