import FileIO
import Journal

/// Something worth telling about a file. Codes: docs/format.md, "Findings".
public struct Finding: Sendable, Equatable {
    public enum Severity: String, Sendable { case info, warning, error, fatal }
    public let code: String
    public let severity: Severity
    public let message: String

    public init(_ code: String, _ severity: Severity, _ message: String) {
        self.code = code
        self.severity = severity
        self.message = message
    }
}

/// What steps 2 to 7 of recovery made of a file: the state to go on from, in memory only.
package struct RecoveredFile {
    package var superblocks: SuperblockSet
    package var geometry: Geometry
    package var seeds: SeedSpace
    package var root: RootTable
    package var state: CacheState
    package var scan: RingScan
    /// Granules of fills whose bytes did not reach the medium (I21).
    package var droppedFills: [EvictRecord]
    package var findings: [Finding]
    package var lastEpoch: UInt64
    /// Why a mount refuses the file, where the look at it went on all the same.
    package var refusals: [Finding]
    /// Directory pages that are lost; of their slots only what the journal says is known.
    package var lostPages: Set<Int>
    /// Granules of fills whose bytes did not reach the medium, by the LSN of their record.
    package var badFills: [LSN: GranuleSet]
    /// Pages of which one copy is damaged.
    package var matedPages: Set<Int>
    package var rebuilt: Rebuilt

    package var superblock: Superblock { superblocks.current }

    /// Where replay has to begin after a checkpoint at the end of the log.
    var tail: RingPoint {
        let oldest = state.oldestNeeded()
        let group = scan.accepted.first { $0.header.position == oldest }?.header
        return group.map {
            RingPoint(position: $0.position, lsn: $0.firstLSN, prevGroupCRC: $0.prevGroupCRC)
        } ?? scan.end
    }
}

/// What was found out about payloads and slots of a file of which only the metadata is here.
package struct JudgedPayloads: Sendable {
    /// Where the log ends: what the group there says is not true of the bytes.
    package var end: UInt64
    package var badFills: [LSN: GranuleSet]

    package init(end: UInt64, badFills: [LSN: GranuleSet]) {
        self.end = end
        self.badFills = badFills
    }
}

