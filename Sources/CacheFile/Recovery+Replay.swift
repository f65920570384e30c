// Step 7 of recovery: the records of the ring, applied to what the directory says.

import FileIO
import Journal

extension Recovery {
    mutating func replay(
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
