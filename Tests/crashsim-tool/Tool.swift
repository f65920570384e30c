import CrashSim
import Glibc

/// The seed under way, for the message of a trap. Written by the one thread there is.
nonisolated(unsafe) private var currentSeed: UInt64 = 0

private func report(_ signal: Int32) {
    var line = Array("TRAP seed=\(currentSeed) signal=\(signal)\n".utf8)
    _ = write(2, &line, line.count)
    _exit(1)
}

private let usage = """
    crashsim [--seconds N] [--seed S] [--histories N] [--steps N] [--lists] [--log] [--go-on]
    crashsim --scenarios
    Runs random histories of the cache engine with crashes, from seed S on, until the time is up.
    With --lists only worlds whose store is listed. Exit status 1 with seed and step of the first promise that was broken.
    """

/// Runs the named scenarios.
private func runScenarios() -> Int32 {
    var status: Int32 = 0
    for scenario in Scenario.allCases {
        do {
            try scenario.run()
            print("\(scenario.rawValue) \(scenario) passed")
        } catch {
            print("\(scenario.rawValue) \(scenario) FAILED: \(error)")
            status = 1
        }
    }
    return status
}

/// The program; returns its exit status.
func runTool(_ arguments: [String]) -> Int32 {
    var values: [String: UInt64] = [
        "--seconds": 10, "--seed": 1, "--histories": .max, "--steps": 400,
    ]
    var keepsLog = false
    var listsStore = false
    var goesOn = false
    var rest = arguments[...]
    while let name = rest.popFirst() {
        if name == "--log" {
            keepsLog = true
        } else if name == "--lists" {
            listsStore = true
        } else if name == "--scenarios" {
            return runScenarios()
        } else if name == "--go-on" {
            goesOn = true
        } else if values[name] != nil, let value = rest.popFirst().flatMap({ UInt64($0) }) {
            values[name] = value
        } else {
            print(usage)
            return name == "--help" ? 0 : 64
        }
    }
    if !keepsLog { for number in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV] { signal(number, report) } }
    let first = values["--seed"] ?? 1
    let end = ContinuousClock.now + .seconds(Int64(values["--seconds"] ?? 10))
    let started = ContinuousClock.now
    var total = Coverage()
    var seed = first
    while ContinuousClock.now < end, seed - first < values["--histories"] ?? 0 {
        currentSeed = seed
        do {
            let result = try History.run(
                seed: seed, steps: Int(values["--steps"] ?? 400), listsStore: listsStore,
                keepsLog: keepsLog)
            total.add(result.coverage)
            if let violation = result.violation {
                for line in result.log { print(line) }
                print("VIOLATION \(violation)")
                if !goesOn { break }
            }
        } catch {
            print("seed \(seed): \(error)")
            return 1
        }
        seed += 1
    }
    let seconds =
        Double((ContinuousClock.now - started).components.attoseconds) / 1e18
        + Double((ContinuousClock.now - started).components.seconds)
    print(total.table)
    print(total.matrixTable)
    print(
        "CRASHSIM seed=\(first)..\(seed) images=\(total.images) distinct=\(total.distinct.count) "
            + "violations=\(total.violations) recoveries=\(total.recoveries) steps=\(total.steps) "
            + "images/s=\(Int(Double(total.images) / max(seconds, 0.001)))")
    return total.violations == 0 ? 0 : 1
}
