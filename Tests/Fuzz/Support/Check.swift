/// Ends the program, which is what the fuzzer takes for a find.
func check(_ condition: Bool, _ what: @autoclosure () -> String) {
    if !condition { fatalError(what()) }
}

/// Takes an input apart; behind its end there are zeros.
struct FuzzInput {
    private var rest: UnsafeRawBufferPointer

    init(_ bytes: UnsafePointer<UInt8>?, _ count: Int) {
        rest = UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : count)
    }

    var isEmpty: Bool { rest.isEmpty }

    mutating func byte() -> UInt8 {
        guard let first = rest.first else { return 0 }
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst())
        return first
    }

    mutating func number(bytes count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(byte()) << UInt64(8 * $1) }
    }

    /// At most `count` bytes.
    mutating func bytes(_ count: Int) -> [UInt8] {
        let taken = [UInt8](rest.prefix(count))
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count))
        return taken
    }

    /// Writes what the input says into these places: which one, u16 where in it, then how many of
    /// the bytes that follow.
    mutating func change(_ file: MemoryFile, in places: [Range<Int>]) {
        while !isEmpty {
            let place = places[Int(byte()) % places.count]
            let at = place.lowerBound + Int(number(bytes: 2)) % place.count
            for (index, value) in bytes(1 + Int(byte()) % 8).enumerated()
            where at + index < place.upperBound {
                file.bytes[at + index] = value
            }
        }
    }
}
