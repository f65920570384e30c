import BlockStore
import CacheFile

extension Report {
    /// Findings, summary and, as the last line, the verdict.
    func text(quiet: Bool, verbose: Bool) -> String {
        var lines: [String] = []
        if !quiet {
            for finding in findings {
                lines.append(
                    "\(finding.severity.rawValue) \(finding.code): \(Text.safe(finding.message))")
            }
            switch outcome {
            case .inspected(let inspection):
                lines += self.lines(inspection, verbose: false)
                if let data = inspection.data {
                    lines.append(line("data read", Text.size(UInt64(data.checkedBytes))))
                }
                if verbose { lines += details(inspection.superblock) + places(inspection.geometry) }
            case .fast(let look):
                lines += summary(look.superblock)
                lines.append(
                    journal(
                        look.scan.accepted.count, used: look.ringBytesUsed,
                        of: look.geometry.ringLength))
                if verbose { lines += details(look.superblock) + places(look.geometry) }
            case .refused(_, let superblock?):
                lines += summary(superblock)
                if verbose { lines += details(superblock) }
            case .refused(_, nil), .failed:
                break
            }
        }
        lines.append(verdict)
        return lines.map { $0 + "\n" }.joined()
    }

    static func line(_ name: String, _ value: String) -> String {
        name + ":" + String(repeating: " ", count: max(1, 14 - name.utf8.count)) + value
    }

    func lines(_ inspection: Inspection, verbose: Bool) -> [String] {
        var lines = summary(inspection.superblock) + contents(inspection)
        if verbose { lines += details(inspection.superblock) + places(inspection.geometry) }
        return lines
    }

    private func line(_ name: String, _ value: String) -> String { Self.line(name, value) }

    private func summary(_ sb: Superblock) -> [String] {
        let (bytes, overflow) = sb.volumeBlocks.multipliedReportingOverflow(
            by: UInt64(sb.blockSize))
        return [
            line("volume", overflow ? "\(sb.volumeBlocks) blocks" : Text.size(bytes)),
            line("block", Text.size(UInt64(sb.blockSize))),
            line("created", "\(Text.time(sb.createdAt)), \(named(sb.creator))"),
            line(
                "last mounted",
                sb.session == 0
                    ? "never"
                    : "\(Text.time(sb.mountedAt)), \(named(sb.mounter)) on \(named(sb.host))"),
            line("session", "\(sb.session), \(Self.stateName(sb.state))"),
            line(
                "features",
                "compat \(features(sb.featCompat)), ro-compat \(features(sb.featRoCompat)), "
                    + "incompat \(features(sb.featIncompat))"),
        ]
    }

    private func contents(_ inspection: Inspection) -> [String] {
        let slots = inspection.geometry.slotCount
        let free = slots - inspection.usedSlots
        let conflict =
            inspection.conflictBlocks > 0 ? "\(inspection.conflictBlocks) in conflict, " : ""
        let capacity = UInt64(slots) * UInt64(inspection.geometry.blockSize)
        var lines = [
            line(
                "slots",
                "\(slots), \(Text.size(capacity)): \(inspection.cleanBlocks) clean, "
                    + "\(inspection.dirtyBlocks) dirty, \(conflict)\(free) free"),
            journal(
                inspection.replayGroups, used: inspection.ringBytesUsed,
                of: inspection.geometry.ringLength),
        ]
        if inspection.zeroBlocks > 0 {
            lines.append(
                line(
                    "trimmed",
                    "\(Text.count(Int(inspection.zeroBlocks), "block")) to be deleted in the store, "
                        + "in \(Text.count(inspection.zeroExtents, "range"))"))
        }
        return lines
    }

    private func journal(_ groups: Int, used: Int, of ring: Int) -> String {
        line(
            "journal",
            "\(Text.count(groups, "group")), \(Text.size(UInt64(used))) used of "
                + Text.size(UInt64(ring)))
    }

    private func details(_ sb: Superblock) -> [String] {
        [
            line("format", "\(sb.formatMajor).\(sb.formatMinor)"),
            line("file UUID", Text.uuid(sb.fileUUID)),
            line("volume UUID", Text.uuid(sb.volumeUUID)),
            line("binding", Digest.hex(sb.binding)),
            line("granule", Text.size(UInt64(sb.granuleSize))),
            line("generation", "\(sb.generation)"),
            line("checkpoint", "number \(sb.checkpointSeq), LSN \(sb.checkpointLSN)"),
            line("tail", "position \(sb.tail.position), LSN \(sb.tail.lsn)"),
            line("recovered", "position \(sb.recoveredPosition), LSN \(sb.recoveredLSN)"),
            line("epoch", "\(sb.openEpoch)"),
            line("boot", Text.uuid(sb.bootID)),
        ]
    }

    private func places(_ geometry: Geometry) -> [String] {
        var lines = [
            line("ring at", "\(geometry.ringOffset), \(geometry.ringLength) bytes"),
            line("roots at", geometry.rootOffsets.map { "\($0)" }.joined(separator: ", ")),
        ]
        for (index, zone) in geometry.zones.enumerated() {
            lines.append(
                line(
                    "group \(index)",
                    "\(Text.count(zone.slots, "slot")) at \(zone.slotsOffset), hot pages at "
                        + zone.hotOffsets.map { "\($0)" }.joined(separator: " and ") + ", cold at "
                        + zone.coldOffsets.map { "\($0)" }.joined(separator: " and ")))
        }
        return lines
    }

    private func named(_ text: String) -> String { text.isEmpty ? "unknown" : Text.safe(text) }

    private func features(_ bits: UInt64) -> String {
        bits == 0 ? "none" : "0x" + String(bits, radix: 16)
    }

    static func stateName(_ state: UInt32) -> String {
        switch Superblock.State(rawValue: state) {
        case .clean: "ended cleanly"
        case .mounted: "not ended cleanly"
        case .needsCheck: "needs a check"
        case .poisoned: "ended by a write error"
        case nil: "state \(state)"
        }
    }
}
