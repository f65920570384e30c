// Where blocks go: free slots, eviction, and the order in which freed slots come back (R4).

import CacheFile
import FileIO
import Journal

extension Engine {
    /// Takes stock after recovery: free slots, and dirty blocks for the uploader.
    func adoptSlots() {
        adoptZeros()
        for slot in stride(from: geometry.slotCount - 1, through: 0, by: -1) {
            if state.slots.isFree(slot) {
                freeSlots.append(UInt32(slot))
                continue
            }
            switch state.slots.state(slot) {
            case .dirty:
                isVerified[slot] = true
                adoptDirty(state.slots.block(slot))
            case .conflict: adoptConflict(state.slots.block(slot))
            default: isVerified[slot] = configuration.trustsCache
            }
        }
    }

    /// A slot nobody uses, or nil. Slots never used go first, in ascending order, so that a new
    /// file's extents stay long.
    func takeSlot() -> Int? {
        if freeSlots.isEmpty { reviveSlots() }
        guard let slot = freeSlots.popLast() else { return nil }
        precondition(slotIO[Int(slot)] == 0 && state.reuseLSN(Int(slot)) <= journal.sealed)
        precondition(state.slots.isFree(Int(slot)))
        return Int(slot)
    }

    /// Gives back a slot that `takeSlot` gave and no record has named; a write into it may have
    /// happened, but no record names its bytes.
    func returnSlot(_ slot: Int) { release(UInt32(slot)) }

    /// A record has freed the slot.
    func noteFreed(_ slot: Int, lsn: LSN) {
        isVerified[slot] = false
        isReferenced[slot] = false
        pendingSlots.append((slot: slot, lsn: lsn))
    }

    /// Freed slots whose record is sealed and that no I/O uses become free.
    private func reviveSlots() {
        for _ in 0..<pendingSlots.count {
            guard let first = pendingSlots.first, first.lsn <= journal.sealed else { return }
            pendingSlots.removeFirst()
            if slotIO[first.slot] == 0 {
                release(UInt32(first.slot))
            } else {
                isSlotAwaited = true
                pendingSlots.append(first)
            }
        }
    }

    /// Whether there is a slot for every block of the disk and at least one more. Blocks that are
    /// written anew take turns with the spare ones, as those that they leave are sealed.
    var isRoomy: Bool {
        configuration.keepsAll && UInt64(usableSlots) > geometry.volumeBlocks
    }

    /// Slots kept free, so that a writer does not wait for the next ones to be sealed.
    var freeWanted: Int { max(1, min(usableSlots / 16, reserveMax)) }

    /// Blocks evicted together. Sealing them takes two flushes, so that few at a time would make
    /// the disk of the cache file flush all the time.
    var evictedTogether: Int { max(1, min(usableSlots / 6, reserveMax)) }

    /// A cache that has just a slot for every block of the disk is to hold nearly all of them; the
    /// spare ones of a larger one are all for those who write.
    private var reserveMax: Int {
        let spare = usableSlots - Int(geometry.volumeBlocks)
        return spare < 0 ? 1024 : max(64, spare)
    }

    /// Keeps a few slots free, and serves those who wait for one.
    func pumpSlots() {
        reviveSlots()
        while !freeSlots.isEmpty, let op = waitingForSlot.popFirst() {
            slotWaitSinceMs = now
            place(op)
        }
        let wantedAhead = fetchesAhead + (isSlotWantedAhead ? 1 : 0)
        let wanted = freeWanted + waitingForSlot.count + wantedAhead
        let coming = freeSlots.count + pendingSlots.count
        // Earlier than they are needed, so that flushes that others ask for seal them.
        if !isRoomy, coming < wanted + evictedTogether, isBatchReady {
            evict(max(wanted - coming, evictedTogether))
        }
        // Sealing takes two flushes: what was evicted is to be ready before it is needed. Where nothing
        // is evicted, spare slots come back with flushes that others ask for, or when half are gone.
        let least = isRoomy ? wanted - freeWanted / 2 : wanted + evictedTogether / 2
        if freeSlots.count < least, let last = pendingSlots.last, last.lsn > journal.sealed {
            sealWanted = max(sealWanted, last.lsn)
        }
    }

    /// Whether it is time to evict: enough blocks are clean, no more will soon be, or somebody has
    /// waited for them to gather.
    private var isBatchReady: Bool {
        state.cleanSlots >= evictedTogether || uploadsRunning == 0
            || !waitingForSlot.isEmpty && now >= slotWaitSinceMs + configuration.gatherMs
    }

    /// Joins those who wait for a slot.
    func queueForSlot(_ op: WriteOp) {
        if waitingForSlot.isEmpty { slotWaitSinceMs = now }
        waitingForSlot.append(op)
    }

    /// CLOCK over the slots: a clean block that was used since the last round gets another one.
    /// At the end nobody wants a slot, and the last checkpoint says where the log ends: nothing may
    /// be recorded beside it.
    private func evict(_ count: Int) {
        guard state.cleanSlots > 0, waitingInReserve.isEmpty, finalStage == .running else { return }
        var left = count
        let protected = configuration.policy.protectedBlocks
        let most = configuration.clockStepsMax * (protected > 0 ? 16 : 1)
        var steps = min(2 * geometry.slotCount, most)
        while left > 0, steps > 0, state.cleanSlots > 0 {
            steps -= 1
            clockMisses += 1
            let slot = clockHand
            clockHand = clockHand + 1 == geometry.slotCount ? 0 : clockHand + 1
            guard state.slots.rawState(slot) == SlotState.clean.rawValue else { continue }
            if isReferenced[slot] {
                isReferenced[slot] = false
                continue
            }
            let block = state.slots.block(slot)
            if block < protected, clockMisses <= 2 * geometry.slotCount { continue }
            guard active[block] == nil, canCarveOut(block) else { continue }
            let record = Record.evict(EvictRecord(slot: UInt32(slot), block: block))
            guard journal.hasRoom(recordBytes: 64, dataBytes: 0, reserved: true) else { return }
            dropBlock(record, slot: slot, block: block)
            streams.lost(block)
            statistics.evictions += 1
            if block >= protected { clockMisses = 0 }
            left -= 1
        }
        if left > 0, steps == 0 { statistics.evictionsCut += 1 }
    }

    /// Appends an EVICT of a whole clean block.
    func dropBlock(_ record: Record, slot: Int, block: UInt64) {
        let isAbsent = state.slots.base(slot) == .absent && isVerified[slot]
        let lsn = append(record)
        noteTouched(block, .all(geometry.granulesPerBlock))
        noteFreed(slot, lsn: lsn)
        noteSurveyed(block)
        if isAbsent { absent.insert(block) }
    }

    // MARK: I/O counts

    func beginIO(_ slot: Int) { slotIO[slot] += 1 }

    func endIO(_ slot: Int) {
        precondition(slotIO[slot] > 0)
        slotIO[slot] -= 1
    }

    /// A record names these granules of a block: answers and fills under way are older than it.
    func noteTouched(_ block: UInt64, _ granules: GranuleSet) {
        guard let activity = active[block] else { return }
        if let fetch = activity.fetch { fetch.overtaken = fetch.overtaken.union(granules) }
        if activity.isFilling {
            activity.fillOvertaken = activity.fillOvertaken.union(granules)
        }
    }
}
