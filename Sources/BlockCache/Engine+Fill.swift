// Fills: putting the answers of the store into slots.

import BlockStore
import CacheFile
import FileIO
import Journal

extension Engine {
    /// Puts what the store gave into the block's slot, or into a free one if there is one; granules
    /// that the user has written, or is writing, stay as they are.
    func fill(_ block: UInt64, _ activity: BlockActivity, _ answer: Fetched) {
        guard poison == nil, !isStopping, !activity.isFilling else { return }
        guard let buffer = answer.buffer else { return fillAbsent(block, answer) }
        let all = GranuleSet.all(geometry.granulesPerBlock)
        let slot: Int
        let wanted: GranuleSet
        if let known = state.slot(of: block) {
            guard state.reuseLSN(known) <= journal.sealed, !activity.isDestaging,
                !state.slots.isZeroBase(known)
            else { return }
            slot = known
            var patched = GranuleSet()
            for patch in state.patched(block) { patched.insert(patch.granule) }
            wanted = answer.covered(of: geometry.granulesPerBlock)
                .subtracting(state.present(slot: known)).subtracting(activity.busy)
                .subtracting(patched)
        } else {
            // A writer is about to map the block: the fill would only be in its way.
            guard answer.isWhole, activity.writer == nil, waitingForSlot.isEmpty,
                let free = takeSlot()
            else { return }
            slot = free
            wanted = all
        }
        guard !wanted.isEmpty else { return }
        activity.isFilling = true
        activity.fillAnswer = answer
        activity.fillBusy = wanted
        activity.fillOvertaken = GranuleSet()
        beginIO(slot)
        work.append(
            .writeSlot(
                SlotWrite(
                    block: block, slot: slot, granules: wanted, buffer: buffer, firstGranule: 0,
                    purpose: .fill(answer), incarnation: state.incarnation(slot), geometry)))
    }

    /// The store has no such block: what is missing of a cached one is zeros from now on (I10).
    private func fillAbsent(_ block: UInt64, _ answer: Fetched) {
        // A patch that could not be merged yet lies over missing granules, not over zeros.
        guard let slot = state.slot(of: block), !state.slots.isZeroBase(slot),
            state.patched(block).isEmpty
        else { return }
        let missing = GranuleSet.all(geometry.granulesPerBlock).subtracting(
            state.present(slot: slot))
        guard !missing.isEmpty else { return }
        guard journal.hasRoom(recordBytes: 128, dataBytes: 0, reserved: true),
            waitingInReserve.isEmpty
        else { return }
        var flags: MapRecord.Flags = [.extend, .fill, .zeroBase]
        if !isBaseOpen(slot, block) { flags.insert(.keepBase) }
        append(
            .map(
                MapRecord(
                    slot: UInt32(slot), block: block, flags: flags, base: .absent,
                    granules: GranuleSet(), crcs: [])))
    }

    /// Whether an answer of the store may say what the block derives from: nothing has said it yet,
    /// and no upload of ours may have changed it since.
    private func isBaseOpen(_ slot: Int, _ block: UInt64) -> Bool {
        state.slots.base(slot).kind == .unknown && state.intents(of: block).isEmpty
    }

    /// The slot write of a fill has returned: its record names what no record has touched since.
    func fillWritten(_ write: SlotWrite, _ answer: Fetched) {
        endIO(write.slot)
        guard let activity = active[write.block] else {
            preconditionFailure("fill without a block")
        }
        let named = activity.fillBusy.subtracting(activity.fillOvertaken)
        activity.isFilling = false
        activity.fillAnswer = nil
        activity.fillBusy = GranuleSet()
        activity.fillOvertaken = GranuleSet()
        defer { dropIfIdle(write.block) }
        guard poison == nil else { return }
        let known = state.slot(of: write.block)
        let isFresh = state.slots.isFree(write.slot) && known == nil
        let isJoined = known == write.slot && state.incarnation(write.slot) == write.incarnation
        let hasRoom = journal.hasRoom(recordBytes: 1200, dataBytes: 0, reserved: true)
        guard !named.isEmpty, hasRoom, waitingInReserve.isEmpty, isFresh || isJoined else {
            if state.slots.isFree(write.slot), state.incarnation(write.slot) == write.incarnation,
                !isJoined
            {
                returnSlot(write.slot)
            }
            return
        }
        let whole = isFresh && named.count == geometry.granulesPerBlock
        guard whole || isJoined else { return returnSlot(write.slot) }
        appendFill(write, named, answer, isFresh: isFresh)
    }

    private func appendFill(
        _ write: SlotWrite, _ named: GranuleSet, _ answer: Fetched, isFresh: Bool
    ) {
        let size = geometry.granuleSize
        var crcs: [UInt32] = []
        named.forEach { granule in
            let bytes = write.buffer.slice(granule * size..<(granule + 1) * size)
            crcs.append(
                GranuleChecksum.of(bytes, block: write.block, granule: granule, geometry, seeds))
        }
        var flags: MapRecord.Flags = isFresh ? .fill : [.extend, .fill]
        let isKept = !isFresh && !isBaseOpen(write.slot, write.block)
        if isKept { flags.insert(.keepBase) }
        append(
            .map(
                MapRecord(
                    slot: UInt32(write.slot), block: write.block, flags: flags,
                    base: isKept ? .unknown : Base(answer.version), granules: named, crcs: crcs)))
        isVerified[write.slot] = true
        noteUse(write.slot)
    }

    /// A slot write has returned.
    package func slotWritten(_ write: SlotWrite, _ error: FileError?) {
        if let error { fail(error) }
        switch write.purpose {
        case .user(let op): userSlotWritten(op, write)
        case .fill(let answer): fillWritten(write, answer)
        }
        pump()
    }
}
