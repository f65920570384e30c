import FileIO
import Simulation

extension SimDisk {
    func put(_ bytes: [UInt8], at offset: Int) throws {
        let memory = AlignedBuffer(bytes.count)
        memory.mutableBytes.copyBytes(from: bytes)
        try write(memory.bytes, at: offset, .cached)
    }

    func start(_ bytes: [UInt8], at offset: Int) throws -> WriteToken {
        try bytes.withUnsafeBytes { try issue([$0], at: offset) }
    }

    func get(_ range: Range<Int>) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xEE, count: range.count)
        try bytes.withUnsafeMutableBytes { try read(into: $0, at: range.lowerBound, .cached) }
        return bytes
    }

    /// First byte of each 512-byte sector of the first `count`.
    func marks(_ count: Int) throws -> [UInt8] {
        try (0..<count).map { try get($0 * 512..<$0 * 512 + 1)[0] }
    }
}

/// `count` sectors full of one byte.
func sectors(_ byte: UInt8, _ count: Int = 1) -> [UInt8] {
    [UInt8](repeating: byte, count: count * 512)
}
