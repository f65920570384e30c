import Foundation
import Glibc
import Testing

@Suite("KillTests", .serialized, .enabled(if: canMount, mountReason))
struct KillTests {
    static let kills = 60
    static let options = [
        "--size=32m", "--blockSize=64k", "--blockCacheSize=96", "--blockCacheRingSize=512k",
        "--blockCacheWriteDelay=30",
    ]

    /// Ends the daemon 60 times with SIGKILL in the middle of things, in every state of the engine
    /// in turn, on one cache file that lives through all of it.
    @Test("every acknowledged write survives kill -9 in every state of the engine")
    func killLoop() throws {
        let daemon = try MountedDaemon("kill")
        defer { daemon.remove() }
        let options =
            Self.options + [
                "--blockCacheFile=\(daemon.cache)", "--debugPhaseFile=\(daemon.phaseFile)",
            ]
        let workload = KillWorkload(bytes: 32 << 20, writers: 4)
        let seed = ProcessInfo.processInfo.environment["S3B_SEED"].flatMap { UInt64($0) } ?? 1
        var random = SystemLikeRandom(state: seed)
        var counts: [PhasePage.State: Int] = [:]
        var lost = 0
        var writes = 0
        for number in 0..<Self.kills {
            // As the kill left it: what a failure is found out from.
            let left = daemon.cache + ".left"
            if number > 0 { _ = try run("/usr/bin/cp", ["--sparse=always", daemon.cache, left]) }
            try daemon.start(options)
            let bad: [String]
            do { bad = try workload.check(daemon.file) } catch {
                let kept = NSTemporaryDirectory() + "s3backer-kept-\(getpid())-\(number).cache"
                try? FileManager.default.moveItem(atPath: left, toPath: kept)
                Issue.record("the cache file as the kill left it: \(kept)")
                Issue.record("kill \(number): cannot be read back: \(daemon.log().suffix(2000))")
                throw error
            }
            for line in bad.prefix(5) { Issue.record("seed \(seed), kill \(number): \(line)") }
            lost += bad.count
            let target = PhasePage.State.allCases[number % PhasePage.State.allCases.count]
            let page = try PhasePage(daemon.phaseFile)
            workload.begin(daemon.file, seed: random.next())
            do {
                try awaitState(target, page, workload, extra: Int(random.next() % 400))
            } catch {
                let isAlive = daemon.process?.isRunning ?? false
                Issue.record(
                    "kill \(number): s3backer \(isAlive ? "stalls" : "ended"): \(daemon.log().suffix(2000))"
                )
                throw error
            }
            daemon.killNow()
            for state in page.states { counts[state, default: 0] += 1 }
            workload.stop()
            daemon.detach()
            writes += workload.writes.load(ordering: .relaxed)
            // The tool reads what the next mount will.
            let verdict = try run(MountedDaemon.cachecheck, [daemon.cache])
            #expect(verdict.status == 0, "\(verdict.output)")
        }
        try daemon.start(options)
        lost += try workload.check(daemon.file).count
        #expect(try daemon.unmount() == 0)
        let table = PhasePage.State.allCases.map { "\($0.rawValue)=\(counts[$0] ?? 0)" }
        print(
            "KILLS total=\(Self.kills) \(table.joined(separator: " ")) lost=\(lost)",
            "writes=\(writes) syncs=\(workload.syncs.load(ordering: .relaxed)) seed=\(seed)")
        #expect(lost == 0)
        for state in PhasePage.State.allCases {
            #expect((counts[state] ?? 0) >= 3, "too few kills in state \(state.rawValue)")
        }
    }

    /// Lets the writers get going, then returns as soon as the engine is in the state.
    private func awaitState(
        _ target: PhasePage.State, _ page: PhasePage, _ workload: KillWorkload, extra: Int
    ) throws {
        try waitFor("the writers", seconds: 30) {
            workload.writes.load(ordering: .relaxed) >= 50 + extra
        }
        if target == .idle { workload.stop() }
        let deadline = Date(timeIntervalSinceNow: 20)
        // No pause between two looks: some states last microseconds.
        while !page.contains(target) {
            if Date() > deadline { break }
            sched_yield()
        }
    }
}
