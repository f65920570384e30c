// Makes a repair of what recovery has left of a damaged file: that state, as a checkpoint in places
// that nothing uses, and where the log is damaged too, a new log far ahead of the old one.

import FileIO
import Journal

struct RepairBuilder {
    private let recovered: RecoveredFile
    private let file: any FileIO
    private let state: CacheState
    private let geometry: Geometry
    private var actions: [RepairAction] = []
    private var copies: [PlacedCopy] = []
    private var writes: [PlacedWrite] = []
    private var lost: Set<UInt64> = []
    /// Granules of slots that nobody can tell: reading them has to fail.
    private var unknown: [Int: GranuleSet] = [:]

    init(_ recovered: RecoveredFile, _ file: any FileIO) {
        self.recovered = recovered
        self.file = file
        state = recovered.state
        geometry = recovered.geometry
        unknown = recovered.rebuilt.holes?.unknown ?? [:]
    }

    /// Whether the log stays as it is.
    private var keepsLog: Bool { recovered.refusals.isEmpty }

    mutating func build() throws(CacheFileError) -> RepairPlan {
        for finding in recovered.findings where finding.severity == .warning {
            note(finding.code, .none, "\(finding.message): written anew")
        }
        for finding in recovered.refusals { explain(finding) }
        try mendPages()
        adoptStrays()
        if recovered.rebuilt.isSuspect { suspect() }
        var interim = recovered.superblock.successor()
        interim.state = Superblock.State.needsCheck.rawValue
        let log = keepsLog ? keptLog() : try newLog(session: interim.session + 1)
        for page in recovered.lostPages.union(recovered.matedPages) where geometry.isUsed(page) {
            state.slots.renew(page)
        }
        let checkpointer = Checkpointer(
            geometry: geometry, seeds: recovered.seeds, superblock: interim, root: recovered.root)
        let plan = checkpointer.begin(
            state, lsn: log.lsn, tail: log.tail, epoch: recovered.lastEpoch + 1)
        writes += plan.writes
        var after = checkpointer.superblock(for: plan, cleanEnd: log.end)
        after.session += 1
        // Then others count as having mounted since, and each dirty block is compared.
        if recovered.rebuilt.isSuspect { after.mountToken = 0 }
        after = withZones(after)
        let size = try io { () throws(FileError) in try file.size() }
        return RepairPlan(
            before: recovered.superblock, interim: interim, after: after, geometry: geometry,
            sizeBefore: size, copies: copies, writes: writes,
            findings: recovered.refusals + recovered.findings, actions: actions,
            lostBlocks: lost.sorted(), conflictBlocks: state.conflictSlots)
    }

    private mutating func note(_ code: String, _ loss: RepairAction.Loss, _ text: String) {
        actions.append(RepairAction(code, loss, text))
    }

    private mutating func explain(_ finding: Finding) {
        switch finding.code {
        case "PAGE_BAD":
            break
        case "ROOT_BAD":
            note(
                finding.code, recovered.rebuilt.hasGuessedRoot ? .suspect : .none,
                "\(finding.message): put together again from the pages")
        case "SB_NONE":
            note(
                finding.code, .suspect,
                "\(finding.message): put together again from the tables and the journal")
        case "JRN_HOLE", "SB_STALE": explainHoles(finding)
        case "SIZE_SHORT":
            note(
                finding.code, .lost,
                "\(finding.message): made as long as it was; what was cut off is gone, reads of "
                    + "dirty blocks there give EIO")
        case "SB_REPAIR": note(finding.code, .suspect, "\(finding.message): gone on with")
        default: note(finding.code, .lost, "\(finding.message): left out")
        }
    }

    private mutating func explainHoles(_ finding: Finding) {
        guard let holes = recovered.rebuilt.holes else { return }
        let count = holes.missing.reduce(0) { $0 + $1.count }
        note(
            finding.code, .lost,
            "\(finding.message): \(count) records are lost, and nobody knows of which blocks; the "
                + "\(holes.groups) groups behind them are taken, and a new journal begins")
        lost.formUnion(holes.displaced)
    }

    // MARK: State

