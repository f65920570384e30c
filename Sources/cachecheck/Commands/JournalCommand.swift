import ArgumentParser
import CacheFile
import FileIO
import Journal

struct JournalCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "journal",
        abstract: "Shows the journal: groups, records, and where the log ends.",
        discussion: """
            The newest records, or those from an LSN on. Behind the end of the log: groups that a \
            mount does not use, and why.
            """)

    @OptionGroup var common: CommonOptions

    @Option(name: .long, help: ArgumentHelp("Begin with this record.", valueName: "LSN"))
    var from: UInt64?

    @Option(name: .long, help: ArgumentHelp("Show so many records at most.", valueName: "N"))
    var count = 50

    mutating func validate() throws {
        if count < 0 { throw ValidationError("--count is at least 0.") }
    }

    func execute() -> Int32 { look("journal", common) { show($0) } }

    private func show(_ subject: Subject) -> Int32 {
        var stream = OutputStream()
        let scan = subject.recovered.scan
        let sb = subject.recovered.superblock
        if common.json {
            let members =
                subject.header("journal") + [
                    ("tail", point(sb.tail)), ("end", point(scan.end)),
                    ("checkpointLSN", .number(sb.checkpointLSN)),
                    ("durableLSN", .number(scan.durable)), ("verdict", .string(scan.verdict.code)),
                ]
            stream.line(JSON.object(members).text)
        } else if !common.quiet {
            for line in subject.warnings { stream.line(line) }
            stream.line(
                "tail at position \(sb.tail.position), LSN \(sb.tail.lsn); checkpoint at LSN "
                    + "\(sb.checkpointLSN); durable up to LSN \(scan.durable)")
        }
        let shown = range(scan)
        for group in scan.accepted
        where group.header.firstLSN < shown.upperBound && group.header.lastLSN >= shown.lowerBound {
            put(group, shown, subject.geometry, &stream)
        }
        if !common.json { stream.line(end(scan)) }
        if !common.quiet || common.json {
            for header in scan.later { put(header, why(header, subject), &stream) }
        }
        return stream.finish(subject.status)
    }

    /// LSNs of the records to be shown.
    private func range(_ scan: RingScan) -> Range<UInt64> {
        if common.quiet { return 0..<0 }
        let end = scan.end.lsn
        if let from { return min(from, end)..<min(end, from.addingClamped(UInt64(count))) }
        return (end > UInt64(count) ? end - UInt64(count) : 0)..<end
    }

    private func end(_ scan: RingScan) -> String {
        let place = "position \(scan.end.position), LSN \(scan.end.lsn)"
        switch scan.verdict {
        case .endOfLog: return "end of log at \(place)"
        case .deadGroups:
            return "end of log at \(place); behind it what an earlier recovery cut off"
        case .tornTail: return "end of log at \(place): torn there, never fsynced"
        case .hole:
            let next = scan.later.first.map { "; the next group is at position \($0.position)" }
            return "HOLE at \(place): LSN \(scan.durable) was durable\(next ?? "")"
        case .staleSuperblock: return "end of log at \(place); the superblock is too old"
        }
    }

    /// Why a mount does not use a group behind the end.
    private func why(_ header: GroupHeader, _ subject: Subject) -> String {
        let sb = subject.recovered.superblock
        if header.session > sb.session { return "of a later session than the superblock's" }
        if header.session < sb.session { return "stale, of session \(header.session)" }
        return header.firstLSN >= subject.recovered.scan.end.lsn ? "unreachable" : "stale"
    }

    // MARK: Groups and records

    private func put(
        _ group: ScannedGroup, _ shown: Range<UInt64>, _ geometry: Geometry,
        _ stream: inout OutputStream
    ) {
        put(group.header, nil, &stream)
        for (index, raw) in group.records.enumerated() {
            let lsn = group.lsn(of: index)
            guard shown.contains(lsn), let record = Record.decode(raw, geometry) else { continue }
            if common.json {
                stream.line(JSON.object([("lsn", .number(lsn))] + record.members).text)
            } else {
                stream.line("  \(lsn)  \(record.text)")
            }
        }
    }

    private func put(_ header: GroupHeader, _ unused: String?, _ stream: inout OutputStream) {
        let kind =
            header.flags.contains(.seal) ? "SEAL" : header.flags.contains(.pad) ? "PAD" : "group"
        if common.json {
            return stream.line(
                JSON.object([
                    (
                        "group",
                        .object([
                            ("kind", .string(kind)), ("position", .number(header.position)),
                            ("firstLSN", .number(header.firstLSN)),
                            ("lastLSN", .number(header.lastLSN)),
                            ("session", .number(header.session)),
                            ("durableLSN", .number(header.durableLSN)),
                            ("epoch", .number(header.epoch)),
                            ("dataBlocks", .number(header.dataBlocks)),
                            ("unused", unused.map { .string($0) } ?? .null),
                        ])
                    )
                ]).text)
        }
        let lsns =
            header.firstLSN == header.lastLSN
            ? "LSN \(header.firstLSN)" : "LSN \(header.firstLSN)-\(header.lastLSN)"
        stream.line(
            "\(kind) at position \(header.position): \(lsns), session \(header.session), epoch "
                + "\(header.epoch), durable \(header.durableLSN), "
                + "\(Text.count(header.dataBlocks, "data block"))"
                + (unused.map { " (\($0))" } ?? ""))
    }

    private func point(_ point: RingPoint) -> JSON {
        .object([("position", .number(point.position)), ("lsn", .number(point.lsn))])
    }
}

extension UInt64 {
    func addingClamped(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}

extension RingVerdict {
    /// Of the finding, or "end" where there is none.
    var code: String {
        switch self {
        case .endOfLog: "end"
        case .deadGroups: "JRN_OLD_SESSION"
        case .tornTail: "JRN_TORN_TAIL"
        case .hole: "JRN_HOLE"
        case .staleSuperblock: "SB_STALE"
        }
    }
}
