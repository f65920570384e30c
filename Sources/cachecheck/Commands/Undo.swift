import ArgumentParser
import CacheFile
import FileIO

struct UndoCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "undo", abstract: "Puts back the bytes that a repair has overwritten.",
        discussion: """
            The file must not have been used since the repair. Cut short, it is run again. The undo \
            file stays.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var writing: WritingOptions

    func execute() -> Int32 {
        do throws(Failure) { return try undo() } catch {
            return fail("undo", common, .failed(error))
        }
    }

    private func undo() throws(Failure) -> Int32 {
        let target = try WritableFile(common.file)
        do throws(CacheFileError) {
            _ = try SuperblockSet.read(target.file, Refusals(goesOn: true))
        } catch {
            throw Failure(error, common.file)
                ?? Failure(
                    kind: "used", message: "\(Text.safe(common.file)): \(Text.safe(error.message))",
                    remedy: "nothing was changed")
        }
        let undoPath = writing.undoPath(common.file)
        if let odd = Failure.oddKind(undoPath) { throw odd }
        let name = Text.safe(undoPath)
        let source: PosixFile
        do throws(FileError) { source = try PosixFile.open(undoPath, readOnly: true) } catch {
            throw Failure(reading: error)
        }
        do throws(CacheFileError) {
            _ = try UndoFile.read(source)
        } catch {
            throw Failure(
                kind: "undoFile", message: "\(name): \(Text.safe(error.message))",
                remedy: "nothing was changed; name the right one with --undo-file")
        }
        let what = "\(Text.safe(common.file)) from \(name)"
        if writing.dryRun { return finish("would put back \(what); nothing was changed") }
        guard WritableFile.isConfirmed("put back \(what)", isYes: writing.yes) else {
            return ExitStatus.operational
        }
        Cancellation.beginWriting()
        defer { Cancellation.endWriting() }
        do throws(CacheFileError) {
            try Repairer.undo(source, target.file)
        } catch {
            let remedy =
                error.kind == .needsCheck
                ? "nothing was changed" : "mounts refuse the file; run cachecheck undo again"
            throw Failure(
                kind: error.kind == .needsCheck ? "used" : "io",
                message: "\(Text.safe(common.file)): \(Text.safe(error.message))", remedy: remedy)
        }
        return finish("put back \(what)")
    }

    private func finish(_ verdict: String) -> Int32 {
        guard common.json else { return Output.finish(verdict + "\n", ExitStatus.sound) }
        let members: [(String, JSON)] = [
            ("cachecheck", .number(JSON.version)), ("command", .string("undo")),
            ("file", .string(common.file)), ("status", .number(0)),
            ("undoFile", .string(writing.undoPath(common.file))), ("verdict", .string(verdict)),
        ]
        return Output.finish(JSON.object(members).text + "\n", ExitStatus.sound)
    }
}
