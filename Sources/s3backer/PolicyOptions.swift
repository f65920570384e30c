import ArgumentParser
import BlockCache
import VolumeOptions

/// The part of the command line that says how dirty blocks are kept and given up.
struct PolicyOptions: ParsableArguments {
    @Option(
        name: .customLong("unmountTimeout"),
        help: ArgumentHelp(
            "How long the end of a mount may take; the rest stays in the cache file (default: 60).",
            valueName: "seconds"))
    var unmountTimeout: String?

    @Option(
        name: .customLong("fsyncMode"),
        help: ArgumentHelp(
            "When fsync returns: local, the cache file has the data (default with one); remote, the "
                + "store has it; none, at once (unsafe).",
            valueName: "mode"))
    var fsyncMode: String?

    @Option(
        name: .customLong("blockCacheMaxDirty"),
        help: ArgumentHelp(
            "Writers wait at so many dirty blocks; 0: at a full cache.", valueName: "blocks"))
    var blockCacheMaxDirty = "0"

    @Option(
        name: .customLong("blockCacheTimeout"),
        help: ArgumentHelp(
            "Clean blocks unused for so long leave the cache; 0: never.", valueName: "ms"))
    var blockCacheTimeout = "0"

    @Option(
        name: .customLong("blockCacheNumProtected"),
        help: ArgumentHelp("Blocks below this number are evicted last.", valueName: "block"))
    var blockCacheNumProtected = "0"

    @Flag(
        name: .customLong("blockCacheSync"),
        help: "A write returns when the store has it; needs --blockCacheWriteDelay=0.")
    var blockCacheSync = false

    @Flag(
        name: .customLong("blockCacheRecoverDirtyBlocks"),
        help: "Always so; taken for the sake of old command lines.")
    var blockCacheRecoverDirtyBlocks = false

    @Flag(
        name: .customLong("blockCacheFileAdvise"),
        help: "Keep the cache file out of the page cache.")
    var blockCacheFileAdvise = false
}

/// What these options come to.
struct PolicyPlan: Equatable {
    /// nil: until all is uploaded, since there is no file to keep it.
    var unmountTimeoutMs: Int?
    /// The cache file is kept out of the page cache.
    var dropsPages = false
    var cache = CachePolicy()

    /// - Parameter slots: Blocks that the cache holds.
    func check(slots: Int) throws(StartupError) {
        guard cache.dirtyMax > slots else { return }
        throw StartupError(
            "--blockCacheMaxDirty=\(cache.dirtyMax): the cache holds \(slots) blocks; "
                + "give no more than that, or a larger --blockCacheSize")
    }

    func notices(slots: Int) -> [String] {
        guard cache.protectedBlocks > slots else { return [] }
        return [
            "--blockCacheNumProtected=\(cache.protectedBlocks) is more than the \(slots) blocks "
                + "that the cache holds: they cannot all be kept"
        ]
    }
}

extension PolicyOptions {
    private static let defaultTimeout = "60"
    private static let timeoutMax: UInt64 = 7 * 24 * 3600
    private static let statusIntervalMs: UInt64 = 60_000
    private static let blocksMax: UInt64 = 1 << 32
    /// Slots know their last use in 32 bits.
    private static let cleanTimeoutMaxMs: UInt64 = 1 << 36

    func plan(
        isFlush: Bool, hasCacheFile: Bool, writeDelay: String
    ) throws(StartupError) -> PolicyPlan {
        var plan = PolicyPlan()
        plan.unmountTimeoutMs = try readTimeout(hasCacheFile)
        // A flush is done when all is uploaded, unless the user has less time.
        if isFlush && unmountTimeout == nil { plan.unmountTimeoutMs = nil }
        for (isGiven, option) in [
            (blockCacheRecoverDirtyBlocks, "blockCacheRecoverDirtyBlocks"),
            (blockCacheFileAdvise, "blockCacheFileAdvise"),
        ] where isGiven && !hasCacheFile {
            throw StartupError(
                "--\(option) needs --blockCacheFile; give one, or leave the option out")
        }
        if blockCacheSync && UInt64(writeDelay) != 0 {
            throw StartupError("--blockCacheSync needs --blockCacheWriteDelay=0; give that as well")
        }
        plan.dropsPages = blockCacheFileAdvise
        plan.cache.statusIntervalMs = Self.statusIntervalMs
        plan.cache.hasFlowControl = true
        plan.cache.isSynchronous = blockCacheSync
        plan.cache.fsync = try readFsyncMode(hasCacheFile)
        plan.cache.dirtyMax = try OptionValue.number(
            "blockCacheMaxDirty", blockCacheMaxDirty, 0...Self.blocksMax)
        plan.cache.cleanTimeoutMs = UInt64(
            try OptionValue.number(
                "blockCacheTimeout", blockCacheTimeout, 0...Self.cleanTimeoutMaxMs))
        plan.cache.protectedBlocks = UInt64(
            try OptionValue.number(
                "blockCacheNumProtected", blockCacheNumProtected, 0...Self.blocksMax))
        return plan
    }

    private func readTimeout(_ hasCacheFile: Bool) throws(StartupError) -> Int? {
        if hasCacheFile {
            let text = unmountTimeout ?? Self.defaultTimeout
            return 1000 * (try OptionValue.number("unmountTimeout", text, 0...Self.timeoutMax))
        }
        if unmountTimeout == nil { return nil }
        throw StartupError(
            "--unmountTimeout needs --blockCacheFile: what memory alone holds must be uploaded; "
                + "leave the option out or give a cache file")
    }

    private func readFsyncMode(_ hasCacheFile: Bool) throws(StartupError) -> FsyncMode {
        guard let text = fsyncMode else { return hasCacheFile ? .local : .remote }
        guard let mode = FsyncMode(rawValue: text) else {
            throw StartupError("--fsyncMode=\(text): must be local, remote or none")
        }
        if mode == .local && !hasCacheFile {
            throw StartupError(
                "--fsyncMode=local needs --blockCacheFile: memory does not survive a power cut; "
                    + "give a cache file, or --fsyncMode=remote")
        }
        return mode
    }
}
