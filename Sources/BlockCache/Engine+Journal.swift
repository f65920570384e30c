// Records into groups, groups onto the medium, and who waits for what. docs/format.md, "Group
// commit" and "The LSN ladder".

import CacheFile
import FileIO
import Journal

/// An fsync waiting for the cache file.
struct SyncWaiter {
    let lsn: LSN
    let reply: @Sendable (VolumeError?) -> Void
}

/// An fsync, or a write, waiting for the store.
final class RemoteSync {
    var blocks: Set<UInt64>
    /// Blocks to be deleted.
    var zeros: [Range<UInt64>]
    let reply: @Sendable (VolumeError?) -> Void

    init(
        blocks: Set<UInt64>, zeros: [Range<UInt64>],
        reply: @escaping @Sendable (VolumeError?) -> Void
    ) {
        self.blocks = blocks
        self.zeros = zeros
        self.reply = reply
    }
}

extension Engine {
    // MARK: Recording

    /// Gives a record its LSN and applies it. The caller has made sure of room.
    @discardableResult
    func append(_ record: Record, data: [DataPiece] = []) -> LSN {
        precondition(poison == nil)
        var placed = record
        if !data.isEmpty {
            // Known only now: where in the group the data will lie.
            let bytes = data.reduce(0) { $0 + $1.range.count }
            placed.setDataPosition(
                journal.nextDataIndex(
                    recordBytes: record.encodedSize(geometry), dataBytes: bytes))
        }
        let (lsn, group, dataIndex) = journal.append(placed.encode(geometry), data: data)
        trace?(record, lsn)
        do {
            try state.apply(
                record, lsn: lsn, epoch: journal.epoch, group: group, dataIndex: dataIndex,
                payload: data.first?.buffer.bytes)
        } catch {
            preconditionFailure("record contradicts the state: \(error.what)")
        }
        if unsyncedSinceMs == nil { unsyncedSinceMs = now }
        if gatheringSinceMs == nil { gatheringSinceMs = now }
        return lsn
    }

    /// Whether a record of the user fits. Newcomers wait behind those who already wait.
    func hasUserRoom(_ record: Record, dataBytes: Int, isResumed: Bool) -> Bool {
        (isResumed || waitingForRoom.isEmpty)
            && journal.hasRoom(
                recordBytes: record.encodedSize(geometry), dataBytes: dataBytes, reserved: false)
    }

    /// Whether a record that makes room or order fits into the reserve. Newcomers wait behind those
    /// who already wait.
    /// - Parameter isResumed: it has waited.
    func hasReserve(for record: Record, isResumed: Bool) -> Bool {
        (isResumed || waitingInReserve.isEmpty)
            && journal.hasRoom(
                recordBytes: record.encodedSize(geometry), dataBytes: 0, reserved: true)
    }

    /// Runs `resume` when the reserve has room again. What it knew may have changed by then.
    func waitInReserve(_ resume: @escaping () -> Void) {
        waitingInReserve.append(resume)
        reclaimTarget = journal.end
    }

    /// Runs those who waited for room, in order, as far as there is room for any record.
    func pumpRoom() {
        let largest = 1200
        if !waitingToDrop.isEmpty, journal.hasRoom(recordBytes: 64, dataBytes: 0, reserved: true) {
            let waiting = waitingToDrop
            waitingToDrop = []
            for one in waiting { verified(one.block, one.fetch, one.answer) }
        }
        while let next = waitingInReserve.first,
            journal.hasRoom(recordBytes: largest, dataBytes: 0, reserved: true)
        {
            waitingInReserve.removeFirst()
            next()
        }
        while let next = waitingForRoom.first,
            journal.hasRoom(
                recordBytes: largest, dataBytes: roomChunk, reserved: false)
        {
            waitingForRoom.removeFirst()
            next()
        }
    }

    /// Most data that one DATA record carries here.
    var roomChunk: Int {
        let granule = geometry.granuleSize
        let most = min(journal.dataBytesMax(recordBytes: 1200), geometry.blockSize, 1 << 20)
        return max(granule, most / granule * granule)
    }

    // MARK: Events

    package func groupWritten(_ group: JournalGroup, _ error: FileError?) {
        if let error { return fail(error) }
        guard poison == nil else { return }
        statistics.groups += 1
        journal.writeReturned(group)
        while let request = acks.first, request.lsn <= journal.written {
            acks.removeFirst()
            acknowledge(request)
        }
        pump()
    }

    package func flushed(_ error: FileError?) {
        if let error { return fail(error) }
        guard poison == nil else { return }
        statistics.flushes += 1
        journal.flushReturned()
        lastCommitMs = now
        unsyncedSinceMs = journal.durable < journal.lastRecordLSN ? now : nil
        while let waiter = syncs.first, waiter.lsn <= journal.durable {
            syncs.removeFirst()
            let done = waiter.reply
            reply { done(nil) }
        }
        checkpointFlushed(flushCovers)
        spaceFlushed()
        pump()
    }

    /// Everything acknowledged before becomes durable; `done` is called then. What else has been
    /// recorded and not written yet is nobody's promise, and not waited for.
    func syncLocal(_ done: @escaping @Sendable (VolumeError?) -> Void) {
        let lsn = min(journal.written, journal.lastRecordLSN)
        if lsn <= journal.durable { return reply { done(nil) } }
        // A group has one epoch.
        journal.closeOpen()
        journal.epoch += 1
        syncs.append(SyncWaiter(lsn: lsn, reply: done))
        durableWanted = max(durableWanted, lsn)
        pump()
    }

