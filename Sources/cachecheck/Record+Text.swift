import CacheFile

extension Record {
    /// One line for people.
    var text: String {
        switch self {
        case .data(let data):
            return "DATA block \(data.block) in slot \(data.slot), granules "
                + GranuleSet(data.granules).text + (data.isMerge ? ", merged" : "")
        case .patch(let patch):
            let ranges = patch.ranges.map { "\($0.lowerBound)-\($0.upperBound - 1)" }
            return "PATCH block \(patch.block) in slot \(patch.slot), granule \(patch.granule), "
                + "bytes \(ranges.joined(separator: ", ")) \(Self.carried(patch.carriedLSN))"
        case .map(let map):
            let flags = [
                map.flags.contains(.move) ? "move" : "",
                map.flags.contains(.extend) ? "extend" : "",
                map.flags.contains(.fill) ? "fill" : "",
                map.flags.contains(.zeroBase) ? "zero base" : "",
                map.flags.contains(.keepBase) ? "keep base" : "base \(map.base.text)",
                map.oldSlot == Record.noSlot ? "" : "from slot \(map.oldSlot)",
            ].filter { !$0.isEmpty }
            return "MAP block \(map.block) to slot \(map.slot), granules \(map.granules.text), "
                + flags.joined(separator: ", ")
        case .clean(let clean):
            switch clean.kind {
            case .stored:
                return "CLEAN block \(clean.block) in slot \(clean.slot) as of LSN \(clean.asOf), "
                    + "base \(clean.base.text)"
            case .conflict: return "CLEAN block \(clean.block) in slot \(clean.slot): conflict"
            case .remote: return "CLEAN block \(clean.block) in slot \(clean.slot): given up"
            }
        case .evict(let evict):
            return "EVICT block \(evict.block) from slot \(evict.slot)"
                + (evict.granules.map { ", granules \($0.text)" } ?? "")
        case .intent(let intent):
            return "INTENT block \(intent.block) in slot \(intent.slot): "
                + "\(intent.isDelete ? "DELETE" : "PUT") as of LSN \(intent.asOf), replacing "
                + intent.base.text + (intent.isCarried ? " (carried)" : "")
        case .epoch(let epoch): return "EPOCH \(epoch) ends"
        case .zero(let zero):
            return "ZERO block \(zero.block) in slot \(zero.slot)"
                + (zero.granules.map { ", granules \(GranuleSet($0).text)" } ?? "")
        case .zeroRange(let zero):
            return "ZERO blocks \(zero.blocks.lowerBound)-\(zero.blocks.upperBound - 1) "
                + Self.carried(zero.carriedLSN)
        case .cleanRange(let clean):
            return "CLEAN blocks \(clean.blocks.lowerBound)-\(clean.blocks.upperBound - 1) as of "
                + "LSN \(clean.asOf)"
        }
    }

    private static func carried(_ lsn: UInt64) -> String {
        lsn == 0 ? "" : "(carried, of LSN \(lsn))"
    }

    /// The kind, what blocks, and the line for people.
    var members: [(String, JSON)] {
        let blocks: Range<UInt64>?
        switch self {
        case .data(let item): blocks = item.block..<item.block + 1
        case .patch(let item): blocks = item.block..<item.block + 1
        case .map(let item): blocks = item.block..<item.block + 1
        case .clean(let item): blocks = item.block..<item.block + 1
        case .evict(let item): blocks = item.block..<item.block + 1
        case .intent(let item): blocks = item.block..<item.block + 1
        case .zero(let item): blocks = item.block..<item.block + 1
        case .zeroRange(let item): blocks = item.blocks
        case .cleanRange(let item): blocks = item.blocks
        case .epoch: blocks = nil
        }
        return [
            ("record", .string(String(text.prefix { $0 != " " }))),
            ("blocks", blocks?.json ?? .null), ("text", .string(text)),
        ]
    }
}
