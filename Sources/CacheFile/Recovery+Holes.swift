// Past a hole in the journal: what lies behind it, for a repair. A mount never does this.

import FileIO
import Journal

/// What was found behind holes, and what that did to the blocks before.
package struct PassedHoles: Sendable {
    /// LSNs of which nothing is known.
    package var missing: [ClosedRange<LSN>] = []
    package var groups = 0
    /// Blocks whose dirty content had to make way for records behind a hole: it had left its slot.
    package var displaced: Set<UInt64> = []
    /// Granules of slots of which nobody knows what they should hold.
    package var unknown: [Int: GranuleSet] = [:]
    /// The last LSN and the last ring position seen.
    package var endLSN: LSN = 0
}

extension Recovery {
    /// Applies the groups behind the end of the log that are whole and of the file's session. What
    /// the hole said is unknown, so a record that contradicts the state is believed and the state is
    /// not.
    func passHoles(
        _ scan: RingScan, _ scanner: RingScanner, _ sb: Superblock, _ state: CacheState,
        _ geometry: Geometry, _ seeds: SeedSpace
    ) throws(CacheFileError) -> PassedHoles {
        var passed = PassedHoles()
        var next = scan.end
        for header in scan.later where isOfInterest(header, sb, behind: next) {
            let found = try io { () throws(FileError) in try scanner.group(header) }
            guard let group = found else { continue }
            if header.lastLSN > scan.durable, try hasLostSlots(group, geometry, seeds) { break }
            let follows =
                header.position == next.position && header.firstLSN == next.lsn
                && header.prevGroupCRC == next.prevGroupCRC
            if !follows, header.firstLSN > next.lsn {
                passed.missing.append(next.lsn...header.firstLSN - 1)
            }
            if passed.missing.count > 1, refusals.depth != .all {
                throw CacheFileError(
                    .needsCheck, "JRN_HOLE: the journal has several holes; repair --all passes them"
                )
            }
            try apply(group, sb, state, &passed)
            passed.groups += 1
            next = RingPoint(
                position: header.position + UInt64(header.byteCount), lsn: header.lastLSN + 1,
                prevGroupCRC: header.headerCRC)
        }
        // Groups at the end may be gone as well.
        if scan.durable >= next.lsn { passed.missing.append(next.lsn...scan.durable) }
        passed.endLSN = max(scan.durable, next.lsn - 1)
        return passed
    }

    private func isOfInterest(
        _ header: GroupHeader, _ sb: Superblock, behind point: RingPoint
    ) -> Bool {
        let isSession =
            header.session == sb.session || refusals.depth == .all && header.session > sb.session
        return isSession && header.position >= point.position && header.firstLSN >= point.lsn
    }

    /// Step 6 of recovery for one group: what was never durable ends the log.
    private func hasLostSlots(
        _ group: ScannedGroup, _ geometry: Geometry, _ seeds: SeedSpace
    ) throws(CacheFileError) -> Bool {
        for raw in group.records {
            guard case .map(let map)? = Record.decode(raw, geometry),
                !map.flags.contains(.fill), Int(map.slot) < geometry.slotCount
            else { continue }
            if try !badGranules(map, geometry, seeds).isEmpty { return true }
        }
        return false
    }

    private func apply(
        _ group: ScannedGroup, _ sb: Superblock, _ state: CacheState, _ passed: inout PassedHoles
    ) throws(CacheFileError) {
        let place = JournalGroup(recovered: group.header)
        for (index, raw) in group.records.enumerated() {
            guard let record = Record.decode(raw, state.geometry) else { continue }
            let lsn = group.lsn(of: index)
            var dataIndex = 0
            var payload: AlignedBuffer?
            if case .data(let data) = record { dataIndex = Int(data.dataPosition) }
            if case .patch(let patch) = record {
                payload = try readPayload(patch, group.header, state.geometry)
            }
            let isKnown = lsn <= sb.checkpointLSN
            guard let fitting = isKnown ? record : state.makeWay(record, lsn: lsn, &passed) else {
                continue
            }
            do throws(ContradictionError) {
                try state.apply(
                    fitting, lsn: lsn, epoch: group.header.epoch, group: place,
                    dataIndex: dataIndex, payload: payload?.bytes, overlaysOnly: isKnown)
            } catch {
                refusals.note(CacheFileError(.needsCheck, "ENT_STATE: \(error.what)"))
            }
        }
    }
}

