// The records of a write, and its end.

import CacheFile
import FileIO
import Journal

extension Engine {
    /// Makes the records of a part, as far as there is room; comes back for the rest.
    func record(_ op: WriteOp, isResumed: Bool = false) {
        guard poison == nil, active[op.block]?.writer === op else { return }
        if op.isWholeTrim, isBlank(op.block, state.slot(of: op.block)) { return completeBlank(op) }
        if !op.isWholeTrim, isMisplaced(op) { return place(op) }
        while true {
            let next: (record: Record, data: [DataPiece])
            switch nextStep(op) {
            case .done: return complete(op, nil)
            case .merge: return prepare(op)
            case .ask: return fetch(op.block, for: .writer(op))
            case .record(let record, let data): next = (record, data)
            case .waitForExtents: return waitForExtents(op)
            }
            let bytes = next.data.reduce(0) { $0 + $1.range.count }
            guard hasUserRoom(next.record, dataBytes: bytes, isResumed: isResumed) else {
                waitingForRoom.append { [unowned self] in self.record(op, isResumed: true) }
                reclaimTarget = journal.end
                return
            }
            let lsn = append(next.record, data: next.data)
            op.request.lsn = max(op.request.lsn, lsn)
            recorded(op, next.record, lsn)
        }
    }

    enum Step {
        case done
        /// The rest of a partial granule is here now: no patch, but an image of it.
        case merge
        /// Too many patches already: this one waits for the store.
        case ask
        /// There are too many zero extents already: this one waits for the store.
        case waitForExtents
        case record(Record, [DataPiece])
    }

    private func nextStep(_ op: WriteOp) -> Step {
        if op.isWholeTrim { return trimStep(op) }
        if op.newSlot != nil || !op.direct.isEmpty { return .record(.map(mapRecord(op)), []) }
        guard let slot = state.slot(of: op.block) else {
            preconditionFailure("a part is recorded without a slot")
        }
        if let run = op.journaled.intersection(op.zeros).runs.first {
            return .record(
                .zero(ZeroRecord(slot: UInt32(slot), block: op.block, granules: run)), [])
        }
        if let run = op.journaled.runs.first { return dataRecord(op, slot, run) }
        if let granule = op.unmerged.runs.first?.lowerBound { return patchStep(op, slot, granule) }
        return .done
    }

    private func dataRecord(_ op: WriteOp, _ slot: Int, _ run: Range<Int>) -> Step {
        let size = geometry.granuleSize
        let granules = run.prefix(roomChunk / size)
        let from = op.place(granules.lowerBound, geometry).lowerBound
        let data = DataRecord(
            slot: UInt32(slot), block: op.block, firstGranule: granules.lowerBound,
            crcs: op.crcs(of: GranuleSet(granules)), dataPosition: 0)
        return .record(.data(data), [DataPiece(op.buffer, from..<from + granules.count * size)])
    }

    /// Part of a granule whose rest is not here: acknowledged as a patch, never waiting for the
    /// store, unless the ring holds too many of them (I9).
    private func patchStep(_ op: WriteOp, _ slot: Int, _ granule: Int) -> Step {
        if !source(slot, op.block, granule).isMissing { return .merge }
        let user = op.userBytes(granule, geometry)
        let from = op.place(granule, geometry).lowerBound
        let payload = AlignedBuffer.zeroed((user.count + 4095) & ~4095)
        payload.mutableSlice(0..<user.count)
            .copyMemory(from: op.buffer.slice(from + user.lowerBound..<from + user.upperBound))
        if let older = state.patch(op.block, granule) {
            let all = Patch.union(older.ranges + [user])
            if all == [0..<geometry.granuleSize] {
                op.complete(granule, from: older.buffer.bytes, geometry, seeds)
                return nextStep(op)
            }
            if all.count > Self.patchRangesMax { return .ask }
        } else if state.patchCount >= geometry.ring.patchesMax {
            return .ask
        }
        var patch = PatchRecord(
            slot: UInt32(slot), block: op.block, granule: granule, ranges: [user], crc: 0)
        patch.crc = patch.checksum(payload.slice(0..<user.count), geometry, seeds)
        return .record(.patch(patch), [DataPiece(payload, 0..<payload.count)])
    }

    private static var patchRangesMax: Int { 32 }

