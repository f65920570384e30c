import BlockCache
import CacheFile
import FileIO
import Glibc
import Journal
import Simulation

/// How a crash image came about, which decides what it has to hold.
package enum CrashKind: Sendable {
    case kill
    case cut(PowerCut)
    /// A power cut that keeps the writes of this region and loses all others.
    case keepOnly(Region)

    package enum Region: CaseIterable, Sendable {
        case ring, slots, directory, ringAndSlots, ringAndDirectory
    }
}

/// A crash image that was recovered.
struct Recovered {
    let cache: OpenedCache
    /// R: the volume is exactly the writes up to here.
    let lsn: LSN
}

extension SimWorld {
    /// The disk as a crash of this kind leaves it.
    func crashed(_ kind: CrashKind, _ disk: SimDisk, _ random: inout SeededRandom) -> SimDisk {
        switch kind {
        case .kill: disk.afterKill(&random)
        case .cut(let mode): disk.afterPowerCut(mode, &random)
        case .keepOnly(let region): disk.afterPowerCut(keeping: { isIn(region, $0) }, &random)
        }
    }

    private func isIn(_ region: CrashKind.Region, _ range: Range<Int>) -> Bool {
        let ring = geometry.ringOffset..<geometry.ringOffset + geometry.ringLength
        let isRing = ring.contains(range.lowerBound)
        let isSlot = geometry.zones.contains {
            ($0.slotsOffset..<$0.slotsOffset + $0.slots * geometry.blockSize).contains(
                range.lowerBound)
        }
        switch region {
        case .ring: return isRing
        case .slots: return isSlot
        case .directory: return !isRing && !isSlot
        case .ringAndSlots: return isRing || isSlot
        case .ringAndDirectory: return !isSlot
        }
    }

    func floor(_ kind: CrashKind) -> LSN {
        if case .kill = kind, !hasFault { return oracle.killFloor }
        return oracle.cutFloor
    }

    /// Recovers a crashed disk with a new session and checks all that was promised.
    ///
    /// - Parameters:
    ///   - floor: the writes up to here must be there.
    ///   - ceiling: and none above.
    func recover(
        _ crashed: SimDisk, floor: LSN, ceiling: LSN? = nil, _ what: String
    ) throws(Violation) -> Recovered {
        coverage.recoveries += 1
        let size = crashed.cache.size
        let inspected: Inspection
        do { inspected = try CacheFiles.inspect(crashed) } catch {
            throw Violation("\(what): cachecheck refuses: \(error.message)")
        }
        var lsn: LSN = 0
        var counts = (dirty: 0, clean: 0, conflict: 0)
        let cache: OpenedCache
        do {
            cache = try SessionStart.open(
                crashed, identity: plan.identity, info: WorldPlan.info
            ) { recovered in
                lsn = recovered.scan.end.lsn - 1
                counts = (
                    recovered.state.dirtySlots, recovered.state.cleanSlots,
                    recovered.state.conflictSlots
                )
                count(recovered, crashed)
            }
        } catch {
            throw Violation("\(what): the mount refuses: \(error.message)")
        }
        if size != crashed.cache.size { coverage.hit(.cutOffByMount) }
        if crashed.cache.size != cache.geometry.fileSize {
            throw Violation("\(what): the file has \(crashed.cache.size) bytes after the mount")
        }
        if inspected.endLSN != lsn + 1 || inspected.dirtyBlocks != counts.dirty
            || inspected.cleanBlocks != counts.clean
            || inspected.conflictBlocks != counts.conflict
            || inspected.zeroBlocks != cache.zeroBlocks
        {
            throw Violation("\(what): cachecheck and mount differ")
        }
        if lsn < floor { throw Violation("\(what): R = \(lsn), but LSN \(floor) was promised") }
        // SEAL and PAD groups have LSNs that no trace tells of.
        let most = ceiling ?? engine.journal.assigned
        if lsn > most { throw Violation("\(what): R = \(lsn) is above \(most)") }
        if lsn < oracle.assigned { coverage.hit(.lostWrites) }
        try compare(cache.state, crashed, lsn, what)
        return Recovered(cache: cache, lsn: lsn)
    }

