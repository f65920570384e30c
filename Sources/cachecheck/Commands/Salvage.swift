import ArgumentParser
import BlockStore
import CacheFile
import FileIO

struct Salvage: Command {
    static let configuration = CommandConfiguration(
        abstract: "Copies every readable dirty block to a directory.",
        discussion: """
            DIR is made, or is empty. It gets the layout of "s3backer --test" and can be mounted \
            at once, and manifest.json, which says of each block what it is. Of a block that is \
            here in part only, the rest is zeros. Damaged files, too, as far as they can be read.
            """)

    @OptionGroup var common: CommonOptions

    @Option(name: .long, help: ArgumentHelp("Where the blocks go.", valueName: "DIR"))
    var to: String

    func execute() -> Int32 {
        look("salvage", common) { subject in
            do throws(Failure) {
                if subject.opened.isBundle { throw .bundle(subject.path) }
                return try salvage(subject)
            } catch {
                return fail("salvage", common, .failed(error))
            }
        }
    }

    /// What came of it.
    private struct Counts {
        var blocks = 0
        var partial = 0
        var conflicts = 0
        /// Blocks with bytes that could not be delivered.
        var undelivered = 0
    }

    private func salvage(_ subject: Subject) throws(Failure) -> Int32 {
        let directory = try SalvageDirectory(to, blockSize: subject.geometry.blockSize)
        var counts = Counts()
        do throws(FileError) { try directory.manifest.append(head(subject)) } catch {
            throw Failure(writing: error)
        }
        let found = subject.state.blocks()
        let reader = BlockReader(subject.recovered, subject.opened.file)
        let buffer = AlignedBuffer(subject.geometry.blockSize)
        let progress = Progress("salvaging", common)
        for (number, block) in found.enumerated() {
            progress.show(number + 1, found.count)
            let facts = BlockFacts(block, subject)
            guard facts.isDirty else { continue }
            let reading = reader.read(block, slot: facts.slot, into: buffer.mutableBytes)
            complete(buffer, facts, reading, subject.geometry.granuleSize)
            try directory.put(block, buffer.bytes)
            let text = (counts.blocks > 0 ? ",\n" : "\n") + entry(facts, reading, subject)
            do throws(FileError) { try directory.manifest.append(text) } catch {
                throw Failure(writing: error)
            }
            counts.blocks += 1
            if facts.isPartial { counts.partial += 1 }
            if facts.state == .conflict { counts.conflicts += 1 }
            if !reading.damaged.isEmpty { counts.undelivered += 1 }
        }
        progress.clear()
        do throws(FileError) {
            try directory.manifest.append("\n]}\n")
            try directory.manifest.finish()
        } catch {
            throw Failure(writing: error)
        }
        return report(counts, subject)
    }

    /// What is not here is zeros, but for what patches say.
    private func complete(
        _ buffer: AlignedBuffer, _ facts: BlockFacts, _ reading: BlockReading, _ size: Int
    ) {
        reading.missing.union(reading.damaged).forEach { granule in
            buffer.mutableSlice(granule * size..<(granule + 1) * size)
                .initializeMemory(as: UInt8.self, repeating: 0)
        }
        for patch in facts.patches {
            patch.apply(
                over: buffer.mutableSlice(patch.granule * size..<(patch.granule + 1) * size))
        }
    }

    // MARK: Manifest

    private func head(_ subject: Subject) -> String {
        let sb = subject.recovered.superblock
        let members =
            subject.header("salvage") + [
                (
                    "volume",
                    .object([
                        ("blockSize", .number(Int(sb.blockSize))),
                        ("blocks", .number(sb.volumeBlocks)),
                        ("granuleSize", .number(Int(sb.granuleSize))),
                        ("volumeUUID", .string(Digest.hex(sb.volumeUUID))),
                        ("fileUUID", .string(Digest.hex(sb.fileUUID))),
                        ("binding", .string(Digest.hex(sb.binding))),
                    ])
                ),
                ("endLSN", .number(subject.recovered.scan.end.lsn)),
                ("trimmed", .array(subject.state.zeros.items.map(\.blocks.json))),
            ]
        return String(JSON.object(members).text.dropLast()) + ",\"blocks\":["
    }

    private func entry(_ facts: BlockFacts, _ reading: BlockReading, _ subject: Subject) -> String {
        let size = subject.geometry.granuleSize
        var members = facts.json
        members += [
            ("missingBytes", facts.missing.bytes(size)),
            ("badBytes", reading.bad.bytes(size)),
            ("unreadableBytes", reading.unreadable.bytes(size)),
            ("lostBytes", reading.lost.bytes(size)),
        ]
        return JSON.object(members).text
    }

    // MARK: Report

    private func report(_ counts: Counts, _ subject: Subject) -> Int32 {
        let isWhole = counts.undelivered == 0 && subject.recovered.refusals.isEmpty
        let status = subject.status | (isWhole ? 0 : ExitStatus.undelivered)
        let trimmed = subject.state.zeros.blockCount
        if common.json {
            let members =
                subject.header("salvage", status: status) + [
                    ("directory", .string(to)), ("blocks", .number(counts.blocks)),
                    ("partialBlocks", .number(counts.partial)),
                    ("conflictBlocks", .number(counts.conflicts)),
                    ("damagedBlocks", .number(counts.undelivered)),
                    ("trimmedBlocks", .number(trimmed)),
                ]
            return Output.finish(JSON.object(members).text + "\n", status)
        }
        var lines = common.quiet ? [] : subject.warnings
        if !common.quiet {
            let size = subject.geometry.blockSize
            let volume = subject.recovered.superblock.volumeBlocks * UInt64(size)
            lines.append(
                "mount it: s3backer --test --size=\(volume) --blockSize=\(size) "
                    + "\(Text.safe(to)) MOUNTPOINT")
        }
        var parts = ["\(Text.count(counts.blocks, "dirty block")) salvaged"]
        if counts.conflicts > 0 { parts.append("\(counts.conflicts) in conflict") }
        if counts.partial > 0 {
            parts.append("\(counts.partial) in part, the rest is zeros")
        }
        if trimmed > 0 { parts.append("\(Text.count(Int(trimmed), "trimmed block")) listed") }
        if counts.undelivered > 0 {
            parts.append("\(counts.undelivered) with damaged bytes, now zeros")
        }
        if !subject.recovered.refusals.isEmpty {
            parts.append("the file is damaged, there may have been more")
        }
        lines.append(parts.joined(separator: "; "))
        return Output.finish(lines.map { $0 + "\n" }.joined(), status)
    }
}
