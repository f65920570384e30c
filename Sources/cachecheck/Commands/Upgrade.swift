import ArgumentParser
import CacheFile
import FileIO

struct Upgrade: Command {
    static let configuration = CommandConfiguration(
        abstract: "Copies the file into the newest format.",
        discussion: """
            FILE stays as it is, NEW must not exist and has its name when it is complete. A file that \
            has the newest format is copied with --force only, into the layout that a new file of its \
            size would have: a ring of the usual size, for a file that has grown. Use one of the \
            two from then on: what is written to one the other does not know.
            """)

    @Option(name: .long, help: ArgumentHelp("The cache file to make.", valueName: "NEW"))
    var into: String

    @Flag(help: "Copy although the format is the newest.")
    var force = false

    @OptionGroup var common: CommonOptions

    func execute() -> Int32 {
        do throws(Subject.Obstacle) {
            let subject = try Subject(mending: common.file)
            if !force { return report(subject, nil, nil) }
            let (outcome, geometry) = try copy(subject)
            return report(subject, outcome, geometry)
        } catch {
            return fail("upgrade", common, error)
        }
    }

    private func copy(
        _ subject: Subject
    ) throws(Subject.Obstacle) -> (FileCopy.Outcome, Geometry) {
        let old = subject.geometry
        let request = LayoutRequest(
            blockSize: old.blockSize, volumeBlocks: old.volumeBlocks, slots: old.slotCount)
        let progress = Progress("copying", common)
        defer { progress.clear() }
        return try NewCacheFile.make(into) { target throws(CacheFileError) in
            let geometry = try request.layOut()
            let outcome = try FileCopy.run(
                subject.recovered, subject.opened.file, to: target, geometry,
                fileUUID: Creation.newUUID()
            ) { progress.show($0, $1) }
            return (outcome, geometry)
        }
    }

    private func report(
        _ subject: Subject, _ outcome: FileCopy.Outcome?, _ geometry: Geometry?
    ) -> Int32 {
        let isWhole = outcome?.damaged ?? 0 == 0
        let status = isWhole ? ExitStatus.sound : ExitStatus.problems
        let version = "\(Superblock.formatMajor).\(Superblock.formatMinor)"
        if common.json {
            var members =
                subject.header("upgrade", status: status) + [
                    ("format", .string(version)), ("made", .bool(outcome != nil)),
                ]
            if let outcome, let geometry {
                members += [
                    ("into", .string(into)), ("blocks", .number(outcome.blocks)),
                    ("droppedBlocks", .number(outcome.dropped)),
                    ("damagedBlocks", .number(outcome.damaged)),
                    ("ringBytesBefore", .number(subject.geometry.ringLength)),
                    ("ringBytes", .number(geometry.ringLength)),
                ]
            }
            return Output.finish(JSON.object(members).text + "\n", status)
        }
        guard let outcome, let geometry else {
            return Output.finish(
                "\(Text.safe(common.file)) has the newest format, \(version); nothing was made\n",
                status)
        }
        var text =
            "\(Text.safe(into)): \(Text.count(outcome.blocks, "block")) copied, "
            + "ring of \(Text.size(UInt64(geometry.ringLength)))"
        if outcome.dropped > 0 {
            text += "; \(Text.count(outcome.dropped, "damaged clean block")) left out"
        }
        if outcome.damaged > 0 {
            text += "; \(Text.count(outcome.damaged, "dirty block")) damaged here and there"
        }
        return Output.finish(text + "\n", status)
    }
}
