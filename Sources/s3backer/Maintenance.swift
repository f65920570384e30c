import Glibc
import Logging
import S3IO
import VolumeOptions

/// What is done to a volume in a bucket instead of mounting it.
struct Maintenance {
    enum Job: Equatable {
        case erase(isDryRun: Bool)
        case resetMountedFlag

        var option: String {
            switch self {
            case .erase: "--erase"
            case .resetMountedFlag: "--reset-mounted-flag"
            }
        }
    }

    let job: Job
    let configuration: S3Configuration
    let prefix: String
    let isHashed: Bool
    let sizes: SizeRequest
    let isForced: Bool
    let isQuiet: Bool
    let isDebug: Bool

    /// - Returns: nil when a mount is wanted.
    init?(_ options: Options) throws(StartupError) {
        let chosen = options.maintenance
        if chosen.flush {
            try Self.checkFlush(options)
            return nil
        }
        switch (chosen.erase, chosen.resetMountedFlag) {
        case (false, false):
            if chosen.dryRun { throw StartupError("--dry-run is only for --erase; leave it out") }
            return nil
        case (true, true):
            throw StartupError("--erase and --reset-mounted-flag cannot both be done; give one")
        case (true, false): job = .erase(isDryRun: chosen.dryRun)
        case (false, true):
            if chosen.dryRun { throw StartupError("--dry-run is only for --erase; leave it out") }
            job = .resetMountedFlag
        }
        if options.test {
            throw StartupError(
                "\(job.option) is for buckets; leave out --test, or remove the files yourself")
        }
        guard let source = options.source, !source.isEmpty else {
            throw StartupError("the bucket is missing: s3backer \(job.option) BUCKET[/PREFIX]")
        }
        if let extra = options.mountPoint {
            throw StartupError("\(job.option) takes no mount point; leave out \(extra)")
        }
        let volume = try Validation(options).readVolume(source)
        guard case .bucket(let configuration) = volume.volume else {
            throw StartupError("\(job.option) is for buckets; name a bucket")
        }
        self.configuration = configuration
        prefix = volume.prefix
        isHashed = options.storage.blockHashPrefix
        sizes = try SizeRequest(options)
        isForced = options.force
        isQuiet = options.quiet
        isDebug = options.debug || options.trace
    }

    /// A flush is a mount without a mount point: nothing is left to do here.
    private static func checkFlush(_ options: Options) throws(StartupError) {
        let others = [
            ("--erase", options.maintenance.erase), ("--dry-run", options.maintenance.dryRun),
            ("--reset-mounted-flag", options.maintenance.resetMountedFlag),
            ("--readOnly", options.readOnly),
        ]
        if let other = others.first(where: \.1) {
            throw StartupError("--flush and \(other.0) cannot both be done; give one")
        }
        if let extra = options.mountPoint {
            throw StartupError("--flush takes no mount point; leave out \(extra)")
        }
        if options.blockCacheFile == nil {
            throw StartupError("--flush needs --blockCacheFile=FILE, whose blocks it uploads")
        }
    }

    /// The volume, for people.
    var description: String { configuration.endpoint.description + prefix }

    /// Blocks until it is done.
    ///
    /// - Returns: The process's exit status.
    func run() -> Int32 {
        let target = LogTarget(isMuted: isQuiet)
        let level: Logger.Level = isDebug ? .debug : .info
        let logger = Logger(label: Program.name) { _ in LineLogHandler(target, level: level) }
        let source = configuration.credentialsService?.source(
            userAgent: configuration.userAgent, logger: logger)
        let client = S3Client(configuration, source: source, logger: logger)
        let objects = BucketObjects(client: client, prefix: prefix, isHashed: isHashed)
        do throws(StartupError) {
            switch job {
            case .erase(let isDryRun):
                return try Erasure(self, client, objects).run(isDryRun: isDryRun)
            case .resetMountedFlag:
                try resetFlag(objects)
                return 0
            }
        } catch {
            printLine("\(Program.name): \(error.message)")
            return 1
        }
    }

    // MARK: Token

    /// Removes the mark, whoever made it, unless its process is seen to run.
    ///
    /// The token that a cache file remembers needs no change: it only tells one's own mark from
    /// others', and dirty blocks do not depend on it.
    private func resetFlag(_ objects: BucketObjects) throws(StartupError) {
        let before = try asked { () throws(S3Error) in try objects.readToken() }
        guard let before else {
            try asked { () throws(S3Error) in
                do throws(S3Error) { try objects.checkBucket() } catch {
                    // Whoever may not list can still have no mark.
                    if error.kind != .denied { throw error }
                }
            }
            say("\(description) is not marked as mounted")
            return
        }
        if verdict(before) == .running && !isForced {
            throw StartupError(
                "\(description) is mounted \(before.facts), and that process is running; "
                    + "unmount it, or use --force")
        }
        try asked { () throws(S3Error) in _ = try objects.deleteToken(before) }
        say("\(description) was marked as mounted \(before.facts); the mark is removed")
    }

    func verdict(_ token: MountToken) -> MountToken.Verdict {
        token.verdict(known: nil, owner: ThisMachine.owner, isRunning: ThisMachine.isRunning)
    }

    /// A line for the user, unless he wants none.
    func say(_ text: String) {
        if !isQuiet { printLine("\(Program.name): \(text)") }
    }

    func asked<Answer>(_ body: () throws(S3Error) -> Answer) throws(StartupError) -> Answer {
        do throws(S3Error) { return try body() } catch { throw StartupError(error.message) }
    }
}
