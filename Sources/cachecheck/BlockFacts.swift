import BlockStore
import CacheFile
import FileIO
import Journal

/// Everything known of one block.
struct BlockFacts {
    let block: UInt64
    /// nil: in no slot; then the journal may have some of it all the same.
    let slot: Int?
    let state: SlotState
    let granules: Int
    /// Granules whose newest bytes are in the slot.
    let valid: GranuleSet
    /// Granules whose newest bytes are in the journal.
    let overlaid: GranuleSet
    let patches: [Patch]
    let isZeroBase: Bool
    /// The directory page with its granules is damaged.
    let isLost: Bool
    /// Granules that only the store may have.
    let missing: GranuleSet
    let base: Base
    let lsn: LSN
    let dataLSN: LSN
    let epoch: UInt64
    let intents: [Intent]
    let trimmed: ZeroExtents.Extent?

    init(_ block: UInt64, _ subject: Subject) {
        let state = subject.state
        let slots = state.slots
        self.block = block
        slot = state.slot(of: block)
        granules = subject.geometry.granulesPerBlock
        let overlays = state.overlaid(block)
        overlaid = overlays
        patches = state.patched(block)
        intents = state.intents(of: block)
        trimmed = state.zeros.extent(at: block)
        guard let slot else {
            self.state = .free
            valid = GranuleSet()
            missing = GranuleSet.all(granules).subtracting(overlays)
            (isZeroBase, isLost) = (false, !overlays.isEmpty || !patches.isEmpty)
            (lsn, dataLSN, epoch, base) = (0, 0, 0, .unknown)
            return
        }
        self.state = slots.state(slot)
        valid = slots.valid(slot).subtracting(overlays)
        isZeroBase = slots.isZeroBase(slot)
        isLost = subject.recovered.lostPages.contains(subject.geometry.coldPlace(slot).page)
        missing = GranuleSet.all(granules).subtracting(state.local(slot: slot))
        base = slots.base(slot)
        lsn = slots.lsn(slot)
        dataLSN = slots.dataLSN(slot)
        epoch = slots.epoch(slot)
    }

    /// Written by the user and not, or not as it is, in the store.
    var isDirty: Bool { state == .dirty || state == .conflict || (slot == nil && isLost) }
    /// Dirty, and some of it only the store has.
    var isPartial: Bool { isDirty && !missing.isEmpty }
    /// Granules of nobody's writing, in a block that is here.
    var zeros: GranuleSet {
        guard isZeroBase else { return GranuleSet() }
        return GranuleSet.all(granules).subtracting(valid).subtracting(overlaid)
    }

    var stateName: String {
        if slot == nil { return isLost ? "stray" : trimmed != nil ? "trimmed" : "absent" }
        return state.name
    }

    var json: [(String, JSON)] {
        var members: [(String, JSON)] = [
            ("block", .number(block)), ("state", .string(stateName)),
            ("granules", .number(granules)), ("valid", valid.json), ("overlaid", overlaid.json),
            ("zeros", zeros.json), ("missing", missing.json),
            (
                "patched",
                .array(
                    patches.map {
                        .object([
                            ("granule", .number($0.granule)), ("lsn", .number($0.lsn)),
                            ("bytes", .array($0.ranges.map(\.json))),
                        ])
                    })
            ),
        ]
        if isLost { members.append(("lost", .bool(true))) }
        guard let slot else { return members }
        members += [
            ("slot", .number(slot)), ("partial", .bool(isPartial)), ("base", .string(base.text)),
            ("lsn", .number(lsn)), ("dataLSN", .number(dataLSN)), ("epoch", .number(epoch)),
        ]
        return members
    }
}

extension SlotState {
    var name: String {
        switch self {
        case .free: "free"
        case .clean: "clean"
        case .dirty: "dirty"
        case .conflict: "conflict"
        case .retained: "retained"
        case .bad: "bad"
        }
    }
}

extension Base {
    /// The entity tag, as far as it is kept.
    var text: String {
        switch kind {
        case .unknown: return "unknown"
        case .absent: return "absent"
        case .md5: return "\"\(Digest.hex(Array(bytes[..<16])))\""
        case .multipart:
            let parts = bytes[16..<20].reversed().reduce(0) { $0 << 8 | Int($1) }
            return "\"\(Digest.hex(Array(bytes[..<16])))-\(parts)\""
        case .text:
            return Text.safe(String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self))
        case .hashed: return "sha256 \(Digest.hex(bytes))..."
        }
    }
}

extension GranuleSet {
    /// Runs, first and last granule: `0-3, 7`.
    var text: String {
        runs.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound - 1)" }
            .joined(separator: ", ")
    }

    /// Runs as `[first, last]`.
    var json: JSON { .array(runs.map(\.json)) }

    /// Byte ranges in the block as `[first, last]`.
    func bytes(_ granuleSize: Int) -> JSON {
        .array(runs.map { ($0.lowerBound * granuleSize..<$0.upperBound * granuleSize).json })
    }
}

extension Range where Bound: BinaryInteger {
    /// `[first, last]`.
    var json: JSON {
        .array([.number(UInt64(lowerBound)), .number(UInt64(upperBound - 1))])
    }
}
