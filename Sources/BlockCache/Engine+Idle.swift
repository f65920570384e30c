// Clean blocks that nobody has used for long (`cleanTimeoutMs`).

import CacheFile
import Journal

/// When slots were last used; empty unless a policy wants to know.
struct SlotUse {
    /// In units of 64 ms.
    var last: [UInt32] = []
    /// The next slot to be looked at.
    var hand = 0
}

extension Engine {
    private static var idleStepsMax: Int { 65536 }
    private var useTime: UInt32 { UInt32(truncatingIfNeeded: now / 64) }

    /// The content of a slot is used.
    func noteUse(_ slot: Int) {
        isReferenced[slot] = true
        if !slotUse.last.isEmpty { slotUse.last[slot] = useTime }
    }

    /// The content of a slot has moved.
    func moveUse(from: Int, to: Int) {
        isReferenced[to] = isReferenced[from]
        if !slotUse.last.isEmpty { slotUse.last[to] = slotUse.last[from] }
    }

    /// The file has more slots, or is just opened.
    func adoptSlotUse() {
        guard configuration.policy.cleanTimeoutMs > 0 else { return }
        let missing = isReferenced.count - slotUse.last.count
        if missing > 0 { slotUse.last += Array(repeating: useTime, count: missing) }
    }

    /// Looks at some slots, and evicts what has been unused for too long.
    func tickIdle() {
        let timeout = configuration.policy.cleanTimeoutMs
        guard timeout > 0, poison == nil, finalStage == .running, waitingInReserve.isEmpty
        else { return }
        let oldest = UInt32(truncatingIfNeeded: (timeout + 63) / 64)
        for _ in 0..<min(geometry.slotCount, Self.idleStepsMax) {
            let slot = slotUse.hand < geometry.slotCount ? slotUse.hand : 0
            slotUse.hand = slot + 1
            guard useTime &- slotUse.last[slot] >= oldest else { continue }
            guard evictIdle(slot) else { return }
        }
    }

    /// - Returns: False when there is no room to record that.
    private func evictIdle(_ slot: Int) -> Bool {
        guard state.slots.rawState(slot) == SlotState.clean.rawValue else { return true }
        let block = state.slots.block(slot)
        guard active[block] == nil, canCarveOut(block) else { return true }
        guard journal.hasRoom(recordBytes: 64, dataBytes: 0, reserved: true) else { return false }
        dropBlock(.evict(EvictRecord(slot: UInt32(slot), block: block)), slot: slot, block: block)
        statistics.evictions += 1
        return true
    }
}
