import ArgumentParser
import CacheFile

struct Show: Command {
    static let configuration = CommandConfiguration(
        abstract: "Shows what the file is, and what is in it; with --block, one block.")

    @OptionGroup var common: CommonOptions

    @Option(name: .long, help: ArgumentHelp("Everything known of one block.", valueName: "N"))
    var block: UInt64?

    func execute() -> Int32 {
        look("show", common) { subject in
            if let block {
                guard block < subject.geometry.volumeBlocks else {
                    Output.complain(
                        "the volume has \(subject.geometry.volumeBlocks) blocks, from 0: "
                            + "there is no block \(block)")
                    return ExitStatus.usage
                }
                return show(BlockFacts(block, subject), subject)
            }
            return show(subject)
        }
    }

    // MARK: The file

    private func show(_ subject: Subject) -> Int32 {
        let inspection = CacheFiles.inspection(of: subject.recovered)
        let report = Report(path: subject.path, outcome: .inspected(inspection))
        if common.json {
            var members = subject.header("show")
            members += report.members(inspection)
            return Output.finish(JSON.object(members).text + "\n", subject.status)
        }
        var lines = common.quiet ? [] : report.lines(inspection, verbose: true)
        if !subject.warnings.isEmpty {
            lines = subject.warnings + lines + ["as far as it can be read; a mount refuses it"]
        }
        if common.quiet { lines = [subject.status == 0 ? "sound" : lines.last ?? "damaged"] }
        return Output.finish(lines.map { $0 + "\n" }.joined(), subject.status)
    }

    // MARK: A block

    private func show(_ facts: BlockFacts, _ subject: Subject) -> Int32 {
        if common.json {
            var block = facts.json
            if let extent = facts.trimmed {
                block.append(("trimmed", extent.json))
            }
            block.append(("intents", .array(facts.intents.map(\.json))))
            let members = subject.header("show") + [("block", .object(block))]
            return Output.finish(JSON.object(members).text + "\n", subject.status)
        }
        let summary =
            "block \(facts.block): \(facts.stateName)" + (facts.isPartial ? ", partial" : "")
        let lines = common.quiet ? [] : subject.warnings + details(facts, subject)
        return Output.finish(
            (lines + [summary]).map { $0 + "\n" }.joined(), subject.status)
    }

    private func details(_ facts: BlockFacts, _ subject: Subject) -> [String] {
        var lines: [String] = []
        let line = Report.line
        if let slot = facts.slot {
            lines += [
                line("slot", "\(slot), at byte \(subject.geometry.slotOffset(slot))"),
                line("base", facts.base.text),
                line("LSN", "\(facts.lsn); of the user's last write \(facts.dataLSN)"),
                line("epoch", "\(facts.epoch)"),
            ]
        }
        let size = subject.geometry.granuleSize
        if facts.slot != nil || facts.isLost {
            lines.append(line("granules", "\(facts.granules) of \(size) bytes"))
            let sets = [
                ("in the slot", facts.valid), ("in the journal", facts.overlaid),
                ("zeros", facts.zeros), ("missing", facts.missing),
            ]
            for (name, set) in sets where !set.isEmpty { lines.append(line(name, set.text)) }
            if facts.isLost { lines.append(line("lost", "the directory page that tells more")) }
        }
        for patch in facts.patches {
            let ranges = patch.ranges.map { "\($0.lowerBound)-\($0.upperBound - 1)" }
            lines.append(
                line(
                    "patch",
                    "bytes \(ranges.joined(separator: ", ")) of granule \(patch.granule), "
                        + "LSN \(patch.lsn)"))
        }
        for intent in facts.intents {
            lines.append(
                line(
                    "intent",
                    "\(intent.record.isDelete ? "DELETE" : "PUT") of LSN \(intent.record.asOf), "
                        + "replacing \(intent.record.base.text), LSN \(intent.lsn)"))
        }
        if let extent = facts.trimmed {
            lines.append(
                line(
                    "trimmed",
                    "with blocks \(extent.blocks.lowerBound)-\(extent.blocks.upperBound - 1), "
                        + "LSN \(extent.lsn)"))
        }
        return lines
    }
}

extension Intent {
    var json: JSON {
        .object([
            ("kind", .string(record.isDelete ? "DELETE" : "PUT")), ("asOf", .number(record.asOf)),
            ("base", .string(record.base.text)), ("lsn", .number(lsn)),
        ])
    }
}

extension ZeroExtents.Extent {
    var json: JSON { .object([("blocks", blocks.json), ("lsn", .number(lsn))]) }
}
