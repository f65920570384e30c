import Simulation

/// Bytes that depend on a seed, with stretches of zeros of whole blocks.
package func pattern(_ count: Int, blockSize: Int, seed: UInt64) -> [UInt8] {
    var random = SeededRandom(seed: seed)
    var bytes = [UInt8](repeating: 0, count: count)
    for block in 0..<count / blockSize where !random.chance(25) {
        bytes.replaceSubrange(
            block * blockSize..<(block + 1) * blockSize, with: random.bytes(blockSize))
    }
    return bytes
}

/// Blocks of 4 KiB, each full of its number plus one; none is zeros.
package func numberedBlocks(_ count: Int) -> [UInt8] {
    (0..<count).flatMap { [UInt8](repeating: UInt8($0 + 1), count: 4096) }
}
