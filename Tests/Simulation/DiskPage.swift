import Glibc

/// One page of a disk image: 4096 bytes in eight sectors, and a hash of each sector.
///
/// Changed only by an owner who knows that nobody else holds it (`isKnownUniquelyReferenced`), as
/// with the storage of an array; shared pages are read-only. That makes `@unchecked Sendable` true.
final class DiskPage: @unchecked Sendable {
    static let size = 4096
    static let sectorSize = 512
    static let sectorCount = size / sectorSize

    /// 4096 bytes of content, then one hash of 8 bytes for each sector.
    private let memory: UnsafeMutableRawPointer

    /// What an absent page stands for.
    static let zero = DiskPage()

    /// A page of zeros.
    init() {
        memory = Self.allocate()
        memset(memory, 0, Self.size + Self.sectorCount * 8)
    }

    /// A copy.
    init(_ other: DiskPage) {
        memory = Self.allocate()
        memcpy(memory, other.memory, Self.size + Self.sectorCount * 8)
    }

    /// A page with the sectors in `mask` from `new` and the others from `old`.
    init(old: DiskPage, new: DiskPage, mask: SectorMask) {
        memory = Self.allocate()
        for sector in 0..<Self.sectorCount {
            copySector(sector, from: mask.contains(sector) ? new : old)
        }
    }

    deinit { free(memory) }

    private static func allocate() -> UnsafeMutableRawPointer {
        guard let memory = malloc(size + sectorCount * 8) else { fatalError("out of memory") }
        return memory
    }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: memory, count: Self.size) }

    /// The content for a unique owner, who calls `rehash` for what it changed.
    var mutableBytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: memory, count: Self.size)
    }

    private var hashes: UnsafeMutablePointer<UInt64> {
        (memory + Self.size).assumingMemoryBound(to: UInt64.self)
    }

    /// The hash of one sector's content; 0 exactly for zeros.
    @inline(__always)
    func hash(_ sector: Int) -> UInt64 { hashes[sector] }

    /// Takes one sector, with its hash, from another page. For a unique owner.
    @inline(__always)
    func copySector(_ sector: Int, from other: DiskPage) {
        let start = sector * Self.sectorSize
        memcpy(memory + start, other.memory + start, Self.sectorSize)
        hashes[sector] = other.hashes[sector]
    }

    /// Computes the hash of one sector anew. For a unique owner.
    ///
    /// Four lanes of xor, odd multiplication and rotation: each step is a bijection, so two sectors
    /// that differ in one word never get the same hash.
    func rehash(_ sector: Int) {
        let words = (memory + sector * Self.sectorSize).assumingMemoryBound(to: UInt64.self)
        let factor: UInt64 = 0x9FB2_1C65_1E98_DF25
        var lane0: UInt64 = 1
        var lane1: UInt64 = 2
        var lane2: UInt64 = 3
        var lane3: UInt64 = 4
        var anyBits: UInt64 = 0
        var index = 0
        while index < Self.sectorSize / 8 {
            let (word0, word1) = (words[index], words[index + 1])
            let (word2, word3) = (words[index + 2], words[index + 3])
            lane0 = Self.rotate((lane0 ^ word0) &* factor)
            lane1 = Self.rotate((lane1 ^ word1) &* factor)
            lane2 = Self.rotate((lane2 ^ word2) &* factor)
            lane3 = Self.rotate((lane3 ^ word3) &* factor)
            anyBits |= word0 | word1 | word2 | word3
            index += 4
        }
        var hash = SeededRandom.mix(lane0)
        hash = SeededRandom.mix(hash ^ lane1)
        hash = SeededRandom.mix(hash ^ lane2)
        hash = SeededRandom.mix(hash ^ lane3)
        hashes[sector] = anyBits == 0 ? 0 : (hash == 0 ? 1 : hash)
    }

    @inline(__always)
    private static func rotate(_ value: UInt64) -> UInt64 { value << 29 | value >> 35 }
}

/// Which of the eight sectors of a page are meant.
struct SectorMask: Sendable, Equatable {
    var bits: UInt8

    static let none = SectorMask(bits: 0)
    static let all = SectorMask(bits: 0xFF)

    /// The sectors that hold any of the bytes in `range`, counted from the start of the page.
    static func touched(by range: Range<Int>) -> SectorMask {
        if range.isEmpty { return .none }
        let first = range.lowerBound / DiskPage.sectorSize
        let last = (range.upperBound - 1) / DiskPage.sectorSize
        return SectorMask(bits: UInt8((0x1FF << first) & 0xFF) & UInt8(0xFF >> (7 - last)))
    }

    @inline(__always)
    func contains(_ sector: Int) -> Bool { bits >> UInt8(sector) & 1 != 0 }

    var count: Int { bits.nonzeroBitCount }
}

/// New content for some sectors of one page of an image.
struct PagePatch: Sendable {
    let page: Int
    let content: DiskPage
    var mask: SectorMask
}
