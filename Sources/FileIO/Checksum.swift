import CSys

/// CRC-32C, the checksum of every structure in the cache file.
public enum Checksum {
    /// The checksum of `bytes`, continued from `seed`.
    @inline(__always)
    public static func crc32c(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
        csys_crc32c(seed, bytes.baseAddress, bytes.count)
    }

    /// The seed from which `bytes` lead to a checksum: `crc32c(_:seed:)` the other way round. Slow.
    package static func seed(of bytes: UnsafeRawBufferPointer, from crc: UInt32) -> UInt32 {
        var register = ~crc
        for byte in bytes.reversed() {
            // The table's entries differ in their highest bytes.
            let index = backward[Int(register >> 24)]
            register = (register ^ forward[Int(index)]) << 8 | UInt32(index ^ byte)
        }
        return ~register
    }

    /// The four bytes that lead from a seed to a checksum.
    package static func bytes(from seed: UInt32, to crc: UInt32) -> [UInt8] {
        let start = [UInt8](repeating: 0, count: 4).withUnsafeBytes { self.seed(of: $0, from: crc) }
        return withUnsafeBytes(of: (start ^ seed).littleEndian) { Array($0) }
    }

    /// What a byte makes of a register of zeros, and which byte makes this highest byte of it.
    private static let forward: [UInt32] = (0...255).map { byte -> UInt32 in
        (0..<8).reduce(UInt32(byte)) { value, _ in
            value & 1 == 0 ? value >> 1 : value >> 1 ^ 0x82f6_3b78
        }
    }
    private static let backward: [UInt8] = {
        var table = [UInt8](repeating: 0, count: 256)
        for (index, value) in forward.enumerated() { table[Int(value >> 24)] = UInt8(index) }
        return table
    }()
}

/// Seeds that tie a checksum to the file and to the place it belongs to, so that an intact piece of
/// another file, or of the neighbouring place, does not pass (invariant I20).
///
/// seed = crc32c(file UUID, kind, index as little-endian u64). Format: docs/format.md, "Checksums".
public struct SeedSpace: Sendable {
    /// What a checksum covers; the raw value is the byte that enters the seed.
    public enum Kind: UInt8, Sendable, CaseIterable {
        case group = 0x4a  // 'J', index = ring position
        case granule = 0x47  // 'G', index = block * 256 + granule
        case patch = 0x50  // 'P', index = block * 256 + granule
        case hotPage = 0x48  // 'H', index = allocation group << 32 | page
        case coldPage = 0x4b  // 'K', likewise
        case entry = 0x45  // 'E', index = slot
        case root = 0x52  // 'R', index 0
        case zones = 0x5a  // 'Z', index 0
    }

    private let prefixes: [UInt32]
    /// The first half of the file UUID, which page headers repeat for people and tools.
    public let fileIdentity: [UInt8]

    public init(fileUUID: [UInt8]) {
        precondition(fileUUID.count == 16)
        var prefixes = [UInt32](repeating: 0, count: 256)
        for kind in Kind.allCases {
            let bytes = fileUUID + [kind.rawValue]
            prefixes[Int(kind.rawValue)] = bytes.withUnsafeBytes { Checksum.crc32c($0) }
        }
        self.prefixes = prefixes
        fileIdentity = Array(fileUUID[..<8])
    }

    /// The checksum of a file's UUID, which is all of it that seeds depend on, from one of its seeds.
    package static func checksumOfUUID(_ kind: Kind, _ index: UInt64, seed: UInt32) -> UInt32 {
        let bytes = [kind.rawValue] + withUnsafeBytes(of: index.littleEndian) { Array($0) }
        return bytes.withUnsafeBytes { Checksum.seed(of: $0, from: seed) }
    }

    @inline(__always)
    public func seed(_ kind: Kind, _ index: UInt64) -> UInt32 {
        var little = index.littleEndian
        return withUnsafeBytes(of: &little) {
            Checksum.crc32c($0, seed: prefixes[Int(kind.rawValue)])
        }
    }
}
