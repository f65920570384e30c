import ArgumentParser
import CacheFile

/// How much of a file a check reads.
enum CheckDepth {
    /// Superblocks, zone table, root and ring.
    case fast
    /// All metadata, and of the bytes of blocks what the depth says.
    case data(DataDepth)
}

struct Check: Command {
    static let configuration = CommandConfiguration(
        abstract: "Tells whether a mount will accept the file, and what dirty data it holds.",
        usage: "cachecheck [check] [OPTIONS] FILE",
        discussion: """
            Reads all metadata, unless told to read less (--fast) or the bytes of blocks as well \
            (--data). Finding codes: docs/format.md, "Findings".
            """)

    @OptionGroup var common: CommonOptions

    @Flag(name: .long, help: "Read superblocks, root and journal only, not the directory.")
    var fast = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Read the bytes of dirty blocks, or of all, and compare their checksums.",
            valueName: "dirty|all"))
    var data: DataDepth = .none

    mutating func validate() throws {
        if fast && data != .none { throw ValidationError("--fast and --data exclude each other.") }
    }

    func execute() -> Int32 {
        let progress = Progress("checking data", common)
        let report = Report.make(
            common.file, fast ? .fast : .data(data), progress: progress.show)
        progress.clear()
        if common.json { return Output.finish(report.json + "\n", report.status) }
        if case .failed(let failure) = report.outcome {
            Output.complain(failure.line)
            return report.status
        }
        let text = report.text(quiet: common.quiet, verbose: common.verbose)
        return Output.finish(text, report.status)
    }
}

extension DataDepth: ExpressibleByArgument {
    /// "none" is what leaving the option out means.
    public static var allValueStrings: [String] { ["dirty", "all"] }

    public init?(argument: String) {
        guard Self.allValueStrings.contains(argument) else { return nil }
        self.init(rawValue: argument)
    }
}