    /// What was known of the slots of a lost page is gone: its hot entries with their blocks, its cold
    /// ones with the checksums of bytes that then nobody can trust.
    private mutating func mendPages() throws(CacheFileError) {
        for page in recovered.lostPages.sorted() {
            if geometry.isHot(page) {
                let slots = geometry.slots(inHotPage: page)
                note(
                    "PAGE_BAD", .lost,
                    "directory page \(page): nobody knows which blocks slots "
                        + "\(slots.lowerBound)-\(slots.upperBound - 1) held; they are free now, and "
                        + "what of them was not uploaded is lost")
                continue
            }
            var (clean, dirty) = (0, 0)
            for slot in geometry.slots(inColdPage: page) where !state.slots.isFree(slot) {
                if state.slots.state(slot) == .clean {
                    clean += 1
                    state.give(up: slot, lsn: state.slots.lsn(slot))
                } else {
                    dirty += 1
                    unknown[slot] = .all(geometry.granulesPerBlock)
                }
            }
            note(
                "PAGE_BAD", dirty > 0 ? .lost : .none,
                "directory page \(page): the checksums of its slots are gone; \(clean) clean blocks "
                    + "are dropped, \(dirty) dirty ones keep what the journal has of them")
        }
    }

    /// Blocks whose entry is lost and of which the journal has something get another one.
    private mutating func adoptStrays() {
        let strays = state.strays
        for block in state.intents.keys where state.slot(of: block) == nil {
            state.removeIntents(block)
        }
        guard !strays.isEmpty else { return }
        var free = (0..<geometry.slotCount).lazy.filter { [state] in state.slots.isFree($0) }
            .makeIterator()
        var adopted = 0
        for block in strays.sorted() {
            guard let slot = free.next() else {
                lost.insert(block)
                continue
            }
            state.adopt(block, in: slot, lsn: recovered.scan.end.lsn - 1)
            state.setState(slot, .conflict)
            unknown[slot] = .all(geometry.granulesPerBlock)
            adopted += 1
        }
        note(
            "ENT_STATE", lost.isEmpty ? .suspect : .lost,
            "\(adopted) blocks of which only the journal knows get a slot, and are not uploaded before "
                + "--resolveConflicts decides")
    }

    private mutating func suspect() {
        let dirty = state.dirtySlots
        state.suspectAll()
        note(
            "S3_CONFLICT", .suspect,
            "\(dirty) dirty blocks may not be the newest: they are kept, and not uploaded before "
                + "--resolveConflicts decides")
    }

    // MARK: Log

    private struct Log {
        let lsn: LSN
        let tail: RingPoint
        let end: RingPoint
    }

    private func keptLog() -> Log {
        let end = recovered.scan.end
        return Log(lsn: end.lsn - 1, tail: recovered.tail, end: end)
    }

    /// Everything that the old log alone had: data goes to the slots, the rest to the new log. That
    /// begins where no group of the old one, at its position, can be taken for one of it.
    private mutating func newLog(session: UInt64) throws(CacheFileError) -> Log {
        try destage()
        try failUnknown()
        let scan = recovered.scan
        let length = UInt64(geometry.ringLength)
        let last = scan.later.reduce(scan.end.position) {
            max($0, $1.position + UInt64($1.byteCount))
        }
        let lastLSN = scan.later.reduce(
            max(scan.end.lsn, scan.durable + 1, recovered.superblock.recoveredLSN + 1)
        ) { max($0, $1.lastLSN + 1) }
        let start = RingPoint(
            position: (last / length + 2) * length, lsn: lastLSN, prevGroupCRC: 0)
        guard start.position < UInt64.max / 4, start.lsn < UInt64.max / 4 else {
            throw CacheFileError(.needsCheck, "JRN_HOLE: impossible positions in the journal")
        }
        var journal = Journal(
            geometry: geometry.ring, session: session, seeds: recovered.seeds,
            epoch: recovered.lastEpoch + 1, end: start, tail: start.position, starts: [])
        for (block, patch) in state.patches(before: .max) {
            guard let slot = state.slot(of: block) else { continue }
            let (record, payload) = patch.carried(
                of: block, in: slot, geometry, recovered.seeds)
            try append(.patch(record), payload, &journal)
        }
        for extent in state.zeros.items {
            try append(
                .zeroRange(ZeroRangeRecord(blocks: extent.blocks, carriedLSN: extent.lsn)), nil,
                &journal)
        }
        for intent in state.intents(before: .max) {
            guard let slot = state.slot(of: intent.record.block) else { continue }
            try append(.intent(intent.carried(in: slot)), nil, &journal)
        }
        while let group = journal.nextWrite() { writeOut(group, &journal) }
        return Log(lsn: start.lsn - 1, tail: start, end: journal.nextPoint)
    }

