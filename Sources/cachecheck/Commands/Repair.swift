import ArgumentParser
import CacheFile
import FileIO
import VolumeOptions

/// How to be asked, and the name of the undo file, for the commands that write over what is there.
struct WritingOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Where the overwritten bytes are (default: FILE.undo).", valueName: "NAME"))
    var undoFile: String?

    @Flag(name: [.customShort("y"), .long], help: "Do not ask.")
    var yes = false

    @Flag(name: [.customShort("n"), .long], help: "Say what would be done, and do nothing.")
    var dryRun = false

    func undoPath(_ path: String) -> String { undoFile ?? path + ".undo" }
}

struct Repair: Command {
    static let configuration = CommandConfiguration(
        abstract: "Makes a damaged file usable again.",
        discussion: """
            Says first what it is going to do, and asks. Nothing that can still be read and verified \
            is given up; what the damage has taken is said. Blocks that may be older than they seem \
            become conflicts: they are kept, and the mount does not upload them before \
            --resolveConflicts decides. What is overwritten is in an undo file, with which "undo" \
            brings back the file as it was. Cut short, the file is refused by mounts until then. \
            Where no superblock is left, --all wants to know the volume: --volume, --size and \
            --blockSize, as the mount has them.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var writing: WritingOptions
    @OptionGroup(title: "The volume, where no superblock is left") var lost: LostVolumeOptions

    @Flag(name: .long, help: "Decide nothing that cannot be known (default).")
    var safe = false

    @Flag(
        name: .long,
        help:
            "Take what is most likely: several holes in the journal, a broken chain of superblocks."
    )
    var all = false

    func validate() throws {
        if safe && all { throw ValidationError("--safe and --all exclude each other.") }
    }

    func execute() -> Int32 {
        do throws(Failure) { return try repair() } catch {
            return fail("repair", common, .failed(error))
        }
    }

    private func repair() throws(Failure) -> Int32 {
        let volume: VolumeIdentity?
        do throws(StartupError) { volume = try lost.identity() } catch {
            throw Failure(
                kind: "usage", message: Text.safe(error.message), remedy: "nothing was changed")
        }
        let file: any FileIO
        if writing.dryRun {
            let opened = try OpenFile(common.file)
            if opened.isBundle { throw .bundle(common.file) }
            file = opened.file
        } else {
            file = try WritableFile(common.file).file
        }
        let plan: RepairPlan?
        do throws(CacheFileError) {
            // What a kill left in the page cache is part of what is repaired.
            if !writing.dryRun { try Self.flush(file) }
            plan = try RepairPlan.make(file, all ? .all : .safe, volume: volume)
        } catch {
            if let failure = Failure(error, common.file) { throw failure }
            let finding = error.finding
            return finish(
                nil, [finding], ExitStatus.problems,
                "not repaired: \(finding.code) (\(Text.safe(finding.message))); nothing was changed"
            )
        }
        guard let plan else { return finish(nil, [], ExitStatus.sound, "nothing to repair") }
        if !common.json, !common.quiet { show(plan) }
        if writing.dryRun {
            let count = Text.count(plan.actions.count, "repair")
            return finish(
                plan, plan.findings, ExitStatus.problems,
                "\(count) to be made; nothing was changed")
        }
        guard
            WritableFile.isConfirmed("repair \(Text.safe(common.file))", isYes: writing.yes)
        else { return ExitStatus.operational }
        return try carryOut(plan, file)
    }

    private static func flush(_ file: any FileIO) throws(CacheFileError) {
        do throws(FileError) { try file.flush() } catch {
            throw CacheFileError(.io, error.message)
        }
    }

    private func carryOut(_ plan: RepairPlan, _ file: any FileIO) throws(Failure) -> Int32 {
        let undoPath = writing.undoPath(common.file)
        try save(plan, file, undoPath)
        Cancellation.beginWriting()
        defer { Cancellation.endWriting() }
        let progress = Progress("repairing", common)
        let name = Text.safe(undoPath)
        do throws(FileError) {
            try Repairer.apply(plan, to: file) { progress.show($0, plan.copies.count) }
        } catch {
            throw Failure(
                kind: "io", message: "the repair was cut short: \(Text.safe(error.message))",
                remedy: "mounts refuse the file until cachecheck undo has read \(name)")
        }
        progress.clear()
        let inspection: Inspection
        do throws(CacheFileError) { inspection = try CacheFiles.inspect(file) } catch {
            return finish(
                plan, [error.finding], ExitStatus.problems,
                "still damaged: \(error.finding.code) (\(Text.safe(error.message))); "
                    + "cachecheck undo brings back what was there, from \(name)")
        }
        var status = ExitStatus.corrected
        if plan.loss == .lost { status |= ExitStatus.problems }
        if plan.conflictBlocks > 0 { status |= ExitStatus.undecided }
        let kept = inspection.dirtyBlocks + inspection.conflictBlocks
        var parts = ["repaired", Text.count(kept, "dirty block")]
        if plan.conflictBlocks > 0 { parts.append("\(plan.conflictBlocks) in conflict") }
        if !plan.lostBlocks.isEmpty {
            parts.append("\(plan.lostBlocks.count) with bytes that are lost")
        }
        parts.append("undo file \(name)")
        return finish(plan, inspection.findings, status, parts.joined(separator: "; "))
    }

    /// Has the undo file complete and durable before anything is written.
    private func save(
        _ plan: RepairPlan, _ file: any FileIO, _ undoPath: String
    ) throws(Failure) {
        do throws(FileError) {
            let undo = try PosixFile.createUnlinked(for: undoPath)
            do throws(FileError) {
                let written = try UndoFile.write(plan, of: file, to: undo)
                try undo.flushAll()
                try written.seal(undo)
                try undo.flushAll()
                try undo.link(as: undoPath)
            } catch {
                undo.discard()
                throw error
            }
            try PosixFile.flushDirectory(of: undoPath)
        } catch {
            throw Failure(writing: error)
        }
    }

    // MARK: Output

    private func show(_ plan: RepairPlan) {
        var stream = OutputStream()
        for action in plan.actions {
            let loss = action.loss == .none ? "" : " [\(action.loss.rawValue)]"
            stream.line("\(action.code)\(loss): \(Text.safe(action.text))")
        }
        if !plan.lostBlocks.isEmpty {
            let shown = plan.lostBlocks.prefix(20).map(String.init).joined(separator: " ")
            let more = plan.lostBlocks.count > 20 ? " ..." : ""
            stream.line("blocks with bytes that are lost: \(shown)\(more)")
        }
        stream.line(
            "writes \(Text.size(UInt64(plan.undoBytes))), what was there goes to "
                + Text.safe(writing.undoPath(common.file)))
        stream.flush()
    }

    private func finish(
        _ plan: RepairPlan?, _ findings: [Finding], _ status: Int32, _ verdict: String
    ) -> Int32 {
        guard common.json else { return Output.finish(verdict + "\n", status) }
        var members: [(String, JSON)] = [
            ("cachecheck", .number(JSON.version)), ("command", .string("repair")),
            ("file", .string(common.file)), ("status", .number(Int(status))),
            ("findings", .array(findings.map(\.json))), ("verdict", .string(verdict)),
        ]
        if let plan {
            members += [
                ("actions", .array(plan.actions.map(\.json))),
                ("undoFile", .string(writing.undoPath(common.file))),
                ("writtenBytes", .number(plan.undoBytes)),
                ("conflictBlocks", .number(plan.conflictBlocks)),
                ("lostBlocks", .array(plan.lostBlocks.map { .number($0) })),
            ]
        }
        return Output.finish(JSON.object(members).text + "\n", status)
    }
}

extension RepairAction {
    fileprivate var json: JSON {
        .object([
            ("code", .string(code)), ("loss", .string(loss.rawValue)), ("action", .string(text)),
        ])
    }
}
