import CSys

/// CRC-32C, the checksum of every structure in the cache file.
public enum Checksum {
    /// The checksum of `bytes`, continued from `seed`.
    public static func crc32c(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
        csys_crc32c(seed, bytes.baseAddress, bytes.count)
    }
}
