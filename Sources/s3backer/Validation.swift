import Glibc

/// Turns options into a plan, or says what is wrong with them. Nothing is created or changed here.
struct Validation {
    private let options: Options

    private static let blockSizeMin: UInt64 = 4096
    private static let blockSizeMax: UInt64 = 64 << 20
    private static let blockCountMax: UInt64 = (1 << 32) - 1
    private static let defaultCacheSlots: UInt64 = 1000
    private static let threadsMax: UInt64 = 1000
    private static let writeDelayMaxMs: UInt64 = 24 * 3600 * 1000
    private static let nameBytesMax = 255

    private init(_ options: Options) { self.options = options }

    /// Checks everything that can be checked without opening the cache file.
    static func plan(_ options: Options) throws(StartupError) -> MountPlan {
        try Validation(options).plan()
    }

    private func plan() throws(StartupError) -> MountPlan {
        guard options.test else {
            throw StartupError(
                "S3 buckets are not supported yet by this build; "
                    + "use --test DIRECTORY to keep the blocks in a directory")
        }
        let (source, target) = try positionals()
        let blockSize = try readBlockSize()
        let blockCount = try readBlockCount(blockSize: blockSize)
        var notices: [String] = []
        let slots = try readCacheSlots(
            blockSize: blockSize, blockCount: blockCount, notices: &notices)
        let statsFilename = try readStatsFilename()
        let directory = try PathChecks.storeDirectory(source, prefix: options.prefix)
        let cacheFile = try readCacheFile()
        let mountPoint = try PathChecks.mountPoint(target)
        try PathChecks.apart(store: directory, mountPoint: mountPoint)
        if let cacheFile { try PathChecks.outside(cacheFile.path, mountPoint: mountPoint) }
        return MountPlan(
            directory: directory,
            prefix: options.prefix,
            mountPoint: mountPoint,
            blockSize: Int(blockSize),
            blockCount: blockCount,
            cacheFile: cacheFile,
            cacheSlots: slots,
            isCacheSizeGiven: options.blockCacheSize != nil,
            writeDelayMs: try readNumber(
                "blockCacheWriteDelay", options.blockCacheWriteDelay, 0...Self.writeDelayMaxMs),
            uploadThreads: try readNumber(
                "blockCacheThreads", options.blockCacheThreads, 1...Self.threadsMax),
            filename: try readName("filename", options.filename),
            statsFilename: statsFilename,
            fileMode: try readFileMode(),
            uid: try readOwner("uid", options.uid, default: getuid()),
            gid: try readOwner("gid", options.gid, default: getgid()),
            isReadOnly: options.readOnly,
            isQuiet: options.quiet,
            isDebug: options.debug || options.trace,
            isTracing: options.trace,
            isForeground: options.foreground || options.trace,
            phaseFile: options.debugPhaseFile.map { PathChecks.absolute($0) },
            mountWords: options.fuse,
            notices: notices)
    }

    // MARK: Positionals and names

    private func positionals() throws(StartupError) -> (source: String, target: String) {
        guard let source = options.source, !source.isEmpty else {
            throw StartupError(
                "--test needs a directory and a mount point: s3backer --test DIRECTORY MOUNTPOINT")
        }
        guard let target = options.mountPoint, !target.isEmpty else {
            throw StartupError(
                "the mount point is missing: s3backer --test \(source) MOUNTPOINT")
        }
        if let extra = options.extra.first {
            throw StartupError(
                "unexpected argument \(extra) after the mount point \(target); leave it out")
        }
        return (source, target)
    }

    private func readName(_ option: String, _ name: String) throws(StartupError) -> String {
        if name.isEmpty || name == "." || name == ".." || name.utf8.contains(0x2f) {
            throw StartupError("--\(option)=\(name): must be a name without \"/\"")
        }
        if name.utf8.count > Self.nameBytesMax {
            throw StartupError("--\(option): longer than \(Self.nameBytesMax) bytes; shorten it")
        }
        return name
    }

    private func readStatsFilename() throws(StartupError) -> String {
        let name = options.statsFilename
        if name.isEmpty { return name }
        if name == options.filename {
            throw StartupError("--statsFilename=\(name): is --filename too; choose two names")
        }
        return try readName("statsFilename", name)
    }

    private func readCacheFile() throws(StartupError) -> MountPlan.CacheFilePlan? {
        var ringBytes: Int?
        if let text = options.blockCacheRingSize {
            ringBytes = Int(try readSize("blockCacheRingSize", text))
        }
        guard let path = options.blockCacheFile else { return nil }
        return .init(path: try PathChecks.cacheFile(path), ringBytes: ringBytes)
    }

    // MARK: Sizes

    private func readSize(_ option: String, _ text: String) throws(StartupError) -> UInt64 {
        do throws(SizeGrammar.Failure) {
            return try SizeGrammar.parse(text)
        } catch {
            switch error {
            case .malformed:
                throw StartupError(
                    "--\(option)=\(text): invalid size; "
                        + "give a number with one of the suffixes k, m, g, t, p, e or none")
            case .tooBig:
                throw StartupError("--\(option)=\(text): too big; give a smaller size")
            }
        }
    }

    private func readBlockSize() throws(StartupError) -> UInt64 {
        let text = options.blockSize
        let size = try readSize("blockSize", text)
        let isInRange = (Self.blockSizeMin...Self.blockSizeMax).contains(size)
        if !isInRange || size & (size - 1) != 0 {
            throw StartupError(
                "--blockSize=\(text): must be a power of two from 4k to 64m")
        }
        return size
    }

    private func readBlockCount(blockSize: UInt64) throws(StartupError) -> UInt64 {
        guard let text = options.size else {
            throw StartupError("--size is missing; give the size of the disk, such as --size=10g")
        }
        let size = try readSize("size", text)
        if size == 0 { throw StartupError("--size=\(text): must be more than 0") }
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

    private func readCacheSlots(
        blockSize: UInt64, blockCount: UInt64, notices: inout [String]
    ) throws(StartupError) -> Int {
        guard let text = options.blockCacheSize else {
            return Int(min(Self.defaultCacheSlots, blockCount))
        }
        let size = try readSize("blockCacheSize", text)
        let slots = SizeGrammar.hasSuffix(text) ? size / blockSize : size
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

    // MARK: Numbers

    private func readNumber(
        _ option: String, _ text: String, _ range: ClosedRange<UInt64>
    ) throws(StartupError) -> Int {
        guard let number = UInt64(text), range.contains(number) else {
            throw StartupError(
                "--\(option)=\(text): must be a number from "
                    + "\(range.lowerBound) to \(range.upperBound)")
        }
        return Int(number)
    }

    private func readOwner(
        _ option: String, _ text: String?, default: UInt32
    ) throws(StartupError) -> UInt32 {
        guard let text else { return `default` }
        return UInt32(try readNumber(option, text, 0...UInt64(UInt32.max - 1)))
    }

    private func readFileMode() throws(StartupError) -> UInt32 {
        guard let text = options.fileMode else { return options.readOnly ? 0o400 : 0o600 }
        guard let mode = UInt32(text, radix: 8), mode <= 0o777 else {
            throw StartupError("--fileMode=\(text): must be an octal number from 0 to 0777")
        }
        return mode
    }
}
