import FileIO
import Journal

/// Reads a file as a mount does. Writes nothing; the steps are those of docs/format.md, "Recovery".
package struct Recovery {
    let file: any FileIO
    /// Past the page cache: after a failed flush that holds what the medium does not.
    private let pageReader: WindowedReader
    private var findings: [Finding] = []
    let refusals: Refusals
    /// What a repair could not read from where it was.
    private var rebuilt = Rebuilt()
    let judged: JudgedPayloads?
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

    mutating func note(_ code: String, _ severity: Finding.Severity, _ message: String) {
        findings.append(Finding(code, severity, message))
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
}