    /// Whether file and store together are the writes up to `lsn`, neither more nor less.
    func compare(
        _ state: CacheState, _ disk: SimDisk, _ lsn: LSN, _ what: String
    ) throws(Violation) {
        let size = geometry.granuleSize
        let buffer = compareBuffer
        for block in 0..<UInt64(plan.volumeBlocks) {
            if store.asOf(block) > lsn {
                // Sent when it was durable, and that end of the log has rotted.
                if lsn < oracle.durable, foundDamage(.storeAhead) { continue }
                throw Violation(
                    "\(what): I8: the store has block \(block) as of \(store.asOf(block)), R = \(lsn)"
                )
            }
            let slot = state.slot(of: block)
            for granule in 0..<geometry.granulesPerBlock {
                let source = slot.map { state.source(slot: $0, block: block, granule: granule) }
                let bytes = buffer.mutableBytes
                var crc: UInt32?
                do {
                    switch source {
                    case .slot(let known):
                        crc = known
                        let offset = state.geometry.slotOffset(slot ?? 0) + granule * size
                        try disk.read(into: bytes, at: offset, .direct)
                    case .overlay(let overlay):
                        switch overlay.place {
                        case .zeros: memset(buffer.base, 0, size)
                        case .ring(let position, let known):
                            crc = known
                            let offset =
                                geometry.ringOffset + Int(position % UInt64(geometry.ringLength))
                            try disk.read(into: bytes, at: offset, .direct)
                        case .memory: throw Violation("\(what): an overlay in memory")
                        }
                    case .zeros: memset(buffer.base, 0, size)
                    case nil where state.zeros.contains(block): memset(buffer.base, 0, size)
                    case .missing, nil:
                        if let object = store.objects[block] {
                            bytes.copyBytes(
                                from: object.bytes[granule * size..<(granule + 1) * size])
                        } else {
                            memset(buffer.base, 0, size)
                        }
                        state.patch(block, granule)?.apply(over: bytes)
                    }
                } catch let violation as Violation {
                    throw violation
                } catch {
                    throw Violation("\(what): reading block \(block): \(error)")
                }
                if let crc,
                    GranuleChecksum.of(
                        buffer.bytes, block: block, granule: granule, geometry, engine.seeds)
                        != crc
                {
                    if foundDamage(.bytesBad) { continue }
                    throw Violation(
                        "\(what): block \(block) granule \(granule) does not match its checksum")
                }
                if let at = oracle.firstDifference(
                    buffer.bytes, block: block, at: granule * size, asOf: lsn)
                {
                    let cell = buffer.slice(at - granule * size..<at - granule * size + 512)
                    let found = oracle.matches(cell, block: block, at: at)
                    let history = oracle.history(block: block, at: at).suffix(6)
                    throw Violation(
                        "\(what): block \(block) byte \(at) from \(source.map { "\($0)".prefix(12) } ?? "store") is not as of R = "
                            + "\(lsn); it is as of \(found), written at \(Array(history))")
                }
            }
        }
    }

    // MARK: Counting

    private func count(_ recovered: RecoveredFile, _ disk: SimDisk) {
        var branches: [Branch] = []
        switch recovered.scan.verdict {
        case .endOfLog:
            coverage.hit(.verdictEndOfLog)
            branches.append(.endOfLog)
        case .deadGroups:
            coverage.hit(.verdictDeadGroups)
            branches.append(.deadGroups)
        case .tornTail:
            coverage.hit(.verdictTornTail)
            let isSlot = isCutBySlot(recovered.scan, disk)
            if isSlot { coverage.hit(.slotMismatchCut) }
            branches.append(isSlot ? .slotMismatchCut : .tornTail)
        case .hole, .staleSuperblock: break
        }
        if !recovered.droppedFills.isEmpty {
            coverage.hit(.droppedFills)
            branches.append(.droppedFills)
        }
        for finding in recovered.findings {
            if finding.code == "SB_COPY_BAD" { coverage.hit(.superblockMateRewritten) }
            if finding.code == "PAGE_BAD" { coverage.hit(.pageMateUsed) }
        }
        var kinds: Set<RecordKind> = []
        for group in recovered.scan.accepted {
            if group.header.flags.contains(.seal) {
                coverage.hit(.replayedSeal)
                kinds.insert(.seal)
            }
            if group.header.flags.contains(.pad) {
                coverage.hit(.replayedPad)
                kinds.insert(.pad)
            }
            for raw in group.records { if let kind = count(raw) { kinds.insert(kind) } }
        }
        coverage.replayed(kinds, branches)
    }