    private mutating func append(
        _ record: Record, _ data: AlignedBuffer?, _ journal: inout Journal
    ) throws(CacheFileError) {
        let size = record.encodedSize(geometry)
        let bytes = data?.count ?? 0
        guard journal.hasRoomToCarry(recordBytes: size, dataBytes: bytes) else {
            throw CacheFileError(.needsCheck, "JRN_HOLE: there is no room for a new journal")
        }
        var placed = record
        if data != nil {
            placed.setDataPosition(journal.nextDataIndex(recordBytes: size, dataBytes: bytes))
        }
        let pieces = data.map { [DataPiece($0, 0..<$0.count)] } ?? []
        _ = journal.append(placed.encode(geometry), data: pieces)
    }

    private mutating func writeOut(_ group: JournalGroup, _ journal: inout Journal) {
        let pieces = group.imagePieces
        let buffer = AlignedBuffer(pieces.reduce(0) { $0 + $1.count })
        var at = 0
        for piece in pieces {
            buffer.mutableSlice(at..<at + piece.count).copyMemory(from: piece)
            at += piece.count
        }
        writes.append(PlacedWrite(offset: journal.offset(of: group), buffer: buffer))
        journal.writeReturned(group)
    }

    // MARK: Bytes

    /// Data that only the log has goes to its slot.
    private mutating func destage() throws(CacheFileError) {
        let size = geometry.granuleSize
        let zeros = AlignedBuffer.zeroed(size)
        let buffer = AlignedBuffer(size)
        for block in state.overlays.keys.sorted() {
            guard let slot = state.slot(of: block) else { continue }
            for item in state.destageable(block, upTo: .max) {
                let index = geometry.granuleSeedIndex(block: block, granule: item.granule)
                let seed = recovered.seeds.seed(.granule, index)
                let target = geometry.slotOffset(slot) + item.granule * size
                switch item.place {
                case .ring(let position, let crc):
                    let source =
                        geometry.ringOffset + Int(position % UInt64(geometry.ringLength))
                    if read(into: buffer, at: source),
                        Checksum.crc32c(buffer.bytes, seed: seed) == crc
                    {
                        copies.append(PlacedCopy(source: source, target: target, count: size))
                    } else {
                        lost.insert(block)
                    }
                    state.destaged(
                        slot: slot, block: block, granule: item.granule, lsn: item.lsn, crc: crc)
                case .zeros:
                    copies.append(PlacedCopy(source: nil, target: target, count: size))
                    state.destaged(
                        slot: slot, block: block, granule: item.granule, lsn: item.lsn,
                        crc: Checksum.crc32c(zeros.bytes, seed: seed))
                case .memory: break
                }
            }
        }
    }

    /// A granule of which nobody knows what it should be gets a checksum that its bytes do not have:
    /// reads of it fail, and it is not uploaded, until somebody writes it anew.
    private mutating func failUnknown() throws(CacheFileError) {
        let buffer = AlignedBuffer(geometry.granuleSize)
        for (slot, granules) in unknown.sorted(by: { $0.key < $1.key }) {
            guard !state.slots.isFree(slot) else { continue }
            let block = state.slots.block(slot)
            var missing = granules.subtracting(state.present(slot: slot))
            for patch in state.patched(block) { missing.remove(patch.granule) }
            missing.forEach { granule in
                let offset = geometry.slotOffset(slot) + granule * geometry.granuleSize
                let index = geometry.granuleSeedIndex(block: block, granule: granule)
                let isRead = read(into: buffer, at: offset)
                let crc = Checksum.crc32c(
                    buffer.bytes, seed: recovered.seeds.seed(.granule, index))
                state.slots.setCRC(slot, granule, isRead ? ~crc : 0)
            }
            guard !missing.isEmpty else { continue }
            lost.insert(block)
            state.slots.setValid(slot, state.slots.valid(slot).union(missing))
        }
    }

    private func read(into buffer: AlignedBuffer, at offset: Int) -> Bool {
        do throws(FileError) {
            try file.read(into: buffer.mutableBytes, at: offset, .direct)
            return true
        } catch {
            return false
        }
    }

    // MARK: Tables

    /// Both copies of the zone table are the same afterwards.
    private mutating func withZones(_ sb: Superblock) -> Superblock {
        let (table, crc) = ZoneTable.encode(
            geometry.zones, slotsPerZone: geometry.slotsPerZone, seeds: recovered.seeds)
        var result = sb
        result.zoneCRC = crc
        result.zoneCopy = 0
        for copy in 0...1 {
            writes.append(PlacedWrite(offset: ZoneTable.offset(copy: copy), buffer: table))
        }
        return result
    }
}