    func syncRemote(_ done: @escaping @Sendable (VolumeError?) -> Void) {
        var dirty: Set<UInt64> = []
        for slot in 0..<geometry.slotCount
        where state.slots.rawState(slot) == SlotState.dirty.rawValue {
            dirty.insert(state.slots.block(slot))
        }
        if state.conflictSlots > 0 {
            let failure = VolumeError(
                .store, "\(state.conflictSlots) blocks are in conflict with the store")
            return reply { done(failure) }
        }
        let zeros = state.zeros.items.filter { !isHeld($0) }.map(\.blocks)
        if dirty.isEmpty, zeros.isEmpty { return reply { done(nil) } }
        remoteSyncs.append(RemoteSync(blocks: dirty, zeros: zeros, reply: done))
        pump()
    }

    /// A block, or a range of zeros, has become clean: an fsync that waits for the store may be
    /// answered.
    func noteClean(_ block: UInt64?) {
        guard !remoteSyncs.isEmpty else { return }
        remoteSyncs.removeAll { waiter in
            if let block {
                waiter.blocks.remove(block)
            } else {
                waiter.zeros.removeAll { range in
                    state.zeros.overlapping(range).allSatisfy { isHeld($0) }
                }
            }
            if !waiter.blocks.isEmpty || !waiter.zeros.isEmpty { return false }
            let done = waiter.reply
            reply { done(nil) }
            return true
        }
    }

    /// A block will not get into the store: an fsync that waits for it has failed.
    func failRemoteSyncs(_ block: UInt64, _ failure: VolumeError) {
        remoteSyncs.removeAll { waiter in
            guard waiter.blocks.contains(block) else { return false }
            let done = waiter.reply
            reply { done(failure) }
            return true
        }
    }

    // MARK: Commit

    func answer(_ request: WriteRequest, _ error: VolumeError?) {
        reply { request.reply(error ?? request.error) }
    }

    /// Writes the next group, flushes when somebody waits, seals when somebody needs it.
    func pumpJournal() {
        if sealWanted > journal.sealed { wantSealed() }
        if isGroupWanted, let group = journal.nextWrite() {
            if !journal.hasOpen { gatheringSinceMs = nil }
            work.append(.writeGroup(group, offset: journal.offset(of: group)))
        }
        guard !journal.isFlushing else { return }
        let wanted =
            durableWanted > journal.durable && journal.written > journal.durable
            && (journal.written >= durableWanted || !journal.hasUnwritten)
        if wanted || sealNeedsFlush || checkpointStage.needsFlush || resizeStage.needsFlush {
            _ = journal.beginFlush()
            flushCovers = checkpointStage.flushPoint
            flushCoversSpace = resizeStage.needsFlush
            work.append(.flush(all: flushCoversSpace))
        }
    }

    /// Whether the next group is to be written now. What the uploader and the fills note nobody waits
    /// for: written each by the thread that noted it, they would keep the users' records waiting for
    /// threads that have much else to do.
    private var isGroupWanted: Bool {
        guard let since = gatheringSinceMs else { return true }
        return !acks.isEmpty || journal.hasClosed || durableWanted > journal.written
            || sealWanted > journal.sealed || now >= since + configuration.recordDelayMs
    }

    /// What is wanted has been written down, and only that: the flush that makes it durable before
    /// is asked for by `wantSealed`.
    private var sealNeedsFlush: Bool {
        sealWanted > journal.sealed && journal.pendingSeal >= sealTarget
            && journal.written > journal.durable
    }

    private var sealTarget: LSN { min(sealWanted, journal.lastRecordLSN) }

    /// Moves `sealed` up to `sealWanted`: first durable, then a group that says so, then a flush.
    private func wantSealed() {
        let target = sealTarget
        if journal.durable < target {
            durableWanted = max(durableWanted, target)
        } else if journal.pendingSeal < target, journal.appendSeal() {
            statistics.seals += 1
        }
    }

    func tickJournal() {
        guard poison == nil else { return }
        if let since = unsyncedSinceMs, now >= since + configuration.syncIntervalMs {
            durableWanted = max(durableWanted, journal.lastRecordLSN)
        }
        let rested = now >= lastCommitMs + configuration.sealDelayMs
        if rested, journal.durable >= journal.lastRecordLSN, journal.sealed < journal.lastRecordLSN
        {
            sealWanted = max(sealWanted, journal.lastRecordLSN)
        }
    }

    // MARK: Pins

    func pin(_ position: UInt64) { ringPins[position, default: 0] += 1 }

    func unpin(_ positions: [UInt64]) {
        for position in positions {
            guard let count = ringPins[position] else { preconditionFailure("not pinned") }
            ringPins[position] = count > 1 ? count - 1 : nil
        }
        if !positions.isEmpty { moveLimit() }
    }

    /// Ring bytes behind both the durable tail and every reader may be overwritten.
    func moveLimit() {
        let limit = min(diskTail, ringPins.keys.min() ?? diskTail)
        if limit > journal.tail { journal.setLimit(limit) }
    }
}