    /// Whether the first group that was not accepted is itself intact: slot bytes it names were not.
    private func isCutBySlot(_ scan: RingScan, _ disk: SimDisk) -> Bool {
        let block = AlignedBuffer(RingFormat.blockSize)
        let offset = geometry.ringOffset + Int(scan.end.position % UInt64(geometry.ringLength))
        guard (try? disk.read(into: block.mutableBytes, at: offset, .direct)) != nil,
            let header = GroupHeader.decode(block.bytes, ringLength: geometry.ringLength)
        else { return false }
        return header.position == scan.end.position && header.firstLSN == scan.end.lsn
            && header.headerBlocks == 1 && header.dataBlocks == 0
            && header.isIntact(block.mutableBytes, seeds: engine.seeds)
    }

    private func count(_ raw: RawRecord) -> RecordKind? {
        let (kind, mark) = Self.kind(raw)
        if let mark { coverage.hit(mark) }
        if raw.type == 2, MapRecord.Flags(rawValue: raw.flags).contains(.zeroBase) {
            coverage.hit(.replayedZeroBase)
        }
        return kind
    }

    private static func kind(_ raw: RawRecord) -> (RecordKind?, Mark?) {
        switch raw.type {
        case 1:
            if raw.flags & 2 != 0 { return (.dataZero, .replayedDataZero) }
            if raw.flags & 8 != 0 { return (.carried, .replayedCarried) }
            if raw.flags & 1 != 0 { return (.patch, .replayedPatch) }
            return raw.flags & 4 != 0 ? (.merge, .replayedMerge) : (.data, .replayedData)
        case 2:
            let flags = MapRecord.Flags(rawValue: raw.flags)
            if flags.contains(.move) { return (.move, .replayedMove) }
            switch (flags.contains(.extend), flags.contains(.fill)) {
            case (true, true): return (.fillExtend, .replayedFillExtend)
            case (true, false): return (.extend, .replayedExtend)
            case (false, true): return (.fill, .replayedFill)
            case (false, false):
                let isMove = raw.body.prefix(4).contains { $0 != 255 }
                return isMove ? (.mapMove, .replayedMapMove) : (.mapNew, .replayedMapNew)
            }
        case 3:
            if raw.flags == 0 { return (.zero, .replayedZero) }
            return raw.flags & 8 != 0
                ? (.carriedZero, .replayedCarriedZero) : (.zeroRange, .replayedZeroRange)
        case 4 where raw.flags != 0: return (.cleanRange, .replayedCleanRange)
        case 4: return (.clean, .replayedClean)
        case 5: return (.evict, .replayedEvict)
        case 6:
            let isCarried = raw.flags & 8 != 0
            return isCarried
                ? (.carriedIntent, .replayedCarriedIntent) : (.intent, .replayedIntent)
        default: return (nil, nil)
        }
    }

    /// Counts what is under way at a crash.
    func countCrashPoint() {
        if pending.isEmpty { coverage.hit(.crashIdle) }
        for item in pending {
            if let mark = item.mark { coverage.hit(mark) }
        }
        switch engine.checkpointStage {
        case .idle: break
        case .frozen: coverage.hit(.crashCheckpointFrozen)
        case .writingPages: coverage.hit(.crashCheckpointPages)
        case .pagesWritten: coverage.hit(.crashCheckpointPagesWritten)
        case .writingSuperblock: coverage.hit(.crashSuperblockWrite)
        case .superblockWritten: coverage.hit(.crashSuperblockWritten)
        }
        switch engine.resizeStage {
        case .emptying: coverage.hit(.crashEmptying)
        case .switching(let old):
            coverage.hit(
                old.slotCount < geometry.slotCount ? .crashSwitchingUp : .crashSwitchingDown)
        case .reserved: coverage.hit(.crashReserved)
        case .none, .reserving, .ready, .truncating: break
        }
        let length = UInt64(geometry.ringLength)
        if engine.journal.tail / length != engine.journal.end / length {
            coverage.hit(.crashWrappedRing)
        }
        if engine.snapshotStatistics().checkpoints == 0 { coverage.hit(.crashBeforeCheckpoint) }
        if !engine.state.zeros.isEmpty { coverage.hit(.crashWithExtents) }
        if writesWaiting > 0 { coverage.hit(.crashWritesWaiting) }
        if isStopping { coverage.hit(.crashFinalCheckpoint) }
    }
}
