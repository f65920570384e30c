import ArgumentParser
import VolumeOptions

/// The command line after `Arguments.normalise`: every option is `--name` or `--name=value`.
///
/// Values stay text here; `Validation` reads them, so that every message has one form.
struct Options: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: Program.name,
        abstract: "Makes a disk of an S3 bucket: one file in a mount point.",
        usage: """
            s3backer [options] BUCKET[/PREFIX] /mount/point
            s3backer --test [options] DIRECTORY /mount/point
            s3backer --erase|--reset-mounted-flag|--flush [options] BUCKET[/PREFIX]
            mount -t fuse.s3backer BUCKET[/PREFIX] /mount/point -o size=1t,...
            """,
        discussion: """
            Every long option may also be given as -o name=value, several joined by commas, as \
            in /etc/fstab. Sizes take the suffixes k, m, g, t, p, e. Other -o words are mount \
            options.
            """,
        version: "\(Program.name) version \(Program.version)"
    )

    @Argument(
        help: ArgumentHelp(
            "The bucket, or with --test the directory, with the blocks.", valueName: "bucket"))
    var source: String?

    @Argument(help: ArgumentHelp("Where the disk appears.", valueName: "mount-point"))
    var mountPoint: String?

    @Argument(help: .hidden)
    var extra: [String] = []

    @Flag(name: .customLong("test"), help: "Blocks are files in a directory.")
    var test = false

    @Option(
        name: .customLong("size"),
        help: ArgumentHelp("Size of the disk (default: as in the bucket).", valueName: "size"))
    var size: String?

    @Option(
        name: .customLong("blockSize"),
        help: ArgumentHelp(
            "Size of a block: a power of two, 4k to 64m (default: as in the bucket, or 4k).",
            valueName: "size"))
    var blockSize: String?

    @Option(
        name: .customLong("prefix"),
        help: ArgumentHelp("Begins the name of every block.", valueName: "text"))
    var prefix = ""

    @OptionGroup(title: "Access Options")
    var access: AccessOptions

    @OptionGroup(title: "S3 Options")
    var s3: S3Options

    @OptionGroup(title: "Compression and Encryption")
    var codec: CodecOptions

    @OptionGroup(title: "Storage Options")
    var storage: StorageOptions

    @OptionGroup(title: "Consistency Options")
    var consistency: ConsistencyOptions

    @OptionGroup(title: "Reload and Listing")
    var reload: ReloadOptions

    @OptionGroup(title: "Cache Policy")
    var policy: PolicyOptions

    @OptionGroup(title: "Statistics")
    var statsMirror: StatsMirrorOptions

    @OptionGroup(title: "Sharing")
    var sharing: SharingOptions

    @OptionGroup(title: "Maintenance")
    var maintenance: MaintenanceOptions

    @Option(
        name: .customLong("blockCacheFile"),
        help: ArgumentHelp("Keep the cache in this file; created if missing.", valueName: "file"))
    var blockCacheFile: String?

    @Option(
        name: .customLong("blockCacheSize"),
        help: ArgumentHelp(
            "Size of the cache: blocks, or bytes with a suffix (default: 1000 blocks).",
            valueName: "size"))
    var blockCacheSize: String?

    @Option(
        name: .customLong("blockCacheWriteDelay"),
        help: ArgumentHelp("How long a written block waits for more writes.", valueName: "ms"))
    var blockCacheWriteDelay = "250"

    @Option(
        name: .customLong("blockCacheThreads"),
        help: ArgumentHelp("How many blocks are uploaded at a time.", valueName: "count"))
    var blockCacheThreads = "20"

    @OptionGroup(title: "Read-Ahead Options")
    var readAhead: ReadAheadOptions

    @Option(
        name: .customLong("filename"),
        help: ArgumentHelp("Name of the disk in the mount point.", valueName: "name"))
    var filename = "file"

    @Option(
        name: .customLong("statsFilename"),
        help: ArgumentHelp("Name of the statistics file; empty: none.", valueName: "name"))
    var statsFilename = "stats"

    @Option(
        name: .customLong("fileMode"),
        help: ArgumentHelp(
            "Permissions of the disk (default: 0600, 0400 with --readOnly).", valueName: "octal"))
    var fileMode: String?

    @Option(
        name: .customLong("uid"), help: ArgumentHelp("Owner of the files.", valueName: "number"))
    var uid: String?

    @Option(
        name: .customLong("gid"), help: ArgumentHelp("Group of the files.", valueName: "number"))
    var gid: String?

    @Flag(name: .customLong("readOnly"), help: "Refuse to write.")
    var readOnly = false

    @Flag(
        name: .customLong("force"),
        help: "Mount although it is mounted elsewhere, or with other sizes than it has.")
    var force = false

    @Flag(name: .customLong("quiet"), help: "Say nothing while all goes well.")
    var quiet = false

    @Flag(name: .customLong("debug"), help: "Log more.")
    var debug = false

    @Flag(
        name: [.customShort("f"), .customLong("foreground")], help: "Do not become a daemon.")
    var foreground = false

    @Flag(name: .customShort("d"), help: "Foreground, --debug and a trace of every request.")
    var trace = false

    /// Test instrument: see `VolumeConfiguration.phaseFile`.
    @Option(name: .customLong("debugPhaseFile"), help: .hidden)
    var debugPhaseFile: String?

    /// Test instrument: size of the journal ring of a new cache file.
    @Option(name: .customLong("blockCacheRingSize"), help: .hidden)
    var blockCacheRingSize: String?

    /// Mount options for the kernel, one `--fuse=WORD` each; made by `Arguments` only.
    @Option(name: .customLong("fuse"), parsing: .singleValue, help: .hidden)
    var fuse: [String] = []
}

extension Options {
    /// Reads a normalised command line.
    ///
    /// - Throws: `StartupError` with one line; a request for help or the version as it is.
    static func read(_ arguments: [String]) throws -> Options {
        do {
            return try Options.parse(arguments)
        } catch {
            if exitCode(for: error) == .success { throw error }
            var line = message(for: error)
            if let end = line.firstIndex(of: "\n") { line = String(line[..<end]) }
            if line.hasSuffix(".") { line.removeLast() }
            if let first = line.first { line = first.lowercased() + line.dropFirst() }
            throw StartupError("\(line); see \(Program.name) --help")
        }
    }
}
