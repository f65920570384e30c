// Blocks that somebody else has changed in the store while they were dirty here. The local content
// stays, readable and writable, and is never uploaded until it is said which of the two counts.

import BlockStore
import CacheFile
import Journal

/// What is done with conflicts.
public enum ConflictPolicy: String, Sendable, CaseIterable {
    /// The content here replaces that in the store.
    case local
    /// The content here is given up.
    case remote
}

extension Engine {
    /// A block is in conflict since an earlier mount.
    func adoptConflict(_ block: UInt64) {
        if configuration.conflictPolicy != nil { unresolved.append(block) }
    }

    func becomeConflict(_ upload: Upload, over version: ObjectVersion, isResumed: Bool = false) {
        let block = upload.block
        guard poison == nil, let slot = state.slot(of: block) else { return end(upload) }
        let record = Record.clean(CleanRecord(slot: UInt32(slot), block: block, .conflict))
        guard hasReserve(for: record, isResumed: isResumed) else {
            return waitInReserve { [unowned self] in
                becomeConflict(upload, over: version, isResumed: true)
            }
        }
        append(record)
        uncertain.remove(block)
        failureCounts[block] = nil
        confirmations[block] = nil
        statistics.conflicts += 1
        let isKept = configuration.conflictPolicy == nil
        let text =
            "block \(block): changed in the store by somebody else and here as well; "
            + (isKept ? "kept here, not uploaded" : "resolved as --resolveConflicts says")
        log(isKept ? .error : .warning, text)
        if !isKept { unresolved.append(block) }
        // Whatever becomes of it: what was written is not in the store, as those who wait would
        // be told when the upload ends.
        failRemoteSyncs(block, VolumeError(.store, text))
        end(upload)
    }

    // MARK: Policy

    /// Resolves what the policy decides.
    func pumpConflicts() {
        guard poison == nil, finalStage == .running, !unresolved.isEmpty,
            let policy = configuration.conflictPolicy
        else { return }
        let blocks = unresolved
        unresolved = []
        for block in blocks where isInConflict(block) {
            // Until it is none any more: the store may fail on the way.
            unresolved.append(block)
            begin(policy, block)
        }
    }

    private func begin(_ policy: ConflictPolicy, _ block: UInt64) {
        switch policy {
        case .remote: end(block, .remote)
        case .local:
            // In the queue it rests after a failure.
            guard active[block] == nil, !queuedDirty.contains(block),
                uploadsRunning < configuration.uploadsMax
            else { return }
            // It replaces what is there now: that is asked for first.
            let upload = Upload(block: block, sinceMs: now)
            activity(block).upload = upload
            uploadsRunning += 1
            settle(upload)
        }
    }

    func isInConflict(_ block: UInt64) -> Bool {
        state.slot(of: block).map { state.slots.rawState($0) == SlotState.conflict.rawValue }
            ?? false
    }

    func isToBecomeLocal(_ block: UInt64) -> Bool {
        configuration.conflictPolicy == .local && isInConflict(block)
    }

    /// The store has said what the content here is to replace.
    func resolveLocally(_ upload: Upload, over version: ObjectVersion) {
        end(upload)
        end(upload.block, .local(version))
    }

    // MARK: Resolution

    /// Which of the two contents of a block in conflict counts.
    package enum Resolution {
        /// The local one; it replaces this version.
        case local(ObjectVersion)
        /// The store's; the local one is given up.
        case remote
    }

    /// Ends a conflict. Nothing happens when the block has none, or is in use.
    package func resolve(_ block: UInt64, _ resolution: Resolution) {
        end(block, resolution)
        pump()
    }

    private func end(_ block: UInt64, _ resolution: Resolution) {
        guard poison == nil, let slot = state.slot(of: block),
            state.slots.state(slot) == .conflict, active[block] == nil, canCarveOut(block),
            journal.hasRoom(recordBytes: 64, dataBytes: 0, reserved: true)
        else { return }
        switch resolution {
        case .local(let version):
            append(
                .clean(
                    CleanRecord(slot: UInt32(slot), block: block, asOf: 0, base: Base(version))))
            // Somebody was there before this was decided, not since.
            leftBehind.remove(block)
            queueDirty(block)
        case .remote:
            let record = CleanRecord(slot: UInt32(slot), block: block, .remote)
            dropBlock(.clean(record), slot: slot, block: block)
        }
    }
}
