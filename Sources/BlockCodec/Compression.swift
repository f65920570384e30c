import CLZ4
import CZlib
import CZstd

/// How blocks are made smaller. Names are those of `Content-Encoding`.
public enum CompressionAlgorithm: String, CaseIterable, Sendable {
    /// A zlib stream (RFC 1950).
    case deflate
    /// One frame (RFC 8878).
    case zstd
    /// One LZ4 frame. The real s3backer cannot read it.
    case lz4

    public var levels: ClosedRange<Int> {
        switch self {
        case .deflate: -1...9
        case .zstd: Int(ZSTD_minCLevel())...Int(ZSTD_maxCLevel())
        case .lz4: 0...12
        }
    }

    public var usualLevel: Int {
        switch self {
        case .deflate: Int(Z_DEFAULT_COMPRESSION)
        case .zstd: 3
        case .lz4: 0
        }
    }

    /// Bytes that `count` bytes never exceed when compressed.
    func bound(_ count: Int) -> Int {
        switch self {
        case .deflate: Int(compressBound(UInt(count)))
        case .zstd: ZSTD_compressBound(count)
        case .lz4:
            withUnsafePointer(to: LZ4.preferences(level: 0, count)) {
                LZ4F_compressFrameBound(count, $0)
            }
        }
    }

    /// Fills `target` exactly.
    ///
    /// - Returns: Whether `source` is one whole, undamaged stream of exactly that many bytes.
    ///   However many it claims or has, no more are made.
    func decompress(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) -> Bool {
        switch self {
        case .deflate: Deflate.decompress(source, into: target)
        case .zstd: Zstandard.decompress(source, into: target)
        case .lz4: LZ4.decompress(source, into: target)
        }
    }
}

/// An algorithm with its level.
public struct Compression: Sendable, Equatable {
    public let algorithm: CompressionAlgorithm
    public let level: Int

    /// - Parameter level: One of the algorithm's; nil: the usual one.
    public init(_ algorithm: CompressionAlgorithm, level: Int? = nil) {
        let level = level ?? algorithm.usualLevel
        precondition(algorithm.levels.contains(level))
        self.algorithm = algorithm
        self.level = level
    }

    /// - Parameter target: Has room for the bound.
    /// - Returns: Bytes written.
    func compress(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) -> Int {
        precondition(target.count >= algorithm.bound(source.count))
        let count =
            switch algorithm {
            case .deflate: Deflate.compress(source, into: target, level: level)
            case .zstd: Zstandard.compress(source, into: target, level: level)
            case .lz4: LZ4.compress(source, into: target, level: level)
            }
        // There is room, and the level exists: what is left is memory.
        guard let count else { fatalError("cannot compress (\(algorithm)): out of memory") }
        return count
    }
}

private enum Deflate {
    static func compress(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer, level: Int
    ) -> Int? {
        var count = UInt(target.count)
        let result = compress2(
            target.bindMemory(to: UInt8.self).baseAddress, &count,
            source.bindMemory(to: UInt8.self).baseAddress, UInt(source.count), Int32(level))
        return result == Z_OK ? Int(count) : nil
    }

    static func decompress(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) -> Bool {
        var count = UInt(target.count)
        var used = UInt(source.count)
        let result = uncompress2(
            target.bindMemory(to: UInt8.self).baseAddress, &count,
            source.bindMemory(to: UInt8.self).baseAddress, &used)
        return result == Z_OK && count == target.count && used == source.count
    }
}

private enum Zstandard {
    private static let compressors = ContextPool(create: { ZSTD_createCCtx() }) {
        ZSTD_freeCCtx($0)
    }
    private static let decompressors = ContextPool(create: { ZSTD_createDCtx() }) {
        ZSTD_freeDCtx($0)
    }

    static func compress(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer, level: Int
    ) -> Int? {
        compressors.use { context in
            _ = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Int32(level))
            // Damage is noticed then.
            _ = ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
            let count = ZSTD_compress2(
                context, target.baseAddress, target.count, source.baseAddress, source.count)
            return ZSTD_isError(count) == 0 ? count : nil
        }
    }

    static func decompress(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) -> Bool {
        // One frame and nothing behind it.
        guard ZSTD_findFrameCompressedSize(source.baseAddress, source.count) == source.count else {
            return false
        }
        return decompressors.use { context in
            let count = ZSTD_decompressDCtx(
                context, target.baseAddress, target.count, source.baseAddress, source.count)
            return ZSTD_isError(count) == 0 && count == target.count
        }
    }
}

private enum LZ4 {
    private static let decompressors = ContextPool(create: makeDecompressor) {
        _ = LZ4F_freeDecompressionContext($0)
    }

    private static func makeDecompressor() -> OpaquePointer? {
        var context: OpaquePointer?
        _ = LZ4F_createDecompressionContext(&context, UInt32(LZ4F_VERSION))
        return context
    }

    static func preferences(level: Int, _ count: Int) -> LZ4F_preferences_t {
        var preferences = LZ4F_preferences_t()
        // The library takes a smaller one where that is enough.
        preferences.frameInfo.blockSizeID = LZ4F_max4MB
        preferences.frameInfo.contentSize = UInt64(count)
        preferences.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled
        preferences.compressionLevel = Int32(level)
        return preferences
    }

    static func compress(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer, level: Int
    ) -> Int? {
        withUnsafePointer(to: preferences(level: level, source.count)) {
            let count = LZ4F_compressFrame(
                target.baseAddress, target.count, source.baseAddress, source.count, $0)
            return LZ4F_isError(count) == 0 ? count : nil
        }
    }

    static func decompress(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) -> Bool {
        decompressors.use { context in
            LZ4F_resetDecompressionContext(context)
            var made = 0
            var used = 0
            while true {
                var room = target.count - made
                var left = source.count - used
                let start = target.baseAddress.map { $0 + made }
                let rest = source.baseAddress.map { $0 + used }
                let hint = LZ4F_decompress(context, start, &room, rest, &left, nil)
                if LZ4F_isError(hint) != 0 { return false }
                made += room
                used += left
                if hint == 0 { return made == target.count && used == source.count }
                // It wants more than there is, or has more than fits.
                if room == 0 && left == 0 { return false }
            }
        }
    }
}