    private func mapRecord(_ op: WriteOp) -> MapRecord {
        let crcs = op.crcs(of: op.direct)
        let old = state.slot(of: op.block)
        guard let newSlot = op.newSlot else {
            let slot = UInt32(old ?? 0)
            return MapRecord(
                slot: slot, block: op.block, flags: [.extend, .keepBase], granules: op.direct,
                crcs: crcs)
        }
        var flags: MapRecord.Flags = []
        if let old {
            flags.insert(.keepBase)
            if state.slots.isZeroBase(old) { flags.insert(.zeroBase) }
        } else if isZeroWithoutSlot(op.block) {
            flags.insert(.zeroBase)
        }
        return MapRecord(
            slot: UInt32(newSlot), block: op.block, flags: flags,
            oldSlot: old.map { UInt32($0) } ?? Record.noSlot,
            base: absent.contains(op.block) ? .absent : .unknown, granules: op.direct, crcs: crcs)
    }

    /// Bookkeeping right after a record of a part was applied.
    private func recorded(_ op: WriteOp, _ record: Record, _ lsn: LSN) {
        switch record {
        case .map(let map):
            op.direct = GranuleSet()
            active[op.block]?.directBusy = GranuleSet()
            op.newSlot = nil
            op.target = (Int(map.slot), state.incarnation(Int(map.slot)))
            noteTouched(
                op.block,
                map.flags.contains(.extend) ? map.granules : .all(geometry.granulesPerBlock))
            if map.oldSlot != Record.noSlot {
                noteOverwritten(op.block, in: Int(map.oldSlot))
                noteFreed(Int(map.oldSlot), lsn: lsn)
            } else if map.flags.contains(.extend) {
                noteOverwritten(op.block, in: Int(map.slot))
            }
            absent.remove(op.block)
            noteAdoptedLate(op.block)
            isVerified[Int(map.slot)] = true
            noteUse(Int(map.slot))
        case .data(let data):
            noteTouched(op.block, GranuleSet(data.granules))
            for granule in data.granules { op.journaled.remove(granule) }
            noteOverwritten(op.block, in: Int(data.slot))
        case .patch(let patch):
            op.unmerged.remove(patch.granule)
            // A fill must not name the granule over the patch; a later answer is merged with it.
            active[op.block]?.fillOvertaken.insert(patch.granule)
            noteOverwritten(op.block, in: Int(patch.slot))
            // The rest is asked for at once, so that patches stay few.
            fetch(op.block, for: .patch)
        case .zero(let zero):
            noteTouched(zero.block, zero.granules.map { GranuleSet($0) } ?? .all(op.granules.count))
            if let granules = zero.granules {
                op.journaled = op.journaled.subtracting(GranuleSet(granules))
            } else {
                op.isPlaced = true
            }
            noteOverwritten(op.block, in: Int(zero.slot))
        case .zeroRange(let zero):
            op.isPlaced = true
            return noteTrimmed(zero.blocks)
        case .clean, .evict, .intent, .epoch, .cleanRange:
            break
        }
        overtake(op.block)
        queueDirty(op.block)
    }

    /// The user has written over what the slot held. If that was never compared with the store, it
    /// has to be before the block replaces what is there.
    private func noteOverwritten(_ block: UInt64, in slot: Int) {
        if !isVerified[slot] { uncertain.insert(block) }
        isVerified[slot] = true
    }

    /// A part has all its records, or has failed: the next one of the block may begin.
    func complete(_ op: WriteOp, _ error: VolumeError?) {
        if let activity = active[op.block], activity.writer === op {
            activity.directBusy = GranuleSet()
            activity.writer = activity.queuedWrites.popFirst()
            if let next = activity.writer { prepare(next) } else { dropIfIdle(op.block) }
        }
        finish(op, error)
    }

    /// Counts the part as done; the last one sends the answer off when its LSN is written (I3).
    func finish(_ op: WriteOp, _ error: VolumeError?) {
        if let slot = op.newSlot {
            op.newSlot = nil
            if poison == nil { returnSlot(slot) }
        }
        endTurn(op)
        if configuration.policy.isSynchronous { op.request.blocks.append(op.block) }
        finishPart(of: op.request, error)
    }

    func finishPart(of request: WriteRequest, _ error: VolumeError?) {
        if let error, request.error == nil { request.error = error }
        request.partsLeft -= 1
        guard request.partsLeft == 0 else { return }
        if poison != nil || request.lsn <= journal.written {
            if let poison { answer(request, poison) } else { acknowledge(request) }
        } else {
            acks.append(request)
        }
    }
}
