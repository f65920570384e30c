import FileIO
import Journal

/// A record that contradicts the state it is applied to: damage, or a bug. Replay refuses the file.
package struct ContradictionError: Error {
    package let what: String
}

extension CacheState {
    /// Applies one record.
    ///
    /// - Parameters:
    ///   - group: the journal group that carries it, and the first data block of this record in it.
    ///   - payload: of a PATCH, its bytes.
    ///   - overlaysOnly: the record is at or below checkpointLSN: the directory already shows it.
    package func apply(
        _ record: Record, lsn: LSN, epoch: UInt64, group: JournalGroup, dataIndex: Int,
        payload: UnsafeRawBufferPointer? = nil, overlaysOnly: Bool = false
    ) throws(ContradictionError) {
        switch record {
        case .data(let data):
            removePatches(data.block, GranuleSet(data.granules))
            putOverlays(data, lsn: lsn, group: group, dataIndex: dataIndex)
            if !overlaysOnly { try applyData(data, lsn: lsn, epoch: epoch) }
        case .patch(let patch):
            guard let payload else { preconditionFailure("a patch without its bytes") }
            putPatch(patch, payload: payload, lsn: lsn, position: group.position)
            if !overlaysOnly { try applyPatch(patch, lsn: lsn, epoch: epoch) }
        case .map(let map) where map.flags.contains(.move):
            // Overlays, patches and intents are the block's, wherever it is.
            if !overlaysOnly { try applyMove(map, lsn: lsn) }
        case .map(let map):
            let granules =
                map.flags.contains(.extend)
                ? map.granules : .all(geometry.granulesPerBlock)
            removeOverlays(map.block, granules)
            removePatches(map.block, granules)
            if !overlaysOnly { try applyMap(map, lsn: lsn, epoch: epoch) }
        case .clean(let clean):
            noteStored(clean)
            if !overlaysOnly { try applyClean(clean, lsn: lsn) }
        case .evict(let evict):
            removeOverlays(evict.block, evict.granules ?? .all(geometry.granulesPerBlock))
            removePatches(evict.block, evict.granules ?? .all(geometry.granulesPerBlock))
            // Out of its slot the block is what the store has.
            if evict.granules == nil { zeros.remove(evict.block..<evict.block + 1) }
            if !overlaysOnly { try applyEvict(evict, lsn: lsn) }
        case .intent(let intent):
            putIntent(intent, lsn: lsn, position: group.position)
            if !overlaysOnly { try applyIntent(intent, lsn: lsn) }
        case .epoch:
            break
        case .zero(let zero):
            putZeros(zero, lsn: lsn, group: group)
            if !overlaysOnly {
                let slot = try expect(zero.slot, holds: zero.block, "ZERO")
                if zero.granules == nil { clearBlock(slot, lsn: lsn) }
                becomeDirty(slot, lsn: lsn, epoch: epoch)
            }
        case .zeroRange(let zero):
            putZeroRange(zero, lsn: lsn, position: group.position)
        case .cleanRange(let clean):
            zeros.remove(clean.blocks, upTo: clean.asOf)
        }
    }

    private func expect(_ slot: UInt32, holds block: UInt64, _ what: String)
        throws(ContradictionError) -> Int
    {
        let slot = Int(slot)
        guard slot < geometry.slotCount, slots.block(slot) == block else {
            throw ContradictionError(
                what: "\(what) of block \(block): slot \(slot) does not hold it")
        }
        return slot
    }

    private func putOverlays(_ data: DataRecord, lsn: LSN, group: JournalGroup, dataIndex: Int) {
        let blocksPerGranule = geometry.granuleSize / RingFormat.blockSize
        putOverlays(data.block, data.granules, group: group) { granule, number in
            Overlay(
                granule: granule, lsn: lsn, crc: data.crcs[number], group: group,
                dataIndex: dataIndex + number * blocksPerGranule)
        }
    }

