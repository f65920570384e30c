import BlockStore
import CacheFile

extension Report {
    var json: String {
        var members: [(String, JSON)] = [
            ("cachecheck", .number(JSON.version)), ("file", .string(path)),
            ("status", .number(Int(status))), ("sound", .bool(isSound)),
            ("verdict", .string(verdict)),
            ("findings", .array(findings.map(\.json))),
        ]
        switch outcome {
        case .failed(let failure):
            members.append(("error", failure.json))
        case .fast(let look):
            members.append(("superblock", object(look.superblock)))
            members.append(("journal", journal(look)))
        case .refused(_, let superblock):
            if let superblock { members.append(("superblock", self.object(superblock))) }
        case .inspected(let inspection):
            members += self.members(inspection)
            if let data = inspection.data { members.append(("data", object(data))) }
        }
        return JSON.object(members).text
    }

    private func journal(_ look: FastLook) -> JSON {
        .object([
            ("journalGroups", .number(look.scan.accepted.count)),
            ("journalBytesUsed", .number(look.ringBytesUsed)),
            ("endLSN", .number(look.scan.end.lsn)),
        ])
    }

    private func object(_ sb: Superblock) -> JSON {
        .object([
            ("formatMajor", .number(Int(sb.formatMajor))),
            ("formatMinor", .number(Int(sb.formatMinor))),
            ("fileUUID", .string(Digest.hex(sb.fileUUID))),
            ("volumeUUID", .string(Digest.hex(sb.volumeUUID))),
            ("binding", .string(Digest.hex(sb.binding))),
            ("blockSize", .number(Int(sb.blockSize))),
            ("granuleSize", .number(Int(sb.granuleSize))),
            ("volumeBlocks", .number(sb.volumeBlocks)), ("slots", .number(sb.slotCount)),
            ("ringLength", .number(sb.ringLength)), ("state", .number(Int(sb.state))),
            ("session", .number(sb.session)), ("generation", .number(sb.generation)),
            ("checkpointLSN", .number(sb.checkpointLSN)),
            ("recoveredLSN", .number(sb.recoveredLSN)),
            ("featCompat", .number(sb.featCompat)), ("featRoCompat", .number(sb.featRoCompat)),
            ("featIncompat", .number(sb.featIncompat)), ("creator", .string(sb.creator)),
            ("createdAt", .number(sb.createdAt)), ("mounter", .string(sb.mounter)),
            ("host", .string(sb.host)), ("mountedAt", .number(sb.mountedAt)),
        ])
    }

    func members(_ inspection: Inspection) -> [(String, JSON)] {
        [
            ("superblock", object(inspection.superblock)), ("contents", contents(inspection)),
        ]
    }

    private func object(_ data: DataReport) -> JSON {
        .object([
            ("checkedBytes", .number(data.checkedBytes)),
            ("damagedDirtyBlocks", .number(data.damagedDirtyBlocks)),
            ("damagedCleanBlocks", .number(data.damagedCleanBlocks)),
        ])
    }

    private func contents(_ inspection: Inspection) -> JSON {
        let slots = inspection.geometry.slotCount
        return .object([
            ("cleanBlocks", .number(inspection.cleanBlocks)),
            ("dirtyBlocks", .number(inspection.dirtyBlocks)),
            ("conflictBlocks", .number(inspection.conflictBlocks)),
            ("freeSlots", .number(slots - inspection.usedSlots)),
            ("dirtyBytes", .number(inspection.dirtyBytes)),
            ("zeroBlocks", .number(inspection.zeroBlocks)),
            ("zeroExtents", .number(inspection.zeroExtents)),
            ("needsReplay", .bool(inspection.needsReplay)),
            ("journalGroups", .number(inspection.replayGroups)),
            ("journalBytesUsed", .number(inspection.ringBytesUsed)),
            ("endLSN", .number(inspection.endLSN)),
        ])
    }
}
