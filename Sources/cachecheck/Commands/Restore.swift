import ArgumentParser
import CacheFile
import FileIO

struct Restore: Command {
    static let configuration = CommandConfiguration(
        abstract: "Makes a cache file of what \"dump\" wrote.",
        discussion: """
            The bytes of blocks come from the file that --data names, as far as they match their \
            checksums there. What has no bytes: clean blocks are fetched again, reads of dirty ones \
            give EIO. NEW must not exist; it has its name when it is complete. The next mount \
            compares everything with the store first.
            """)

    @Option(name: .long, help: ArgumentHelp("The cache file to make.", valueName: "NEW"))
    var into: String

    @Option(
        name: .long,
        help: ArgumentHelp("The cache file that the dump was made of.", valueName: "OLD"))
    var data: String?

    @OptionGroup var common: CommonOptions

    func execute() -> Int32 {
        do throws(Subject.Obstacle) {
            return report(try restore())
        } catch {
            return fail("restore", common, error)
        }
    }

    private func restore() throws(Subject.Obstacle) -> DumpReader.Outcome {
        if let odd = Failure.oddKind(common.file) { throw .failed(odd) }
        let source = try data.map { path throws(Subject.Obstacle) in try Subject(path) }
        if let source, source.opened.isBundle { throw .failed(.bundle(source.path)) }
        var lines: DumpLines
        do throws(FileError) { lines = try DumpLines(common.file) } catch {
            throw .failed(Failure(reading: error))
        }
        let progress = Progress("restoring", common)
        defer { progress.clear() }
        return try NewCacheFile.make(into) { target throws(CacheFileError) in
            do throws(DocumentError) {
                var reader = DumpReader(lines, source)
                return try reader.run(target) { progress.show($0, $1) }
            } catch {
                throw CacheFileError(.invalid, "\(common.file): \(error.message)")
            }
        }
    }

    private func report(_ outcome: DumpReader.Outcome) -> Int32 {
        let status = outcome.damaged == 0 ? ExitStatus.sound : ExitStatus.undelivered
        if common.json {
            let object = JSON.object([
                ("cachecheck", .number(JSON.version)), ("command", .string("restore")),
                ("file", .string(common.file)), ("status", .number(Int(status))),
                ("findings", .array([])), ("into", .string(into)),
                ("blocks", .number(outcome.blocks)), ("copiedBytes", .number(outcome.copiedBytes)),
                ("emptyBlocks", .number(outcome.empty)),
                ("damagedBlocks", .number(outcome.damaged)),
            ])
            return Output.finish(object.text + "\n", status)
        }
        var text =
            "\(Text.safe(into)): \(Text.count(outcome.blocks, "block")), "
            + "\(Text.count(outcome.copiedBytes, "byte")) copied"
        if outcome.empty > 0 {
            text += "; \(Text.count(outcome.empty, "clean block")) to be fetched again"
        }
        if outcome.damaged > 0 {
            text += "; \(Text.count(outcome.damaged, "dirty block")) not readable as a whole"
        }
        return Output.finish(text + "\n", status)
    }
}

/// A cache file that a command makes.
enum NewCacheFile {
    /// It has its name when `body` has returned, everything is durable and a mount would accept it;
    /// otherwise it is not there.
    static func make<Result>(
        _ path: String, _ body: (PosixFile) throws(CacheFileError) -> Result
    ) throws(Subject.Obstacle) -> Result {
        let file: PosixFile
        do throws(FileError) { file = try PosixFile.createUnlinked(for: path) } catch {
            throw .failed(Failure(writing: error))
        }
        let result: Result
        do throws(CacheFileError) {
            result = try body(file)
            _ = try Recovery.run(file)
        } catch {
            file.discard()
            if error.kind == .invalid {
                throw .failed(
                    Failure(
                        kind: "invalid", message: Text.safe(error.message),
                        remedy: "nothing was made"))
            }
            let message = error.message
            throw .failed(
                Failure(writing: FileError(error.kind == .noSpace ? .noSpace : .io, message)))
        }
        do throws(FileError) {
            try file.link(as: path)
            try PosixFile.flushDirectory(of: path)
        } catch {
            file.discard()
            throw .failed(Failure(writing: error))
        }
        return result
    }
}
