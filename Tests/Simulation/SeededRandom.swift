/// Random numbers that depend on nothing but the seed (SplitMix64).
///
/// Every choice of a simulation comes from one of these, so that a seed printed by a failing test
/// brings the same history back on any machine. The helpers are written out here rather than taken
/// from the standard library, whose algorithms may change between releases.
package struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return Self.mix(state)
    }

    /// The finaliser of SplitMix64: a bijection that spreads every input bit over the result.
    @inline(__always)
    static func mix(_ value: UInt64) -> UInt64 {
        var mixed = value
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// A number in `0..<bound`, evenly but for a bias below `bound / 2^64`.
    package mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0, "nothing to choose from")
        return Int(next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// A number in `range`, which must not be empty.
    package mutating func within(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + below(range.count)
    }

    /// True in `percent` of 100 cases.
    package mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    /// One element of an array that must not be empty.
    package mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[below(elements.count)]
    }

    /// Puts the elements in any order, all equally likely (Fisher-Yates).
    package mutating func shuffle<Element>(_ elements: inout [Element]) {
        var left = elements.count
        while left > 1 {
            elements.swapAt(left - 1, below(left))
            left -= 1
        }
    }

    /// Random bytes.
    package mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { fill($0) }
        return bytes
    }

    /// Fills `target` with random bytes.
    package mutating func fill(_ target: UnsafeMutableRawBufferPointer) {
        var index = 0
        while index < target.count {
            var word = next().littleEndian
            let part = min(8, target.count - index)
            withUnsafeBytes(of: &word) { source in
                for byte in 0..<part { target[index + byte] = source[byte] }
            }
            index += part
        }
    }

    /// A generator of its own, so that drawing from it does not shift the numbers of this one.
    package mutating func fork() -> SeededRandom { SeededRandom(seed: next()) }
}
