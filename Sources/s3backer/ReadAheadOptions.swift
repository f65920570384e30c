import ArgumentParser
import BlockCache
import VolumeOptions

/// How far to read ahead of those who read one block after the other.
struct ReadAheadOptions: ParsableArguments {
    @Option(
        name: .customLong("readAhead"),
        help: ArgumentHelp(
            "Most blocks read ahead of sequential reads; 0: none (default: up to 64, as it helps).",
            valueName: "count"))
    var readAhead: String?

    @Option(
        name: .customLong("readAheadTrigger"),
        help: ArgumentHelp(
            "How many blocks in a row start that; 0: none do.", valueName: "count"))
    var readAheadTrigger = "2"

    private static let countMax: UInt64 = 1_000_000

    /// Reads the numbers.
    func plan() throws(StartupError) -> ReadAheadPlan {
        var plan = ReadAheadPlan()
        if let readAhead {
            plan.blocksMax = try OptionValue.number("readAhead", readAhead, 0...Self.countMax)
        }
        plan.trigger = try OptionValue.number(
            "readAheadTrigger", readAheadTrigger, 0...Self.countMax)
        return plan
    }
}

struct ReadAheadPlan: Equatable {
    var blocksMax = VolumeConfiguration.readAheadDefault
    var trigger = 2
}
