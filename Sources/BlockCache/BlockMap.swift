/// Blocks known to be absent in the store and not cached: they read as zeros without asking.
struct AbsentBlocks: ~Copyable {
    private var words: [UInt64]

    init(count: UInt64) { words = Array(repeating: 0, count: Int((count + 63) / 64)) }

    func contains(_ block: UInt64) -> Bool { words[Int(block >> 6)] >> (block & 63) & 1 == 1 }

    /// The first of the blocks from `block` on that is not known to be absent, as far as whole words
    /// of the map can tell: a block, or where the next word begins.
    func passed(from block: UInt64) -> UInt64 {
        words[Int(block >> 6)] >> (block & 63) == UInt64.max >> (block & 63)
            ? (block >> 6 + 1) << 6 : block
    }

    mutating func insert(_ block: UInt64) { words[Int(block >> 6)] |= 1 << (block & 63) }
    mutating func remove(_ block: UInt64) { words[Int(block >> 6)] &= ~(1 << (block & 63)) }

    mutating func insert(_ range: Range<UInt64>) {
        var block = range.lowerBound
        while block < range.upperBound {
            let end = min((block >> 6 + 1) << 6, range.upperBound)
            let ones = UInt64.max >> (64 - (end - block))
            words[Int(block >> 6)] |= ones << (block & 63)
            block = end
        }
    }
}

/// A set of blocks, a bit each.
struct BlockSet {
    private var words: [UInt64]

    init(count: UInt64) { words = Array(repeating: 0, count: Int((count + 63) / 64)) }

    mutating func insert(_ block: UInt64) { words[Int(block >> 6)] |= 1 << (block & 63) }

    /// The first one of a range.
    func first(in range: Range<UInt64>) -> UInt64? {
        var block = range.lowerBound
        while block < range.upperBound {
            let rest = words[Int(block >> 6)] >> (block & 63)
            if rest != 0 {
                let found = block + UInt64(rest.trailingZeroBitCount)
                return found < range.upperBound ? found : nil
            }
            block = (block >> 6 + 1) << 6
        }
        return nil
    }
}
