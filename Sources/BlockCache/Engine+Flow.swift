// Flow control: how many blocks may be dirty, and who waits. A write that makes a block dirty takes a
// turn first. Below 7/8 of the limit turns are free; above, they are spaced out, so that in the
// middle of what is left as many blocks become dirty as become clean. At the limit writers wait
// until a block is clean. None of this is ever an error.

import CacheFile
import FileIO

struct FlowState {
    /// Writes that wait for their turn, in order; each is the writer of its block.
    var waiting: Fifo<WriteOp> = Fifo()
    /// Turns taken by writes that are still under way.
    var taken = 0
    /// When the next turn is due, in microseconds.
    var nextUs: UInt64 = 0
}

extension Engine {
    /// Turns that time has passed by are made up for, as far as the timer is late.
    private static var lateUs: UInt64 { 20_000 }
    /// Longest pause between turns.
    private static var pauseMaxUs: UInt64 { 1_000_000 }
    /// The same while nothing is known of the store's speed.
    private static var blindPauseUs: UInt64 { 50_000 }

    /// Most dirty blocks there may be. Those in conflict keep their slots.
    var dirtyLimit: Int {
        let most = configuration.policy.dirtyMax
        let room = max(1, usableSlots - state.conflictSlots)
        return most > 0 ? min(most, room) : room
    }

    /// Whether the cache can fill up with dirty blocks. One with a slot for every block of the disk
    /// cannot: nobody is slowed down for it.
    private var canFillUp: Bool {
        configuration.policy.dirtyMax > 0 || UInt64(dirtyLimit) < geometry.volumeBlocks
    }

    var isSomebodyWaiting: Bool { !waitingForSlot.isEmpty || !flow.waiting.isEmpty }

    /// What the pressure of dirty blocks takes off the write delay: nothing when there are none, all
    /// of it at 90 % of what fits, or at the limit of the user.
    var hurryMs: UInt64 {
        guard configuration.policy.hasFlowControl, canFillUp else { return 0 }
        let full = max(1, min(dirtyLimit, (usableSlots - state.conflictSlots) * 9 / 10))
        let share = min(full, state.dirtySlots)
        return configuration.writeDelayMs * UInt64(share) / UInt64(full)
    }

    /// Whether a write may go on; else it waits for its turn.
    func takesTurn(_ op: WriteOp) -> Bool {
        if op.hasTurn || hasFreeTurn(op) { return true }
        if flow.waiting.isEmpty, mayTakeTurn() {
            giveTurn(op)
            return true
        }
        if finalStage != .running {
            complete(op, VolumeError(.stopped, "the volume is stopping"))
        } else {
            flow.waiting.append(op)
        }
        return false
    }

    /// Serves those whose turn it is.
    func pumpFlow() {
        while let op = flow.waiting.first, hasFreeTurn(op) || mayTakeTurn() {
            flow.waiting.removeFirst()
            giveTurn(op)
            place(op)
        }
    }

    /// A write is over: its block is counted among the dirty ones, or nothing came of it.
    func endTurn(_ op: WriteOp) {
        if op.hasTurn { flow.taken -= 1 }
        op.hasTurn = false
    }

    func abandonTurns(_ error: VolumeError) {
        while let op = flow.waiting.popFirst() { complete(op, error) }
    }

    private func giveTurn(_ op: WriteOp) {
        op.hasTurn = true
        flow.taken += 1
        flow.nextUs = max(flow.nextUs, now * 1000 - min(now * 1000, Self.lateUs)) + pauseUs
    }

    /// Whether the write makes no block dirty that was not, or nobody wants to know.
    private func hasFreeTurn(_ op: WriteOp) -> Bool {
        let policy = configuration.policy
        guard policy.hasFlowControl && canFillUp || policy.dirtyMax > 0 else { return true }
        guard let slot = state.slot(of: op.block) else { return false }
        return state.slots.rawState(slot) != SlotState.clean.rawValue
    }

    private func mayTakeTurn() -> Bool {
        if configuration.policy.dirtyMax > 0, state.dirtySlots + flow.taken >= dirtyLimit {
            return false
        }
        return !configuration.policy.hasFlowControl || flow.nextUs <= now * 1000 || pauseUs == 0
    }

    /// Until the next turn: twice the time the store takes for a block, times the share used of the
    /// last eighth.
    private var pauseUs: UInt64 {
        guard configuration.policy.hasFlowControl, canFillUp else { return 0 }
        let limit = dirtyLimit
        let free = limit - limit / 8
        let above = min(limit, state.dirtySlots + flow.taken) - free
        guard above > 0, limit > free else { return 0 }
        let speed = status.meter.bytesPerSecond(now)
        let blockUs = UInt64(geometry.blockSize) * 1_000_000 / UInt64(max(1, speed))
        let most = speed > 0 ? min(2 * blockUs, Self.pauseMaxUs) : Self.blindPauseUs
        return most * UInt64(above) / UInt64(limit - free)
    }
}