    /// - Parameter make: the overlay of a granule, which is the how-manieth of them.
    func putOverlays(
        _ block: UInt64, _ granules: Range<Int>, group: JournalGroup,
        _ make: (_ granule: Int, _ number: Int) -> Overlay
    ) {
        var set = overlays[block] ?? BlockOverlays()
        for (number, granule) in granules.enumerated() {
            if set[granule].map({ $0.isDestaged }) ?? true { liveOverlays += 1 }
            let overlay = make(granule, number)
            set.put(overlay)
            marks.append(
                OverlayMark(
                    position: group.position, block: block, granule: granule, lsn: overlay.lsn))
        }
        overlays[block] = set
    }

    private func applyData(_ data: DataRecord, lsn: LSN, epoch: UInt64) throws(ContradictionError) {
        let slot = try expect(data.slot, holds: data.block, "DATA")
        if data.isMerge {
            slots.setLSN(slot, lsn)
        } else {
            becomeDirty(slot, lsn: lsn, epoch: epoch)
        }
    }

    private func applyPatch(_ patch: PatchRecord, lsn: LSN, epoch: UInt64)
        throws(ContradictionError)
    {
        let slot = try expect(patch.slot, holds: patch.block, "PATCH")
        // A carried patch is the same patch at another place.
        if patch.carriedLSN == 0 { becomeDirty(slot, lsn: lsn, epoch: epoch) }
    }

    private func becomeDirty(_ slot: Int, lsn: LSN, epoch: UInt64) {
        if slots.state(slot) == .clean {
            setState(slot, .dirty)
            slots.setEpoch(slot, epoch)
        }
        slots.setLSN(slot, lsn)
        slots.setDataLSN(slot, lsn)
    }

    private func applyMap(_ map: MapRecord, lsn: LSN, epoch: UInt64) throws(ContradictionError) {
        if map.flags.contains(.extend) {
            let slot = try expect(map.slot, holds: map.block, "MAP EXTEND")
            addGranules(slot, map)
            if map.flags.contains(.zeroBase) { slots.setZeroBase(slot, true) }
            if !map.flags.contains(.keepBase) { slots.setBase(slot, map.base) }
            if map.flags.contains(.fill) {
                slots.setLSN(slot, lsn)
            } else {
                becomeDirty(slot, lsn: lsn, epoch: epoch)
            }
            return
        }
        let slot = Int(map.slot)
        try expectFree(slot, map.block)
        var base = map.base
        var isConflict = false
        if let old = self.slot(of: map.block) {
            guard map.oldSlot == UInt32(old) else {
                throw ContradictionError(what: "MAP of block \(map.block): it is in slot \(old)")
            }
            if map.flags.contains(.keepBase) { base = slots.base(old) }
            isConflict = slots.state(old) == .conflict
            unmap(old, lsn: lsn)
        } else if map.oldSlot != Record.noSlot {
            throw ContradictionError(what: "MAP of block \(map.block): it is in no slot")
        }
        take(slot, for: map.block, lsn: lsn)
        slots.setBase(slot, base)
        slots.setZeroBase(slot, map.flags.contains(.zeroBase))
        addGranules(slot, map)
        if map.flags.contains(.fill) {
            setState(slot, .clean)
        } else {
            setState(slot, isConflict ? .conflict : .dirty)
            slots.setDataLSN(slot, lsn)
            slots.setEpoch(slot, epoch)
        }
    }

    private func expectFree(_ slot: Int, _ block: UInt64) throws(ContradictionError) {
        guard slot < geometry.slotCount, slots.isFree(slot), slots.state(slot) == .free else {
            throw ContradictionError(what: "MAP of block \(block): slot \(slot) is not free")
        }
    }

    func take(_ slot: Int, for block: UInt64, lsn: LSN) {
        slots.setBlock(slot, block)
        index.insert(block, slot: slot)
        countRegion(of: block, 1)
        // A slot is taken only when nothing of what it held is needed any more.
        reuseLSNs[slot] = 0
        incarnations[slot] &+= 1
        slots.setLSN(slot, lsn)
    }

