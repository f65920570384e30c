import CrashSim
import Testing

/// Random histories with crashes: docs/format.md, "Rules". A failure prints seed and step; the
/// `crashsim` tool brings it back with `--seed S --histories 1 --log`.
@Suite("Crash simulation", .serialized)
struct CrashSimulationTests {
    /// Distinct crash images that a run has to reach: a release build gets there in about a minute,
    /// a debug build is there to find what traps.
    #if DEBUG
        static let imagesMin = 3_000
    #else
        static let imagesMin = 100_000
    #endif

    @Test("no crash image breaks a promise")
    func randomHistories() throws {
        var total = Coverage()
        var seed: UInt64 = 1
        while total.distinct.count < Self.imagesMin {
            let result = try History.run(seed: seed)
            total.add(result.coverage)
            if let violation = result.violation { Issue.record("\(violation)") }
            try #require(total.violations < 5, "more than enough")
            seed += 1
        }
        print(total.table)
        print(
            "CRASHSIM seed=1..\(seed - 1) images=\(total.images) distinct=\(total.distinct.count) "
                + "violations=\(total.violations)")
        let missing = total.missing(
            Self.imagesMin / 2000, but: [.pageMateUsed: 1, .crashPadWrite: 1])
        #expect(missing.isEmpty, "branches that the histories no longer reach")
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