/// Reads a file as a mount does. Writes nothing; the steps are those of docs/format.md, "Recovery".
package struct Recovery {
    let file: any FileIO
    /// Past the page cache: after a failed flush that holds what the medium does not.
    private let pageReader: WindowedReader
    private var findings: [Finding] = []
    let refusals: Refusals
    /// What a repair could not read from where it was.
    private var rebuilt = Rebuilt()
    private let judged: JudgedPayloads?
    private let volume: VolumeIdentity?

    private init(
        file: any FileIO, goesOn: Bool, judged: JudgedPayloads?, depth: RepairDepth? = nil,
        volume: VolumeIdentity? = nil
    ) throws(FileError) {
        self.volume = volume
        self.file = file
        pageReader = try WindowedReader(file)
        refusals = Refusals(goesOn: goesOn, depth: depth)
        self.judged = judged
    }

    /// - Parameters:
    ///   - goesOn: Past damage for which a mount refuses the file; `refusals` tells of it.
    ///   - judged: The file has no bytes of blocks, and this is what is known of them.
    ///   - depth: For a repair, which also puts together again what nothing names any more.
    ///   - volume: What the user says of it, if no superblock does.
    package static func run(
        _ file: any FileIO, goesOn: Bool = false, judged: JudgedPayloads? = nil,
        depth: RepairDepth? = nil, volume: VolumeIdentity? = nil
    ) throws(CacheFileError) -> RecoveredFile {
        var recovery = try io { () throws(FileError) in
            try Recovery(file: file, goesOn: goesOn, judged: judged, depth: depth, volume: volume)
        }
        return try recovery.steps()
    }

    /// Superblocks, zone table, root and ring: all but the directory, so that what a mount thinks
    /// of the directory and of records that contradict it stays open.
    package static func fast(
        _ file: any FileIO, judged: JudgedPayloads? = nil
    ) throws(CacheFileError) -> FastLook {
        var recovery = try io { () throws(FileError) in
            try Recovery(file: file, goesOn: false, judged: judged)
        }
        let base = try recovery.readTables()
        var scan = try recovery.scanRing(base.superblock, base.geometry, base.seeds)
        _ = try recovery.verifySlots(&scan, base.superblock, base.geometry, base.seeds)
        try recovery.refuse(scan)
        return FastLook(
            superblock: base.superblock, geometry: base.geometry, scan: scan,
            findings: recovery.findings)
    }

    private struct Tables {
        let superblocks: SuperblockSet
        let geometry: Geometry
        let seeds: SeedSpace
        let root: RootTable
        var superblock: Superblock { superblocks.current }
    }

    /// Step 2, and the root of step 3.
    private mutating func readTables() throws(CacheFileError) -> Tables {
        let superblocks = try readSuperblocks()
        let sb = superblocks.current
        for copy in superblocks.badCopies {
            note("SB_COPY_BAD", .warning, "superblock copy \(copy) is damaged or old")
        }
        if sb.state == Superblock.State.needsCheck.rawValue {
            try refusals.refuse(
                CacheFileError(
                    .needsCheck,
                    "SB_REPAIR: a repair was cut short; run cachecheck undo, then repair again"))
        }
        let seeds = SeedSpace(fileUUID: sb.fileUUID)
        let geometry = try ZoneTable.readGeometry(
            sb, file, seeds: seeds, findings: &findings, refusals)
        let root: RootTable
        do throws(CacheFileError) {
            root = try RootTable.read(sb, geometry, file, seeds: seeds, findings: &findings)
        } catch {
            guard refusals.depth != nil, error.finding.code == "ROOT_BAD" else { throw error }
            refusals.note(error)
            root = RootTable.rebuilt(sb, geometry, pageReader, seeds: seeds)
            rebuilt.hasGuessedRoot = root.encode(seeds: seeds).crc != sb.rootCRC
        }
        return Tables(superblocks: superblocks, geometry: geometry, seeds: seeds, root: root)
    }

    private mutating func readSuperblocks() throws(CacheFileError) -> SuperblockSet {
        do throws(CacheFileError) { return try SuperblockSet.read(file, refusals) } catch {
            // Without a beginning the file is one only because the user says so.
            let isLost = error.finding.code == "SB_NONE"
            guard let volume, refusals.depth == .all, isLost || error.kind == .garbage else {
                guard isLost, refusals.depth != nil else { throw error }
                throw CacheFileError(
                    .needsCheck,
                    "\(error.message); repair --all with --volume, --size and --blockSize makes one"
                )
            }
            let sb = try LostSuperblock.rebuild(file, volume)
            rebuilt.hasGuessedSuperblock = true
            refusals.note(CacheFileError(.needsCheck, "SB_NONE: no superblock copy is intact"))
            return SuperblockSet(current: sb, badCopies: [])
        }
    }

    private mutating func steps() throws(CacheFileError) -> RecoveredFile {
        let tables = try readTables()
        let (sb, geometry, seeds) = (tables.superblock, tables.geometry, tables.seeds)
        var directory = DirectoryLoad(tables.root, geometry, seeds, pageReader, refusals)
        let state = try directory.run()
        findings += directory.findings
        var scan = try scanRing(sb, geometry, seeds)
        let badFills = try verifySlots(&scan, sb, geometry, seeds)
        try refuse(scan)
        let dropped = try replay(scan, badFills, sb, state)
        if refusals.depth != nil, scan.verdict == .hole || scan.verdict == .staleSuperblock {
            let scanner = try scanner(sb, geometry, seeds)
            rebuilt.holes = try passHoles(scan, scanner, sb, state, geometry, seeds)
        }
        let lastEpoch = (scan.accepted.map(\.header) + scan.later).reduce(sb.openEpoch) {
            max($0, $1.epoch)
        }
        return RecoveredFile(
            superblocks: tables.superblocks, geometry: geometry, seeds: seeds, root: tables.root,
            state: state, scan: scan, droppedFills: dropped, findings: findings,
            lastEpoch: lastEpoch, refusals: refusals.findings, lostPages: directory.lost,
            badFills: badFills, matedPages: directory.mated, rebuilt: rebuilt)
    }

    private mutating func note(_ code: String, _ severity: Finding.Severity, _ message: String) {
        findings.append(Finding(code, severity, message))
    }

    // MARK: Steps 4 and 5: journal

    private func scanRing(
        _ sb: Superblock, _ geometry: Geometry, _ seeds: SeedSpace
    ) throws(CacheFileError) -> RingScan {
        let scanner = try scanner(sb, geometry, seeds)
        return try io { () throws(FileError) in try scanner.scan() }
    }

    private func scanner(
        _ sb: Superblock, _ geometry: Geometry, _ seeds: SeedSpace
    ) throws(CacheFileError) -> RingScanner {
        let start = RingScanStart(
            tail: sb.tail, session: sb.session, recoveredLSN: sb.recoveredLSN,
            recoveredPosition: sb.recoveredPosition, checkpointLSN: sb.checkpointLSN,
            // A repair wants all that is behind a hole.
            isClean: refusals.depth == nil && sb.state == Superblock.State.clean.rawValue,
            payloadEnd: judged?.end)
        guard sb.tail.position % 4096 == 0, sb.tail.position < UInt64.max / 4, sb.tail.lsn >= 1,
            sb.tail.lsn < UInt64.max / 4
        else { throw CacheFileError(.needsCheck, "SB_COPY_BAD: impossible journal tail") }
        let isJudged = judged != nil
        let isIntact = { (raw: RawRecord, data: UnsafeRawBufferPointer) -> Bool in
            guard let record = Record.decode(raw, geometry) else { return false }
            if isJudged { return true }
            switch record {
            case .data(let item): return Self.isIntact(item, data, geometry, seeds)
            case .patch(let item): return Self.isIntact(item, data, geometry, seeds)
            default: return true
            }
        }
        return try io { () throws(FileError) in
            try RingScanner(
                file: file, offset: geometry.ringOffset, length: geometry.ringLength, seeds: seeds,
                start: start, isPayloadIntact: isIntact)
        }
    }

    private static func isIntact(
        _ item: DataRecord, _ data: UnsafeRawBufferPointer, _ geometry: Geometry, _ seeds: SeedSpace
    ) -> Bool {
        let size = geometry.granuleSize
        let start = Int(item.dataPosition) * RingFormat.blockSize
        guard start + item.crcs.count * size <= data.count else { return false }
        for (number, granule) in item.granules.enumerated() {
            let at = start + number * size
            let bytes = UnsafeRawBufferPointer(rebasing: data[at..<at + size])
            let index = geometry.granuleSeedIndex(block: item.block, granule: granule)
            let crc = Checksum.crc32c(bytes, seed: seeds.seed(.granule, index))
            if crc != item.crcs[number] { return false }
        }
        return true
    }

    private static func isIntact(
        _ item: PatchRecord, _ data: UnsafeRawBufferPointer, _ geometry: Geometry,
        _ seeds: SeedSpace
    ) -> Bool {
        let start = Int(item.dataPosition) * RingFormat.blockSize
        guard start + item.payloadBytes <= data.count else { return false }
        let bytes = UnsafeRawBufferPointer(rebasing: data[start..<start + item.payloadBytes])
        return item.crc == item.checksum(bytes, geometry, seeds)
    }

    // MARK: Step 6: slots named above D

    /// Granules of fills that are not on the medium, by LSN. Cuts the log at the first group above
    /// D that names slot bytes of a write that are not there.
    private func verifySlots(
        _ scan: inout RingScan, _ sb: Superblock, _ geometry: Geometry, _ seeds: SeedSpace
    ) throws(CacheFileError) -> [LSN: GranuleSet] {
        if let judged { return judged.badFills }
        var badFills: [LSN: GranuleSet] = [:]
        let fillsDurable = scan.accepted.reduce(sb.checkpointLSN) { max($0, $1.header.durableLSN) }
        for (number, group) in scan.accepted.enumerated() {
            for (index, raw) in group.records.enumerated() {
                guard case .map(let map)? = Record.decode(raw, geometry) else { continue }
                let lsn = group.lsn(of: index)
                let isFill = map.flags.contains(.fill)
                guard isFill ? lsn > fillsDurable : group.header.lastLSN > scan.durable else {
                    continue
                }
                let bad = try badGranules(map, geometry, seeds)
                if bad.isEmpty { continue }
                if isFill {
                    badFills[lsn] = bad
                    continue
                }
                scan.end = RingPoint(
                    position: group.header.position, lsn: group.header.firstLSN,
                    prevGroupCRC: group.header.prevGroupCRC)
                scan.later = scan.accepted[number...].map(\.header) + scan.later
                scan.accepted.removeSubrange(number...)
                if scan.verdict != .hole && scan.verdict != .staleSuperblock {
                    scan.verdict = .tornTail
                }
                return badFills
            }
        }
        return badFills
    }

    func badGranules(
        _ map: MapRecord, _ geometry: Geometry, _ seeds: SeedSpace
    ) throws(CacheFileError) -> GranuleSet {
        guard Int(map.slot) < geometry.slotCount else {
            throw CacheFileError(.needsCheck, "ENT_STATE: MAP names slot \(map.slot)")
        }
        let size = geometry.granuleSize
        let buffer = AlignedBuffer(size)
        var bad = GranuleSet()
        var crcs = map.crcs.makeIterator()
        for run in map.granules.runs {
            for granule in run {
                let offset = geometry.slotOffset(Int(map.slot)) + granule * size
                do throws(FileError) {
                    try file.read(into: buffer.mutableBytes, at: offset, .direct)
                } catch {
                    guard refusals.goesOn else { throw CacheFileError(error) }
                    bad.insert(granule)
                    _ = crcs.next()
                    continue
                }
                let index = geometry.granuleSeedIndex(block: map.block, granule: granule)
                let crc = Checksum.crc32c(buffer.bytes, seed: seeds.seed(.granule, index))
                if crc != crcs.next() { bad.insert(granule) }
            }
        }
        return bad
    }

    // MARK: Verdict

    private mutating func refuse(_ scan: RingScan) throws(CacheFileError) {
        switch scan.verdict {
        case .endOfLog:
            break
        case .deadGroups:
            note(
                "JRN_OLD_SESSION", .info,
                "\(scan.laterGroups) groups of an older session lie behind the log")
        case .tornTail:
            note(
                "JRN_TORN_TAIL", .info,
                "the journal ends torn at LSN \(scan.end.lsn); never fsynced")
        case .hole:
            try refusals.refuse(
                CacheFileError(
                    .needsCheck,
                    "JRN_HOLE: the journal breaks at LSN \(scan.end.lsn), but LSN \(scan.durable) was durable"
                ))
        case .staleSuperblock:
            try refusals.refuse(
                CacheFileError(
                    .needsCheck,
                    "SB_STALE: the journal holds groups of a later session than the superblock's"))
        }
    }

    // MARK: Step 7: replay

    private mutating func replay(
        _ scan: RingScan, _ badFills: [LSN: GranuleSet], _ sb: Superblock, _ state: CacheState
    ) throws(CacheFileError) -> [EvictRecord] {
        var dropped: [Int: GranuleSet] = [:]
        for group in scan.accepted {
            let place = JournalGroup(recovered: group.header)
            for (index, raw) in group.records.enumerated() {
                guard var record = Record.decode(raw, state.geometry) else {
                    throw CacheFileError(.needsCheck, "JRN_HOLE: an unknown record")
                }
                let lsn = group.lsn(of: index)
                settle(record, &dropped)
                if case .map(let map) = record, let bad = badFills[lsn] {
                    record = .map(map.without(bad))
                    dropped[Int(map.slot), default: GranuleSet()] =
                        (dropped[Int(map.slot)] ?? GranuleSet()).union(bad)
                }
                var dataIndex = 0
                var payload: AlignedBuffer?
                if case .data(let data) = record { dataIndex = Int(data.dataPosition) }
                if case .patch(let patch) = record {
                    payload = try readPayload(patch, group.header, state.geometry)
                }
                do {
                    try state.apply(
                        record, lsn: lsn, epoch: group.header.epoch, group: place,
                        dataIndex: dataIndex, payload: payload?.bytes,
                        overlaysOnly: lsn <= sb.checkpointLSN)
                } catch {
                    try refusals.refuse(CacheFileError(.needsCheck, "ENT_STATE: \(error.what)"))
                }
            }
        }
        // Replayed records are all sealed now: nothing waits for their LSNs (R4).
        state.reuseLSNs = ZeroedArray(count: state.geometry.slotCount)
        try refuseStrays(state.patches.keys, "a patch", state)
        try refuseStrays(state.overlays.keys, "journal data", state)
        try refuseStrays(state.intents.keys, "an upload", state)
        return stillMissing(dropped, state)
    }

    private func refuseStrays(
        _ blocks: some Sequence<UInt64>, _ what: String, _ state: CacheState
    ) throws(CacheFileError) {
        for block in blocks where state.slot(of: block) == nil {
            try refusals.refuse(
                CacheFileError(
                    .needsCheck, "ENT_STATE: \(what) of block \(block), which is in no slot"))
        }
    }

    func readPayload(
        _ patch: PatchRecord, _ group: GroupHeader, _ geometry: Geometry
    ) throws(CacheFileError) -> AlignedBuffer {
        let padded = (patch.payloadBytes + RingFormat.blockSize - 1) & ~(RingFormat.blockSize - 1)
        let buffer = AlignedBuffer(padded)
        let position = group.dataPosition + UInt64(Int(patch.dataPosition) * RingFormat.blockSize)
        let offset = geometry.ringOffset + Int(position % UInt64(geometry.ringLength))
        try io { () throws(FileError) in
            try file.read(into: buffer.mutableBytes, at: offset, .direct)
        }
        return buffer
    }

    /// A record that frees the slot or says itself that granules are invalid has settled them: to
    /// say it again would hit what was written since.
    private func settle(_ record: Record, _ dropped: inout [Int: GranuleSet]) {
        switch record {
        case .evict(let evict):
            let slot = Int(evict.slot)
            dropped[slot] = evict.granules.flatMap { dropped[slot]?.subtracting($0) }
        case .map(let map) where !map.flags.contains(.extend):
            dropped[Int(map.slot)] = nil
            if map.oldSlot != Record.noSlot { dropped[Int(map.oldSlot)] = nil }
        case .zero(let zero) where zero.granules == nil:
            dropped[Int(zero.slot)] = nil
        case .map, .data, .patch, .clean, .intent, .epoch, .zero, .zeroRange, .cleanRange:
            break
        }
    }

    /// Dropped granules that no later record made valid again.
    private func stillMissing(_ dropped: [Int: GranuleSet], _ state: CacheState) -> [EvictRecord] {
        dropped.sorted { $0.key < $1.key }.compactMap { slot, granules in
            guard !state.slots.isFree(slot) else { return nil }
            let missing = granules.subtracting(state.present(slot: slot))
            guard !missing.isEmpty else { return nil }
            return EvictRecord(
                slot: UInt32(slot), block: state.slots.block(slot), granules: missing)
        }
    }
}

/// What superblocks, tables and ring say.
package struct FastLook {
    package let superblock: Superblock
    package let geometry: Geometry
    package let scan: RingScan
    package let findings: [Finding]

    package var ringBytesUsed: Int { Int(scan.end.position - superblock.tail.position) }
}

extension MapRecord {
    /// The same record without some of its granules.
    func without(_ removed: GranuleSet) -> MapRecord {
        var kept = self
        kept.granules = granules.subtracting(removed)
        kept.crcs = []
        var all = crcs.makeIterator()
        granules.forEach { granule in
            if let crc = all.next(), !removed.contains(granule) { kept.crcs.append(crc) }
        }
        return kept
    }
}
