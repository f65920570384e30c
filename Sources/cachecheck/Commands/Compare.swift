import ArgumentParser
import BlockStore
import CacheFile
import FileIO
import Logging
import VolumeOptions

struct Compare: Command {
    static let configuration = CommandConfiguration(
        abstract: "Lists blocks that somebody else has changed in the bucket.",
        discussion: """
            Clean blocks that differ from what the bucket has, which a mount will fetch anew, and \
            dirty ones that would come into conflict. Takes the options that a mount takes, or with \
            --test a directory in place of the bucket. Writes nothing, neither to the file nor to the \
            bucket. Status 4 if any block differs.
            """)

    @OptionGroup var common: CommonOptions

    @Argument(
        help: ArgumentHelp(
            "The bucket, or with --test the directory, with the blocks.",
            valueName: "BUCKET[/PREFIX]"))
    var source: String

    @Flag(help: "Blocks are files in a directory.")
    var test = false

    @Option(help: ArgumentHelp("Begins the name of every block.", valueName: "text"))
    var prefix = ""

    @OptionGroup(title: "Access Options") var access: AccessOptions
    @OptionGroup(title: "S3 Options") var s3: S3Options
    @OptionGroup(title: "Compression and Encryption") var codec: CodecOptions
    @OptionGroup(title: "Storage Options") var storage: StorageOptions

    /// The parser takes `--name=` for a forgotten value, and so `--encrypt` and `--compress`, which a
    /// mount takes without.
    static func spelled(_ argument: String) -> [String] {
        if ["--compress", "--encrypt"].contains(argument) { return [argument, ""] }
        guard argument.hasPrefix("--"), argument.hasSuffix("=") else { return [argument] }
        return [String(argument.dropLast()), ""]
    }

    func execute() -> Int32 {
        look("compare", common) { subject in
            do throws(StartupError) {
                let outcome = try compare(subject)
                return report(outcome, subject)
            } catch {
                let failure = Failure(
                    kind: "store", message: Text.safe(error.message), remedy: "nothing was compared"
                )
                return fail("compare", common, .failed(failure))
            }
        }
    }

    private func compare(_ subject: Subject) throws(StartupError) -> Comparison.Outcome {
        let address = try VolumeAddress(
            source, isTest: test, prefix: prefix, access: access, s3: s3, storage: storage)
        var validation = CodecValidation(codec, isReadOnly: true)
        if test { try validation.refuseAll() }
        let plan = try validation.plan(ask: Password.ask)
        let sb = subject.recovered.superblock
        guard address.name.binding(blockSize: Int(sb.blockSize)) == sb.binding else {
            throw StartupError(
                "BIND_MISMATCH: \(subject.path) was made for another volume than "
                    + address.description)
        }
        let known = KnownVolume(
            uuid: sb.volumeUUID, blockSize: Int(sb.blockSize), blockCount: sb.volumeBlocks)
        let opened = try address.openReadOnly(
            known, plan, logger: Logger(label: "cachecheck") { _ in SwiftLogNoOpLogHandler() })
        let mayHaveChanged =
            !test && (opened.mountToken == nil || opened.mountToken != sb.mountToken)
        let progress = Locked(Progress("comparing", common))
        do throws(StoreError) {
            let outcome = try Comparison(subject, opened.store, mayHaveChanged: mayHaveChanged)
                .run { done, all in progress.withLock { $0.show(done, all) } }
            progress.withLock { $0.clear() }
            return outcome
        } catch {
            throw StartupError(error.message)
        }
    }

    // MARK: Report

    private func report(_ outcome: Comparison.Outcome, _ subject: Subject) -> Int32 {
        let differing = outcome.differences
        let clean = differing.count { $0.state == .clean }
        let status = subject.status | (differing.isEmpty ? 0 : ExitStatus.problems)
        var stream = OutputStream()
        if common.json {
            let members =
                subject.header("compare", status: status) + [
                    ("comparedBlocks", .number(outcome.compared)),
                    ("readBlocks", .number(outcome.read)),
                    ("rewrittenBlocks", .number(outcome.rewritten)),
                    ("differingCleanBlocks", .number(clean)),
                    ("differingDirtyBlocks", .number(differing.count - clean)),
                ]
            stream.line(JSON.object(members).text)
            for item in differing { stream.line(item.json.text) }
            return stream.finish(status)
        }
        if !common.quiet {
            for warning in subject.warnings { stream.line(warning) }
            for item in differing { stream.line(item.text(isVerbose: common.verbose)) }
        }
        stream.line(
            "\(Text.count(outcome.compared, "block")) compared; "
                + "\(Text.count(clean, "clean block")) and "
                + "\(Text.count(differing.count - clean, "dirty block")) differ")
        return stream.finish(status)
    }
}

extension Comparison.Difference {
    fileprivate var json: JSON {
        .object([
            ("block", .number(block)), ("state", .string(state.name)),
            ("difference", .string(kind.rawValue)), ("base", .string(base.text)),
            ("store", .string(Base(version).text)),
        ])
    }

    fileprivate func text(isVerbose: Bool) -> String {
        let what =
            switch kind {
            case .changed: "changed in the store"
            case .deleted: "deleted in the store"
            case .new: "new in the store"
            case .unknown: "in the store, perhaps by somebody else"
            case .unreadable: "unreadable in the store"
            }
        let versions = isVerbose ? " (\(base.text) here, \(Base(version).text) there)" : ""
        return "\(block): \(state.name), \(what)\(versions)"
    }
}
