import CrashSim
import Dispatch
import FileIO
import Testing

/// Random histories with crashes: docs/format.md, "Rules". A failure prints seed and step; the
/// `crashsim` tool brings it back with `--seed S --histories 1 --log`.
@Suite("Crash simulation", .serialized)
struct CrashSimulationTests {
    /// Distinct crash images that a run has to reach: a release build gets there in a few minutes,
    /// a debug build is there to find what traps.
    #if DEBUG
        static let imagesMin = 3_000
    #else
        static let imagesMin = 300_000
    #endif

    /// Histories of these seeds, on every core; what they are does not depend on their order.
    private func run(
        _ seeds: Range<UInt64>, listsStore: Bool = false
    ) throws -> (Coverage, [Violation]) {
        let total = Locked(
            (coverage: Coverage(), violations: [Violation](), error: (any Error)?.none))
        DispatchQueue.concurrentPerform(iterations: seeds.count) { index in
            let result = Result {
                try History.run(
                    seed: seeds.lowerBound + UInt64(index), listsStore: listsStore)
            }
            total.withLock { total in
                switch result {
                case .success(let history):
                    total.coverage.add(history.coverage)
                    if let violation = history.violation { total.violations.append(violation) }
                case .failure(let error): total.error = error
                }
            }
        }
        return try total.withLock { total in
            if let error = total.error { throw error }
            return (total.coverage, total.violations)
        }
    }

    @Test("no crash image breaks a promise")
    func randomHistories() throws {
        var total = Coverage()
        var seed: UInt64 = 1
        while total.distinct.count < Self.imagesMin {
            let (coverage, violations) = try run(seed..<seed + 64)
            total.add(coverage)
            for violation in violations { Issue.record("\(violation)") }
            try #require(total.violations < 5, "more than enough")
            seed += 64
        }
        print(total.table)
        print(total.matrixTable)
        print(
            "CRASHSIM seed=1..\(seed - 1) images=\(total.images) distinct=\(total.distinct.count) "
                + "violations=\(total.violations)")
        let missing = total.missing(
            Self.imagesMin / 2000,
            but: [
                .pageMateUsed: 1, .crashPadWrite: 1, .evictedInExtent: 1, .storeAhead: 1,
                .destagedBad: 1, .readRefused: 10, .writeRefused: 10, .hitsOutlived: 50,
                .lists: 0, .listFailures: 0, .verifiedByList: 0,
            ])
        #expect(missing.isEmpty, "branches that the histories no longer reach")
        let cells = total.missingCells(Self.imagesMin / 3000)
        #expect(cells.isEmpty, "records that no longer meet these branches of recovery")
    }

    @Test("nor where the store is listed meanwhile")
    func listedStores() throws {
        let (total, violations) = try run(1..<513, listsStore: true)
        for violation in violations.prefix(5) { Issue.record("\(violation)") }
        print(
            "CRASHSIM listed lists=\(total[.lists]) failed=\(total[.listFailures]) "
                + "verified=\(total[.verifiedByList]) images=\(total.images)")
        #expect(total[.lists] > 5000)
        #expect(total[.listFailures] > 500)
        #expect(total[.verifiedByList] > 1000)
    }

    @Test("every subset of the unsynced writes of small worlds recovers", arguments: 1...8)
    func exhaustive(seed: UInt64) throws {
        let result = try Exhaustive.run(seed: seed)
        if let violation = result.violation { Issue.record("\(violation)") }
        #expect(result.coverage.images >= 200)
    }

    @Test("named scenarios keep every promise at every step", arguments: Scenario.allCases)
    func scenario(_ scenario: Scenario) throws {
        try scenario.run()
    }
}
