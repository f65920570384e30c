import ArgumentParser
import Glibc

/// Exit status, as e2fsck has it: bits that may come together.
enum ExitStatus {
    static let sound: Int32 = 0
    static let corrected: Int32 = 1
    static let undecided: Int32 = 2
    static let problems: Int32 = 4
    static let operational: Int32 = 8
    static let usage: Int32 = 16
    static let cancelled: Int32 = 32
    static let undelivered: Int32 = 64
}

struct Cachecheck: ParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "cachecheck",
        abstract: "Tells what is in a block cache file of s3backer, and changes it offline.",
        usage: "cachecheck [COMMAND] [OPTIONS] FILE",
        discussion: """
            Reads the file as a mount would, with a shared lock; only "resize", "repair" and "undo" \
            write to it. Without a command it checks: the last line says whether a mount will \
            accept the file and what dirty data it holds. FILE may also be what "bundle" made.

            Exit status, added up:
              0   sound; also when the next mount will replay the journal
              1   repair: done
              2   repair: done, and blocks in conflict wait for a decision
              4   damaged, or of a version this program does not know: a mount refuses it;
                  or bytes of dirty blocks are damaged, a mount gives EIO for them;
                  compare: blocks differ
              8   not done: missing, in use, not readable, not a cache file, no room
              16  wrong usage
              32  cancelled
              64  salvage, restore: some dirty bytes could not be delivered
            """,
        version: "cachecheck version \(version)",
        subcommands: [
            Check.self, Show.self, List.self, JournalCommand.self, Map.self, Salvage.self,
            BundleCommand.self, Import.self, Resize.self,
            Compare.self, Dump.self, Restore.self, Upgrade.self, Repair.self, UndoCommand.self,
        ],
        defaultSubcommand: Check.self)
}

/// One of the commands.
protocol Command: ParsableCommand {
    /// Does it all, with output and errors; returns the exit status.
    func execute() -> Int32
}

/// What every command takes.
struct CommonOptions: ParsableArguments {
    @Flag(name: .long, help: "Write JSON instead of text.")
    var json = false

    @Flag(name: .shortAndLong, help: "Write the last line only.")
    var quiet = false

    @Flag(name: .shortAndLong, help: "Write more.")
    var verbose = false

    @Argument(help: ArgumentHelp("The cache file.", valueName: "FILE"))
    var file: String

    mutating func validate() throws {
        if quiet && verbose { throw ValidationError("-q and -v exclude each other.") }
        if file.isEmpty { throw ValidationError("The name of the file is empty.") }
    }
}

/// Runs the program. Returns its exit status.
func runProgram(_ arguments: [String]) -> Int32 {
    Cancellation.install()
    do {
        var command = try Cachecheck.parseAsRoot(
            arguments.first == "compare" ? arguments.flatMap(Compare.spelled) : arguments)
        if let command = command as? any Command { return command.execute() }
        try command.run()
        return ExitStatus.sound
    } catch {
        let text = Cachecheck.fullMessage(for: error)
        if Cachecheck.exitCode(for: error) == .success {
            return Output.write(text + "\n", to: STDOUT_FILENO) ? 0 : ExitStatus.operational
        }
        _ = Output.write(Text.safe(text, keepsLines: true) + "\n", to: STDERR_FILENO)
        return ExitStatus.usage
    }
}
