/// The names of a volume's blocks, in the form of the real s3backer: the prefix, with
/// `--blockHashPrefix` eight hexadecimal digits of a hash and a dash, and eight hexadecimal digits
/// of the block's number, all lower case.
///
/// Nothing else in a bucket or directory belongs to the volume's blocks: a name is compared byte for
/// byte, and what is no name exactly is a stranger's.
public struct BlockKeys: Sendable, Equatable {
    /// Begins every name; compared as bytes, since texts of different bytes may be equal.
    public let prefix: String
    /// Names begin with a hash of the number, which spreads them.
    public let isHashed: Bool
    /// How many blocks the volume has; larger numbers are strangers.
    public let blockCount: UInt64

    /// Numbers have 32 bits.
    public static let blocksMax: UInt64 = 1 << 32

    private static let digits = Array("0123456789abcdef".utf8)
    private static let digitCount = 8
    private static let dash = UInt8(ascii: "-")

    /// - Parameter blockCount: At most `blocksMax`, which stands for any number.
    public init(prefix: String, isHashed: Bool = false, blockCount: UInt64 = blocksMax) {
        precondition(blockCount <= Self.blocksMax)
        self.prefix = prefix
        self.isHashed = isHashed
        self.blockCount = blockCount
    }

    // MARK: Names

    /// The name of a block, which must exist.
    public func key(_ block: UInt64) -> String {
        precondition(block < blockCount)
        let number = UInt32(block)
        guard isHashed else { return prefix + Self.text(number) }
        return prefix + Self.text(Self.hash(number)) + "-" + Self.text(number)
    }

    /// The block that has this name; nil: none has.
    public func block<Name: Collection<UInt8>>(of name: Name) -> UInt64? {
        let prefixBytes = prefix.utf8
        let count = prefixBytes.count + Self.digitCount * (isHashed ? 2 : 1) + (isHashed ? 1 : 0)
        guard name.count == count, name.starts(with: prefixBytes) else { return nil }
        var rest = name.dropFirst(prefixBytes.count)
        guard let first = Self.number(rest.prefix(Self.digitCount)) else { return nil }
        var number = first
        if isHashed {
            rest = rest.dropFirst(Self.digitCount)
            guard rest.first == Self.dash, let second = Self.number(rest.dropFirst()),
                Self.hash(second) == first
            else { return nil }
            number = second
        }
        return UInt64(number) < blockCount ? UInt64(number) : nil
    }

    /// What a block's name begins with after the prefix: where names stand in order.
    package func leading(_ block: UInt64) -> UInt32 {
        isHashed ? Self.hash(UInt32(block)) : UInt32(block)
    }

    /// Eight lower-case hexadecimal digits.
    package static func text(_ number: UInt32) -> String {
        String(unsafeUninitializedCapacity: digitCount) { text in
            for index in 0..<digitCount {
                text[index] = digits[Int(number >> (28 - 4 * UInt32(index)) & 15)]
            }
            return digitCount
        }
    }

    private static func number<Digits: Collection<UInt8>>(_ digits: Digits) -> UInt32? {
        guard digits.count == digitCount else { return nil }
        var number: UInt32 = 0
        for digit in digits {
            switch digit {
            case 0x30...0x39: number = number << 4 | UInt32(digit - 0x30)
            case 0x61...0x66: number = number << 4 | UInt32(digit - 0x61 + 10)
            default: return nil
            }
        }
        return number
    }

    /// The hash of the real s3backer; never change it.
    package static func hash(_ block: UInt32) -> UInt32 {
        var hash = block
        for round in stride(from: UInt32(12), through: 1, by: -1) {
            hash = ((hash >> 8) ^ hash) &* 0x6b &+ round
        }
        return hash
    }

    // MARK: Parts

    /// The first and last eight digits, after the prefix, of the names that belong to one of several
    /// parts of about the same number of blocks; nil: the part has none.
    public func bounds(of part: ListPart) -> ClosedRange<UInt32>? {
        let all = isHashed ? Self.blocksMax : blockCount
        let count = UInt64(part.count)
        let from = all * UInt64(part.index) / count
        let end = all * UInt64(part.index + 1) / count
        return from < end ? UInt32(from)...UInt32(end - 1) : nil
    }
}

/// One of several parts of a volume, which can be listed at the same time and together are all.
public struct ListPart: Sendable, Equatable {
    public let index: Int
    public let count: Int

    public static let all = ListPart(0, of: 1)

    public init(_ index: Int, of count: Int) {
        precondition(count > 0 && (0..<count).contains(index))
        self.index = index
        self.count = count
    }
}
