/// A set of granules of one block: up to 256 bits.
public struct GranuleSet: Sendable, Equatable, Hashable {
    public static let capacity = 256

    private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    public init() {}

    public init(_ range: Range<Int>) {
        for granule in range { insert(granule) }
    }

    /// All granules of a block with `count` of them.
    public static func all(_ count: Int) -> GranuleSet { GranuleSet(0..<count) }

    public static func == (left: GranuleSet, right: GranuleSet) -> Bool {
        left.words == right.words
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
        hasher.combine(words.2)
        hasher.combine(words.3)
    }

    /// 64 granules as one word, as they lie in a cold entry.
    public subscript(word index: Int) -> UInt64 {
        get {
            switch index {
            case 0: words.0
            case 1: words.1
            case 2: words.2
            default: words.3
            }
        }
        set {
            switch index {
            case 0: words.0 = newValue
            case 1: words.1 = newValue
            case 2: words.2 = newValue
            default: words.3 = newValue
            }
        }
    }

    public var isEmpty: Bool { words.0 | words.1 | words.2 | words.3 == 0 }
    public var count: Int {
        words.0.nonzeroBitCount + words.1.nonzeroBitCount + words.2.nonzeroBitCount
            + words.3.nonzeroBitCount
    }

    public func contains(_ granule: Int) -> Bool {
        self[word: granule >> 6] >> (granule & 63) & 1 == 1
    }
    public mutating func insert(_ granule: Int) { self[word: granule >> 6] |= 1 << (granule & 63) }
    public mutating func remove(_ granule: Int) {
        self[word: granule >> 6] &= ~(1 << (granule & 63))
    }

    public func union(_ other: GranuleSet) -> GranuleSet { combine(other, |) }
    public func intersection(_ other: GranuleSet) -> GranuleSet { combine(other, &) }
    public func subtracting(_ other: GranuleSet) -> GranuleSet { combine(other) { $0 & ~$1 } }
    public func isSuperset(of other: GranuleSet) -> Bool { other.subtracting(self).isEmpty }

    private func combine(_ other: GranuleSet, _ join: (UInt64, UInt64) -> UInt64) -> GranuleSet {
        var result = GranuleSet()
        for index in 0..<4 { result[word: index] = join(self[word: index], other[word: index]) }
        return result
    }

    /// Calls `body` with each granule in ascending order.
    public func forEach(_ body: (Int) -> Void) {
        for index in 0..<4 {
            var word = self[word: index]
            while word != 0 {
                body(index << 6 + word.trailingZeroBitCount)
                word &= word - 1
            }
        }
    }

    /// Maximal runs of neighbouring granules, ascending.
    public var runs: [Range<Int>] {
        var result: [Range<Int>] = []
        forEach { granule in
            if let last = result.last, last.upperBound == granule {
                result[result.count - 1] = last.lowerBound..<granule + 1
            } else {
                result.append(granule..<granule + 1)
            }
        }
        return result
    }
}
