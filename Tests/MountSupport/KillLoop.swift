import Foundation
import Glibc
import Simulation
import TestSupport
import Testing

/// Ends s3backer with SIGKILL in the middle of things, in every state of the engine in turn, on one
/// cache file that lives through all of it.
package final class KillLoop {
    /// Where the blocks are, and how large everything is there.
    package struct Place: Sendable {
        package var name: String
        package var options: [String]
        /// `BUCKET/PREFIX`; nil: a directory store, which has no mount token.
        package var bucket: String?
        package var bytes: Int

        package init(_ name: String, _ options: [String], bucket: String? = nil, bytes: Int) {
            self.name = name
            self.options = options
            self.bucket = bucket
            self.bytes = bytes
        }
    }

    package static let kills = 60
    package static let killsPerStateMin = 3

    private let place: Place
    private let daemon: MountedDaemon
    private let options: [String]
    private let workload: KillWorkload
    private var random = SeededRandom(seed: testSeed)
    private var counts: [PhasePage.State: Int] = [:]
    private var lost = 0
    private var writes = 0
    /// As the first mount set it.
    private var token: String?

    package init(_ place: Place) throws {
        self.place = place
        daemon = try MountedDaemon("kill-\(place.name)")
        options =
            place.options + [
                "--blockCacheFile=\(daemon.cache)", "--debugPhaseFile=\(daemon.phaseFile)",
            ]
        workload = KillWorkload(bytes: place.bytes, writers: 4)
    }

    package func run() throws {
        defer { daemon.remove() }
        for number in 0..<Self.kills { try kill(number) }
        try daemon.start(options, place.bucket)
        expectTakeOver(Self.kills)
        lost += try workload.check(daemon.file).count
        #expect(try daemon.unmount() == 0)
        try checkStore()
        let table = PhasePage.State.allCases.map { "\($0.rawValue)=\(counts[$0] ?? 0)" }
        print(
            "KILLS store=\(place.name) total=\(Self.kills) \(table.joined(separator: " "))",
            "lost=\(lost) writes=\(writes) syncs=\(workload.syncs.load(ordering: .relaxed))",
            "seed=\(testSeed)")
        #expect(lost == 0)
        for state in PhasePage.State.allCases {
            #expect(
                (counts[state] ?? 0) >= Self.killsPerStateMin,
                "too few kills in state \(state.rawValue)")
        }
    }

    // MARK: One kill

    private func kill(_ number: Int) throws {
        // As the last kill left it: what a failure is found out from.
        let left = daemon.cache + ".left"
        if number > 0 {
            _ = try TestSupport.run("/usr/bin/cp", ["--sparse=always", daemon.cache, left])
        }
        try daemon.start(options, place.bucket)
        expectTakeOver(number)
        try readBack(number, left)
        let target = PhasePage.State.allCases[number % PhasePage.State.allCases.count]
        let page = try PhasePage(daemon.phaseFile)
        workload.begin(daemon.file, seed: random.next())
        do {
            try awaitState(target, page, extra: Int(random.next() % 400))
        } catch {
            let isAlive = daemon.process?.isRunning ?? false
            Issue.record(
                "kill \(number): s3backer \(isAlive ? "stalls" : "ended"): \(daemon.log.suffix(2000))"
            )
            throw error
        }
        daemon.killNow()
        for state in page.states { counts[state, default: 0] += 1 }
        workload.stop()
        daemon.detach()
        writes += workload.writes.load(ordering: .relaxed)
        // The tool reads what the next mount will, and every byte that it would serve: so damage
        // is known at the kill that did it.
        let verdict = try TestSupport.run(MountedDaemon.cachecheck, ["--data=all", daemon.cache])
        #expect(verdict.status == 0, "kill \(number): \(verdict.output)")
        #expect(!verdict.output.contains("DATA_BAD"), "kill \(number): \(verdict.output)")
    }

    private func readBack(_ number: Int, _ left: String) throws {
        let bad: [String]
        do { bad = try workload.check(daemon.file) } catch {
            let kept = NSTemporaryDirectory() + "s3backer-kept-\(getpid())-\(number).cache"
            try? FileManager.default.moveItem(atPath: left, toPath: kept)
            Issue.record("the cache file as the kill left it: \(kept)")
            Issue.record("kill \(number): cannot be read back: \(daemon.log.suffix(2000))")
            throw error
        }
        for line in bad.prefix(5) { Issue.record("seed \(testSeed), kill \(number): \(line)") }
        lost += bad.count
    }

    /// Lets the writers get going, then returns as soon as the engine is in the state.
    private func awaitState(_ target: PhasePage.State, _ page: PhasePage, extra: Int) throws {
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

    // MARK: The token

    /// The mark that a killed mount left in the bucket is taken over without a question, and keeps
    /// its value.
    private func expectTakeOver(_ number: Int) {
        guard place.bucket != nil else { return }
        let log = daemon.log
        let hasFound = log.contains("did not end cleanly")
        #expect(hasFound == (number > 0), "start \(number): \(log)")
        #expect(!log.contains("WARNING") && !log.contains("ERROR"), "start \(number): \(log)")
        let mark = "established new mount token "
        let value = log.components(separatedBy: mark).dropFirst().first?.prefix { $0 != "\n" }
        #expect(value != nil, "start \(number): \(log)")
        token = token ?? value.map { String($0) }
        #expect(value.map { String($0) } == token, "start \(number)")
    }

    /// After a clean unmount the store alone has everything, and no mark of a mount.
    private func checkStore() throws {
        try daemon.start(place.options, place.bucket)
        #expect(!daemon.log.contains("did not end cleanly"), "\(daemon.log)")
        lost += try workload.check(daemon.file).count
        #expect(try daemon.unmount() == 0)
    }
}
