// Reading ahead of those who read one block after the other.

import CacheFile

extension Engine {
    /// The user reads a block.
    /// - Returns: whether `pumpReadAhead` may have something to ask for now.
    func noteRead(_ block: UInt64) -> Bool {
        let step = streams.read(block)
        if let left = step.left, let slot = state.slot(of: left) {
            // Read once, from one end to the other: the first that may go, before what is read often.
            isReferenced[slot] = false
        }
        return step.isGoing
    }

    /// Most blocks that all streams together may be ahead: the rest of the cache is for others.
    private var aheadShare: Int { max(1, usableSlots / 4) }

    /// Asks for what comes next, as far as there are slots for it.
    func pumpReadAhead() {
        guard streams.windowMax > 0 else { return }
        isSlotWantedAhead = false
        guard !isStopping, !isStoreFailing, finalStage == .running else { return }
        while fetchesAhead < streams.windowMax, let block = streams.next(share: aheadShare) {
            if isWantedAhead(block) {
                guard state.slot(of: block) != nil || fetchesAhead < freeSlots.count else {
                    isSlotWantedAhead = true
                    if let last = pendingSlots.last { sealWanted = max(sealWanted, last.lsn) }
                    return
                }
                fetch(block, for: .readAhead)
                statistics.readAheadBlocks += 1
            }
            streams.pass(share: aheadShare)
        }
    }

    private func isWantedAhead(_ block: UInt64) -> Bool {
        if let activity = active[block],
            activity.fetch != nil || activity.writer != nil || activity.isFilling
        {
            return false
        }
        if let slot = state.slot(of: block) { return needsVerification(slot) }
        return !isZeroWithoutSlot(block)
    }

    /// The answer that is on its way into a fresh slot, for a reader who comes meanwhile; not when a
    /// record has touched the block since.
    func answerBeingFilled(_ block: UInt64) -> Fetched? {
        guard streams.windowMax > 0, state.slot(of: block) == nil, let activity = active[block],
            activity.fillOvertaken.isEmpty
        else { return nil }
        return activity.fillAnswer
    }

    /// The answer to a question of nobody but the read-ahead has found no slot.
    func dropIfUnread(_ block: UInt64, _ fetch: Fetch, _ answer: Fetched) {
        guard fetch.urgency == .readAhead, answer.buffer != nil, state.slot(of: block) == nil,
            active[block]?.isFilling != true
        else { return }
        statistics.readAheadDropped += 1
        streams.lost(block)
    }
}
