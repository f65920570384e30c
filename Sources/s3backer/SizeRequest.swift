import VolumeOptions

/// What the command line says of sizes, to be completed by what the volume says of itself.
struct SizeRequest: Equatable {
    /// Sizes of a volume in bytes, and who says so.
    struct Known: Equatable {
        var blockSize: UInt64
        var size: UInt64
        var source: String
    }

    /// Sizes that fit each other.
    struct Settled: Equatable {
        var blockSize: Int
        var blockCount: UInt64
        var cacheSlots: Int
        var notices: [String] = []

        /// In bytes.
        var size: UInt64 { blockCount * UInt64(blockSize) }
    }

    private let size: UInt64?
    private let sizeText: String
    private let blockSize: UInt64?
    private let cacheText: String?
    private let cacheSize: UInt64
    private let isForced: Bool
    private let isReadOnly: Bool

    private static let blockSizeMin: UInt64 = 4096
    private static let blockSizeMax: UInt64 = 64 << 20
    private static let blockCountMax: UInt64 = (1 << 32) - 1
    private static let defaultBlockSize: UInt64 = 4096
    private static let defaultCacheSlots: UInt64 = 1000

    /// Checks each value by itself.
    init(_ options: Options) throws(StartupError) {
        isForced = options.force
        isReadOnly = options.readOnly
        sizeText = options.size ?? ""
        cacheText = options.blockCacheSize
        blockSize = try options.blockSize.map { text throws(StartupError) in
            let size = try OptionValue.size("blockSize", text)
            guard Self.isGoodBlockSize(size) else {
                throw StartupError("--blockSize=\(text): must be a power of two from 4k to 64m")
            }
            return size
        }
        size = try options.size.map { text throws(StartupError) in
            let size = try OptionValue.size("size", text)
            if size == 0 { throw StartupError("--size=\(text): must be more than 0") }
            return size
        }
        cacheSize =
            try options.blockCacheSize.map { text throws(StartupError) in
                try OptionValue.size("blockCacheSize", text)
            } ?? 0
        if let size, let blockSize { _ = try blockCount(size: size, blockSize: blockSize) }
    }

    /// - Parameter known: What the volume says; nil: nothing, it may be new.
    func settle(_ known: Known?) throws(StartupError) -> Settled {
        var notices: [String] = []
        if let known {
            try compareBlockSize(known, &notices)
            try compareSize(known, &notices)
        }
        let blockSize = self.blockSize ?? known?.blockSize ?? Self.defaultBlockSize
        if !Self.isGoodBlockSize(blockSize) {
            throw StartupError(
                "\(known?.source ?? "the volume") has blocks of \(blockSize) bytes; "
                    + "this program needs a power of two from 4k to 64m")
        }
        guard let size = size ?? known?.size else {
            throw StartupError("--size is missing; give the size of the disk, such as --size=10g")
        }
        let count = try blockCount(size: size, blockSize: blockSize)
        let slots = try cacheSlots(blockSize: blockSize, blockCount: count, &notices)
        return Settled(
            blockSize: Int(blockSize), blockCount: count, cacheSlots: slots, notices: notices)
    }

    private func compareBlockSize(
        _ known: Known, _ notices: inout [String]
    ) throws(StartupError) {
        guard let blockSize, blockSize != known.blockSize else { return }
        let says =
            "--blockSize=\(SizeGrammar.text(blockSize)): \(known.source) has blocks of "
            + SizeGrammar.text(known.blockSize)
        if !isForced {
            throw StartupError("\(says); leave the option out, or override with --force")
        }
        notices.append("\(says); overridden by --force")
    }

    /// A disk can grow, and never shrinks: what is behind the new end would be lost.
    private func compareSize(_ known: Known, _ notices: inout [String]) throws(StartupError) {
        guard let size, size != known.size else { return }
        let says =
            "--size=\(SizeGrammar.text(size)): \(known.source) has \(SizeGrammar.text(known.size))"
        if size < known.size {
            throw StartupError(
                "\(says), and cannot shrink, also not with --force; leave the option out")
        }
        if !isForced {
            throw StartupError("\(says); leave the option out, or let it grow with --force")
        }
        if isReadOnly {
            throw StartupError("\(says), and --readOnly cannot let it grow; leave one of them out")
        }
        notices.append("\(says); it grows")
    }

    private func blockCount(size: UInt64, blockSize: UInt64) throws(StartupError) -> UInt64 {
        let text = sizeText.isEmpty ? SizeGrammar.text(size) : sizeText
        let shown = SizeGrammar.text(blockSize)
        if size % blockSize != 0 {
            let down = size / blockSize * blockSize
            throw StartupError(
                "--size=\(text): not a multiple of the block size \(shown); "
                    + "use --size=\(SizeGrammar.text(max(down, blockSize))) "
                    + "or another --blockSize")
        }
        let count = size / blockSize
        if count > Self.blockCountMax {
            throw StartupError(
                "--size=\(text): more than 2^32-1 blocks of \(shown); use a larger --blockSize")
        }
        return count
    }

    private func cacheSlots(
        blockSize: UInt64, blockCount: UInt64, _ notices: inout [String]
    ) throws(StartupError) -> Int {
        guard let text = cacheText else { return Int(min(Self.defaultCacheSlots, blockCount)) }
        let slots = SizeGrammar.hasSuffix(text) ? cacheSize / blockSize : cacheSize
        if slots == 0 {
            throw StartupError(
                "--blockCacheSize=\(text): the cache must hold at least one block; "
                    + "give a number of blocks, or bytes with a suffix")
        }
        if slots > blockCount && !SizeGrammar.hasSuffix(text) {
            notices.append(
                "--blockCacheSize=\(text) is more than the disk has; using \(blockCount) blocks")
        }
        return Int(min(slots, blockCount))
    }

    private static func isGoodBlockSize(_ size: UInt64) -> Bool {
        (blockSizeMin...blockSizeMax).contains(size) && size & (size - 1) == 0
    }
}
