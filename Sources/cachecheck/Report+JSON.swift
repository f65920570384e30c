import CacheFile

/// A JSON value that is only ever written. Members keep their order.
enum JSON {
    case null
    case bool(Bool)
    case number(UInt64)
    case string(String)
    case array([JSON])
    case object([(String, JSON)])

    static func number(_ value: Int) -> JSON { .number(UInt64(max(0, value))) }

    var text: String {
        switch self {
        case .null: "null"
        case .bool(let value): value ? "true" : "false"
        case .number(let value): "\(value)"
        case .string(let value): Self.quoted(value)
        case .array(let items): "[" + items.map(\.text).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { Self.quoted($0) + ":" + $1.text }.joined(separator: ",") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\":
                result += "\\"
                result.unicodeScalars.append(scalar)
            default:
                if Text.isPlain(scalar) {
                    result.unicodeScalars.append(scalar)
                } else {
                    for unit in String(scalar).utf16 {
                        let hex = String(unit, radix: 16)
                        result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                    }
                }
            }
        }
        return result + "\""
    }
}

extension Report {
    /// Version of the object; goes up when a member changes its meaning or goes away.
    static let jsonVersion: UInt64 = 1

    var json: String {
        var members: [(String, JSON)] = [
            ("cachecheck", .number(Self.jsonVersion)), ("file", .string(path)),
            ("status", .number(Int(status))), ("sound", .bool(isSound)),
            ("verdict", .string(verdict)),
            (
                "findings",
                .array(
                    findings.map {
                        .object([
                            ("code", .string($0.code)), ("severity", .string($0.severity.rawValue)),
                            ("message", .string($0.message)),
                        ])
                    })
            ),
        ]
        switch outcome {
        case .failed(let failure):
            members.append(
                (
                    "error",
                    .object([
                        ("kind", .string(failure.kind)), ("message", .string(failure.message)),
                        ("remedy", .string(failure.remedy)),
                    ])
                ))
        case .refused(_, let superblock):
            if let superblock { members.append(("superblock", self.object(superblock))) }
        case .inspected(let inspection):
            members.append(("superblock", object(inspection.superblock)))
            members.append(("contents", contents(inspection)))
            if let data = inspection.data { members.append(("data", object(data))) }
        }
        return JSON.object(members).text
    }

    private func object(_ sb: Superblock) -> JSON {
        .object([
            ("formatMajor", .number(Int(sb.formatMajor))),
            ("formatMinor", .number(Int(sb.formatMinor))),
            ("fileUUID", .string(Text.hex(sb.fileUUID))),
            ("volumeUUID", .string(Text.hex(sb.volumeUUID))),
            ("binding", .string(Text.hex(sb.binding))),
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
