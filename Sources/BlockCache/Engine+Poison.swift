// The end of all acknowledging. docs/format.md, I17 and I19.

import CacheFile
import FileIO

extension Engine {
    /// The first write-side error ends all acknowledging; the object stays failed (I17, I19).
    func fail(_ error: FileError) {
        guard poison == nil else { return }
        let failure = VolumeError(
            .poisoned, "the cache file failed (\(error.message)); nothing more is acknowledged")
        poison = failure
        statistics.isPoisoned = true
        markPoisoned()
        work.append(.log(LogLine(level: .error, text: failure.message)))
        while let request = acks.popFirst() { answer(request, failure) }
        var waiting = remoteSyncs.map(\.reply)
        remoteSyncs = []
        while let waiter = syncs.popFirst() { waiting.append(waiter.reply) }
        for done in waiting { reply { done(failure) } }
        for activity in active.values { abandonWrites(activity, failure) }
        abandonTrims(failure)
        waitingForSlot.removeAll()
        flow.waiting.removeAll()
        waitingForRoom.removeAll()
        waitingInReserve.removeAll()
        for waiting in waitingToDrop {
            for part in waiting.fetch.readers { finish(part, failure) }
        }
        waitingToDrop = []
    }

    /// Says so in the file, for whoever looks at it next, if that can still be written. It changes
    /// nothing else: what recovery makes of the file is the same without (I17).
    private func markPoisoned() {
        if case .writingSuperblock = checkpointStage { return }
        if case .superblockWritten = checkpointStage { return }
        work.append(.markPoisoned(checkpointer.writes(checkpointer.poisoned)))
    }

    private func abandonWrites(_ activity: BlockActivity, _ failure: VolumeError) {
        if let op = activity.writer { finish(op, failure) }
        activity.writer = nil
        while let op = activity.queuedWrites.popFirst() { finish(op, failure) }
        activity.fetch?.writer = nil
    }
}
