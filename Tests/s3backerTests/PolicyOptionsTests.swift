import BlockCache
import Testing
import VolumeOptions

@testable import s3backer

/// Options about dirty blocks.
@Suite struct PolicyOptionsTests {
    let place: Playground

    init() throws { place = try Playground() }

    private func plan(_ words: String...) throws -> MountPlan {
        let line = ["--test", "--size=1m"] + words + [place.store, place.target]
        return try Validation.plan(Options.read(Arguments.normalise(line)))
    }

    private var cache: String { "--blockCacheFile=\(place.path)/cache" }

    @Test(
        "defaults: fsync is what the cache can promise, the end takes a minute if there is a file")
    func defaults() throws {
        let volatile = try plan().policy
        #expect(volatile.unmountTimeoutMs == nil && volatile.cache.fsync == .remote)
        let policy = try plan(cache).policy
        #expect(policy.unmountTimeoutMs == 60_000 && policy.cache.fsync == .local)
        #expect(policy.cache.hasFlowControl && policy.cache.statusIntervalMs == 60_000)
        #expect(policy.cache.dirtyMax == 0 && policy.cache.cleanTimeoutMs == 0)
        #expect(policy.cache.protectedBlocks == 0 && !policy.cache.isSynchronous)
        #expect(!policy.dropsPages)
    }

    @Test("values")
    func values() throws {
        let policy = try plan(
            cache, "--unmountTimeout=0", "--fsyncMode=none", "--blockCacheMaxDirty=10",
            "--blockCacheTimeout=5000", "--blockCacheNumProtected=4", "--blockCacheSync",
            "--blockCacheWriteDelay=0", "--blockCacheRecoverDirtyBlocks", "--blockCacheFileAdvise"
        ).policy
        #expect(policy.unmountTimeoutMs == 0 && policy.cache.fsync == FsyncMode.none)
        #expect(policy.cache.dirtyMax == 10 && policy.cache.cleanTimeoutMs == 5000)
        #expect(policy.cache.protectedBlocks == 4 && policy.cache.isSynchronous)
        #expect(policy.dropsPages)
        #expect(try plan("--fsyncMode=none").policy.cache.fsync == FsyncMode.none)
    }

    @Test(
        "what makes no sense is refused, with a remedy",
        arguments: [
            ("--unmountTimeout=5", "--unmountTimeout needs --blockCacheFile"),
            ("--blockCacheRecoverDirtyBlocks", "needs --blockCacheFile; give one"),
            ("--blockCacheFileAdvise", "needs --blockCacheFile; give one"),
            ("--blockCacheSync", "needs --blockCacheWriteDelay=0"),
            ("--fsyncMode=local", "--fsyncMode=local needs --blockCacheFile"),
            ("--fsyncMode=later", "must be local, remote or none"),
            ("--blockCacheMaxDirty=x", "must be a number from 0"),
        ])
    func refused(option: String, text: String) throws {
        let error = try #require(throws: StartupError.self) { try plan(option) }
        #expect(error.message.contains(text), "\(error.message)")
    }

    @Test("limits are compared with the size of the cache")
    func limits() throws {
        let policy = try plan("--blockCacheMaxDirty=10", "--blockCacheNumProtected=10").policy
        try policy.check(slots: 10)
        let error = try #require(throws: StartupError.self) { try policy.check(slots: 9) }
        #expect(error.message.contains("--blockCacheMaxDirty=10: the cache holds 9 blocks; give"))
        #expect(policy.notices(slots: 10).isEmpty)
        #expect(policy.notices(slots: 9).first?.contains("--blockCacheNumProtected=10") == true)
        let plan = try plan("--blockCacheSize=20", "--blockCacheNumProtected=21")
        #expect(plan.notices.contains { $0.contains("more than the 20 blocks") })
    }

    @Test("--sharedDiskMode goes with nothing that remembers")
    func shared() throws {
        let shared = try plan("--sharedDiskMode", "--readAhead=0", "--readAheadTrigger=0")
        #expect(shared.isShared && shared.isDirect)
        let plain = try plan("--directIO")
        #expect(!plain.isShared && plain.isDirect)
        for other in [
            cache, "--blockCacheSize=10", "--blockCacheThreads=2", "--blockCacheWriteDelay=0",
            "--readAhead=4", "--readAheadTrigger=1", "--md5CacheSize=10", "--listBlocks",
            "--blockCacheNoVerify", "--blockCacheMaxDirty=3", "--blockCacheNumProtected=1",
        ] {
            let error = try #require(throws: StartupError.self) {
                try plan("--sharedDiskMode", other)
            }
            let name = other.split(separator: "=")[0]
            #expect(
                error.message.contains("--sharedDiskMode") && error.message.contains(name),
                "\(error.message)")
        }
    }
}