extension CacheState {
    /// Makes the state one that a record behind a hole does not contradict.
    ///
    /// - Returns: the record as it can be applied; nil: it says nothing any more.
    func makeWay(_ record: Record, lsn: LSN, _ passed: inout PassedHoles) -> Record? {
        switch record {
        case .map(var map) where !map.flags.contains(.extend):
            guard Int(map.slot) < geometry.slotCount else { return nil }
            free(Int(map.slot), for: map.block, lsn: lsn, &passed)
            let old = slot(of: map.block)
            // Of a block that nobody knew, what is named here is all.
            if old == nil { map.flags.remove(.move) }
            let unknown = old.flatMap { passed.unknown.removeValue(forKey: $0) }
            passed.unknown[Int(map.slot)] = map.flags.contains(.move) ? unknown : nil
            map.oldSlot = old.map { UInt32($0) } ?? Record.noSlot
            return .map(map)
        case .map(let map): return join(map.block, map.slot, lsn: lsn, &passed) ? record : nil
        case .data(let data): return join(data.block, data.slot, lsn: lsn, &passed) ? record : nil
        case .patch(let patch):
            return join(patch.block, patch.slot, lsn: lsn, &passed) ? record : nil
        case .zero(let zero):
            guard join(zero.block, zero.slot, lsn: lsn, &passed) else { return nil }
            if zero.granules == nil { passed.unknown[Int(zero.slot)] = nil }
            return record
        case .clean(let clean): return holds(clean.slot, clean.block) ? record : nil
        case .intent(let intent): return holds(intent.slot, intent.block) ? record : nil
        case .evict(let evict): return holds(evict.slot, evict.block) ? record : nil
        case .zeroRange(let zero):
            // Trimmed blocks that were evicted in the hole.
            for slot in 0..<geometry.slotCount
            where !slots.isFree(slot) && zero.blocks.contains(slots.block(slot)) {
                displace(slot, lsn: lsn, &passed)
            }
            return record
        case .epoch, .cleanRange: return record
        }
    }

    private func holds(_ slot: UInt32, _ block: UInt64) -> Bool {
        if Int(slot) < geometry.slotCount, slots.block(Int(slot)) == block { return true }
        // It was in a slot, so it is no trimmed block any more.
        zeros.remove(block..<block + 1)
        return false
    }

    /// Has a block in a slot, of whose content nothing is known if it was not there.
    private func join(
        _ block: UInt64, _ slot: UInt32, lsn: LSN, _ passed: inout PassedHoles
    ) -> Bool {
        let slot = Int(slot)
        guard slot < geometry.slotCount else { return false }
        if slots.block(slot) == block { return true }
        free(slot, for: block, lsn: lsn, &passed)
        // Its overlays and patches are its own, wherever it is.
        if let old = self.slot(of: block) { unmap(old, lsn: lsn) }
        adopt(block, in: slot, lsn: lsn)
        passed.unknown[slot] = .all(geometry.granulesPerBlock)
        return true
    }

    /// A dirty block of which only what the journal has is known.
    func adopt(_ block: UInt64, in slot: Int, lsn: LSN) {
        take(slot, for: block, lsn: lsn)
        setState(slot, .dirty)
        slots.setDataLSN(slot, lsn)
    }

    private func free(
        _ slot: Int, for block: UInt64, lsn: LSN, _ passed: inout PassedHoles
    ) {
        if !slots.isFree(slot), slots.block(slot) != block {
            displace(slot, lsn: lsn, &passed)
        } else if slots.block(slot) == block {
            // It left this slot and came back to it.
            unmap(slot, lsn: lsn)
        }
    }

    private func displace(_ slot: Int, lsn: LSN, _ passed: inout PassedHoles) {
        if slots.state(slot) != .clean { passed.displaced.insert(slots.block(slot)) }
        passed.unknown[slot] = nil
        give(up: slot, lsn: lsn)
    }

    /// Leaves nothing of a block.
    func give(up slot: Int, lsn: LSN) {
        let block = slots.block(slot)
        removeOverlays(block, .all(geometry.granulesPerBlock))
        removePatches(block, .all(geometry.granulesPerBlock))
        removeIntents(block)
        unmap(slot, lsn: lsn)
    }

    /// Nothing dirty is uploaded until somebody decides.
    func suspectAll() {
        for slot in 0..<geometry.slotCount
        where slots.rawState(slot) == SlotState.dirty.rawValue {
            setState(slot, .conflict)
            removeIntents(slots.block(slot))
        }
    }
}
