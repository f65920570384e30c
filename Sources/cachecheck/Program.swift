import ArgumentParser
import CacheFile
import Glibc

/// Exit status, as e2fsck has it.
enum ExitStatus {
    static let sound: Int32 = 0
    static let problems: Int32 = 4
    static let operational: Int32 = 8
    static let usage: Int32 = 16
}

/// What the command line says.
struct Options: ParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "cachecheck",
        abstract: "Checks a block cache file of s3backer; writes nothing.",
        discussion: """
            Reads the file as a mount would, with a shared lock, and says in the last line whether \
            a mount will accept it and what dirty data it holds.

            Exit status:
              0   sound; also when the next mount will replay the journal
              4   damaged, or of a version this program does not know: a mount refuses it;
                  with --data also: bytes of dirty blocks are damaged, a mount gives EIO for them
              8   not checked: missing, in use, not readable, not a cache file
              16  wrong usage
            """,
        version: "cachecheck version \(version)")

    @Flag(name: .long, help: "Write one JSON object instead of text.")
    var json = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Read the bytes of dirty blocks, or of all, and compare their checksums.",
            valueName: "dirty|all"))
    var data: DataDepth = .none

    @Flag(name: .shortAndLong, help: "Write the verdict only.")
    var quiet = false

    @Flag(name: .shortAndLong, help: "Write all that the superblock says, too.")
    var verbose = false

    @Argument(help: ArgumentHelp("The cache file.", valueName: "FILE"))
    var file: String

    mutating func validate() throws {
        if quiet && verbose { throw ValidationError("-q and -v exclude each other.") }
        if file.isEmpty { throw ValidationError("The name of the cache file is empty.") }
    }
}

/// Runs the program. Returns its exit status.
func runProgram(_ arguments: [String]) -> Int32 {
    let options: Options
    do {
        options = try Options.parse(arguments)
    } catch {
        let text = Options.fullMessage(for: error)
        if Options.exitCode(for: error) == .success {
            return Output.write(text + "\n", to: STDOUT_FILENO) ? 0 : ExitStatus.operational
        }
        _ = Output.write(Text.safe(text, keepsLines: true) + "\n", to: STDERR_FILENO)
        return ExitStatus.usage
    }
    let progress = Progress(isWanted: !options.json && !options.quiet)
    let report = Report.make(options.file, data: options.data, progress: progress.show)
    progress.clear()
    let text: String
    if options.json {
        text = report.json + "\n"
    } else if case .failed(let failure) = report.outcome {
        _ = Output.write("cachecheck: \(failure.line)\n", to: STDERR_FILENO)
        return report.status
    } else {
        text = report.text(quiet: options.quiet, verbose: options.verbose)
    }
    guard Output.write(text, to: STDOUT_FILENO) else {
        _ = Output.write("cachecheck: cannot write the report\n", to: STDERR_FILENO)
        return ExitStatus.operational
    }
    return report.status
}

extension DataDepth: ExpressibleByArgument {
    /// "none" is what leaving the option out means.
    public static var allValueStrings: [String] { ["dirty", "all"] }

    public init?(argument: String) {
        guard Self.allValueStrings.contains(argument) else { return nil }
        self.init(rawValue: argument)
    }
}

/// One line on a terminal that says how far a long check has come.
final class Progress {
    private let isWanted: Bool
    private var shownPercent = -1

    init(isWanted: Bool) { self.isWanted = isWanted && isatty(STDERR_FILENO) == 1 }

    func show(_ done: Int, _ all: Int) {
        let percent = done * 100 / max(1, all)
        guard isWanted, percent != shownPercent else { return }
        shownPercent = percent
        _ = Output.write(
            "\rchecking data: \(percent) %, block \(done) of \(all)", to: STDERR_FILENO)
    }

    func clear() {
        if shownPercent >= 0 { _ = Output.write("\r\u{1b}[K", to: STDERR_FILENO) }
    }
}

enum Output {
    /// Whether all of `text` was written.
    static func write(_ text: String, to fd: Int32) -> Bool {
        var text = text
        return text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let put = Glibc.write(fd, bytes.baseAddress! + done, bytes.count - done)
                if put > 0 { done += put } else if errno != EINTR { return false }
            }
            return true
        }
    }
}