    /// The entry as it is in another slot. The bytes of the granules named have been copied there.
    private func applyMove(_ map: MapRecord, lsn: LSN) throws(ContradictionError) {
        let old = try expect(map.oldSlot, holds: map.block, "MAP MOVE")
        let slot = Int(map.slot)
        try expectFree(slot, map.block)
        let (state, dataLSN, epoch) = (slots.state(old), slots.dataLSN(old), slots.epoch(old))
        let (base, isZeroBase) = (slots.base(old), slots.isZeroBase(old))
        unmap(old, lsn: lsn)
        take(slot, for: map.block, lsn: lsn)
        slots.setBase(slot, base)
        slots.setZeroBase(slot, isZeroBase)
        slots.setDataLSN(slot, dataLSN)
        slots.setEpoch(slot, epoch)
        addGranules(slot, map)
        setState(slot, state)
    }

    private func addGranules(_ slot: Int, _ map: MapRecord) {
        var next = map.crcs.makeIterator()
        map.granules.forEach { granule in
            if let crc = next.next() { slots.setCRC(slot, granule, crc) }
        }
        slots.setValid(slot, slots.valid(slot).union(map.granules))
    }

    /// Ends what the journal keeps of a block until the store has it.
    private func noteStored(_ clean: CleanRecord) {
        let all = GranuleSet.all(geometry.granulesPerBlock)
        switch clean.kind {
        case .stored:
            // What was sent had these patches in it.
            removePatches(clean.block, all, upTo: clean.asOf)
            removeIntents(clean.block, upTo: clean.asOf)
        case .conflict:
            removeIntents(clean.block)
        case .remote:
            zeros.remove(clean.block..<clean.block + 1)
            removeOverlays(clean.block, all)
            removePatches(clean.block, all)
            removeIntents(clean.block)
        }
    }

    private func applyClean(_ clean: CleanRecord, lsn: LSN) throws(ContradictionError) {
        let slot = try expect(clean.slot, holds: clean.block, "CLEAN")
        switch clean.kind {
        case .stored:
            // The base always moves, the state only if nothing newer was written (I7).
            slots.setBase(slot, clean.base)
            slots.setLSN(slot, lsn)
            if slots.state(slot) == .conflict { setState(slot, .dirty) }
            if slots.state(slot) == .dirty, slots.dataLSN(slot) <= clean.asOf {
                setState(slot, .clean)
            }
        case .conflict:
            slots.setLSN(slot, lsn)
            setState(slot, .conflict)
        case .remote:
            unmap(slot, lsn: lsn)
        }
    }

    private func applyIntent(_ intent: IntentRecord, lsn: LSN) throws(ContradictionError) {
        let slot = try expect(intent.slot, holds: intent.block, "INTENT")
        if intent.isCarried { return }
        slots.setLSN(slot, lsn)
        if slots.base(slot) != intent.base { slots.setBase(slot, intent.base) }
    }

    private func applyEvict(_ evict: EvictRecord, lsn: LSN) throws(ContradictionError) {
        let slot = try expect(evict.slot, holds: evict.block, "EVICT")
        if let granules = evict.granules {
            slots.setValid(slot, slots.valid(slot).subtracting(granules))
            slots.setLSN(slot, lsn)
            reuseLSNs[slot] = lsn
        } else {
            unmap(slot, lsn: lsn)
        }
    }

    func unmap(_ slot: Int, lsn: LSN) {
        index.remove(slots.block(slot), slot: slot) { [slots] in slots.block($0) }
        countRegion(of: slots.block(slot), -1)
        setState(slot, .free)
        slots.clear(slot)
        reuseLSNs[slot] = lsn
        incarnations[slot] &+= 1
    }

    func setState(_ slot: Int, _ state: SlotState) {
        count(slots.state(slot), -1)
        slots.setState(slot, state)
        count(state, 1)
    }

    func count(_ state: SlotState, _ by: Int) {
        switch state {
        case .clean: cleanSlots += by
        case .dirty: dirtySlots += by
        case .conflict: conflictSlots += by
        default: break
        }
    }
}
