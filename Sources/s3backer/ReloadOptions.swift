import ArgumentParser
import BlockCache
import VolumeOptions

/// The part of the command line about what an earlier mount left in the cache file, and what the
/// bucket has. The names of the real s3backer mean the same here.
struct ReloadOptions: ParsableArguments {
    @Flag(
        name: .customLong("listBlocks"),
        help: "List all blocks in the bucket after the start, not only where that saves requests.")
    var listBlocks = false

    @Option(
        name: .customLong("listBlocksThreads"),
        help: ArgumentHelp("How many list requests run at a time.", valueName: "count"))
    var listBlocksThreads = "16"

    @Flag(
        name: .customLong("blockCacheNoVerify"),
        help: "Trust the blocks in the cache file without asking the bucket.")
    var blockCacheNoVerify = false

    @Option(
        name: .customLong("resolveConflicts"),
        help: ArgumentHelp(
            """
            Blocks changed here and by somebody else in the bucket as well: local uploads those \
            here, remote gives them up (default: they are kept and not uploaded).
            """, valueName: "local|remote"))
    var resolveConflicts: String?
}

/// What a mount does with the blocks that it finds.
struct ReloadPlan: Equatable {
    var listsAll = false
    var listThreads = 16
    var trustsCache = false
    var conflictPolicy: ConflictPolicy?
}

extension ReloadOptions {
    private static let threadsMax: UInt64 = 1000

    func plan(hasCacheFile: Bool) throws(StartupError) -> ReloadPlan {
        var plan = ReloadPlan()
        plan.listsAll = listBlocks
        plan.listThreads = try OptionValue.number(
            "listBlocksThreads", listBlocksThreads, 1...Self.threadsMax)
        plan.trustsCache = blockCacheNoVerify
        guard let word = resolveConflicts else { return plan }
        guard let policy = ConflictPolicy(rawValue: word) else {
            throw StartupError("--resolveConflicts=\(word): must be local or remote")
        }
        if !hasCacheFile {
            throw StartupError("--resolveConflicts is of no use without --blockCacheFile")
        }
        plan.conflictPolicy = policy
        return plan
    }
}
