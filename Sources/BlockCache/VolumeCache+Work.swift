import BlockStore
import CacheFile
import FileIO
import Journal

extension VolumeCache {
    /// Carries out work and what follows from it, until nothing quick is left. Blocks on the
    /// cache file; on the store only in a lane's own thread.
    func carryOut(_ first: [Work], isLane: Bool) {
        guard !first.isEmpty else { return }
        var queue = first
        var next = 0
        // A lane's thread was woken for these; what follows goes the usual ways.
        if isLane {
            queue += performTogether(first)
            next = first.count
        }
        var deletions: [Work] = []
        var destages: [Work] = []
        var flush: Work?
        while true {
            guard next < queue.count else {
                post(&destages, backgroundLane)
                post(&deletions, uploadLane)
                // Last of all: a disk may take long, and nothing else that is here needs it.
                guard let last = flush else { break }
                flush = nil
                queue += perform(last)
                continue
            }
            let work = queue[next]
            next += 1
            switch work {
            case .fetch(let task): fetchLane.post(task)
            case .hurry(let task, let urgency): fetchLane.hurry(task, urgency)
            case .upload(let task) where task.upload.isOfExtent && store.deletedTogether > 1:
                deletions.append(work)
                if deletions.count == store.deletedTogether { post(&deletions, uploadLane) }
            case .upload, .settle: uploadLane.post(work)
            case .survey: surveyLane.post(work)
            case .destage: destages.append(work)
            case .checkpoint, .markPoisoned, .move, .reserve, .truncate: backgroundLane.post(work)
            case .read(let task):
                // Nobody waits for a snapshot here.
                if case .snapshot = task.purpose {
                    snapshotLane.post(work)
                } else {
                    queue += perform(work)
                }
            case .flush:
                precondition(flush == nil, "one flush at a time")
                flush = work
            case .writeGroup, .writeSlot, .goOn, .reply, .log: queue += perform(work)
            }
            if next > 256 {
                queue.removeFirst(next)
                next = 0
            }
        }
    }

    /// For one thread, together: it is woken once, and tells the engine once.
    private func post(_ works: inout [Work], _ lane: WorkLane) {
        if !works.isEmpty { lane.post(works) }
        works = []
    }

    private func performTogether(_ works: [Work]) -> [Work] {
        if case .destage = works[0] { return destageTogether(works) }
        return works.count == 1 ? perform(works[0]) : deleteTogether(works)
    }

    private func destageTogether(_ works: [Work]) -> [Work] {
        let done = works.compactMap { work -> Engine.Destaged? in
            guard case .destage(let task) = work else { return nil }
            runner.run(task.plan)
            let isGood = task.plan.error == nil && task.plan.badGranules.isEmpty
            return (task, isGood ? put(task.writes, destagedSlots) : nil)
        }
        return event { $0.destaged(done) }
    }

    /// Deletions of trimmed blocks, with one call of the store.
    private func deleteTogether(_ works: [Work]) -> [Work] {
        let tasks = works.compactMap { work -> UploadTask? in
            guard case .upload(let task) = work else { return nil }
            return task
        }
        let answers = store.delete(tasks.map(\.block))
        return event { engine in
            for (task, answer) in zip(tasks, answers) { engine.uploaded(task, answer) }
        }
    }

    /// Does one piece of work and tells the engine. Returns what the engine wants next.
    private func perform(_ work: Work) -> [Work] {
        switch work {
        case .writeGroup(let group, let offset):
            let error = attempt { () throws(FileError) in
                try file.write(group.imagePieces, at: offset, .cached)
                try startRingWriteBack(offset, group.header?.byteCount ?? 0)
            }
            return event { $0.groupWritten(group, error) }
        case .flush(let all):
            let error = attempt { () throws(FileError) in
                if all { try file.flushAll() } else { try file.flush() }
            }
            return event { $0.flushed(error) }
        case .writeSlot(let write):
            let error = put(write.writes, writtenSlots)
            return event { $0.slotWritten(write, error) }
        case .read(let task):
            runner.run(task.plan)
            return event { $0.planDone(task) }
        case .destage: return destageTogether([work])
        case .move(let task):
            runner.run(task.plan)
            let error = task.isReadable ? put(task.writes, destagedSlots) : nil
            return event { $0.moved(task, error) }
        case .reserve(let task):
            task.carryOut(file)
            return event { $0.reserved(task) }
        case .truncate(let size):
            let error = attempt { () throws(FileError) in try file.truncate(to: size) }
            return event { $0.truncated(error) }
        case .checkpoint(let writes):
            let error = attempt { () throws(FileError) in
                for write in writes {
                    try file.write(write.buffer.bytes, at: write.offset, .cached)
                }
            }
            return event { $0.checkpointWritten(error) }
        case .markPoisoned(let writes):
            _ = attempt { () throws(FileError) in
                for write in writes {
                    try file.write(write.buffer.bytes, at: write.offset, .cached)
                }
                try file.flush()
            }
            return []
        case .fetch(let task):
            let answer = task.ask(store)
            return event { $0.fetched(task, answer) }
        case .hurry(let task, let urgency):
            fetchLane.hurry(task, urgency)
            return []
        case .upload(let task):
            let answer = send(task)
            return event { $0.uploaded(task, answer) }
        case .settle(let task):
            let answer = lookUp(task)
            return event { $0.settled(task, answer) }
        case .survey(let task):
            return survey(task)
        case .goOn(let trim):
            return event { $0.goOn(trim) }
        case .reply(let reply):
            reply()
            return []
        case .log(let line):
            switch line.level {
            case .info: logger.info("\(line.text)")
            case .warning: logger.warning("\(line.text)")
            case .error: logger.error("\(line.text)")
            }
            return []
        }
    }

    /// Every few MiB of the ring, so that a late flush does not find all of them.
    private func startRingWriteBack(_ offset: Int, _ count: Int) throws(FileError) {
        let unit = 1 << 20
        let first = offset / unit
        let last = (offset + count) / unit
        if last > first {
            try file.writeBack((last - first) * unit, at: first * unit)
        }
    }

    private func attempt(_ body: () throws(FileError) -> Void) -> FileError? {
        do { try body() } catch { return error }
        return nil
    }

    /// Slot writes go through the page cache: a direct write would hold the file's lock in the
    /// kernel until the medium has answered, and journal writes would queue behind it. Write-back
    /// begins soon, so that little is left for the next flush.
    private func put(
        _ writes: [(bytes: UnsafeRawBufferPointer, offset: Int)], _ batch: WriteBackBatch
    ) -> FileError? {
        attempt { () throws(FileError) in
            for (bytes, offset) in writes { try file.write(bytes, at: offset, .cached) }
            for range in batch.add(writes.map { $0.offset..<$0.offset + $0.bytes.count }) {
                try file.writeBack(range.count, at: range.lowerBound)
            }
        }
    }

    // MARK: Store

    private func survey(_ task: SurveyTask) -> [Work] {
        do throws(StoreError) {
            switch task.scope {
            case .page(let range):
                let answer = try store.listed(range)
                return event { $0.surveyed(task, .success(answer)) }
            case .part(let part):
                try store.list(part) { blocks in
                    var goesOn = false
                    carryOut(event { goesOn = $0.surveyedSome(task, blocks) }, isLane: false)
                    return goesOn
                }
                return event { $0.surveyedPart(task, nil) }
            }
        } catch {
            return event { engine in
                switch task.scope {
                case .page: engine.surveyed(task, .failure(error))
                case .part: engine.surveyedPart(task, error)
                }
            }
        }
    }

    private func send(_ task: UploadTask) -> Result<StoreOutcome, StoreError> {
        do throws(StoreError) {
            if task.isZero {
                return .success(try store.delete(task.block, replacing: task.replacing))
            }
            let hints = PutHints(digest: task.digest, overtaken: task.upload.overtaken)
            return .success(
                try store.put(task.block, task.buffer.bytes, replacing: task.replacing, hints))
        } catch {
            return .failure(error)
        }
    }

    private func lookUp(_ task: SettleTask) -> Result<Settled, StoreError> {
        do throws(StoreError) {
            guard task.wantsContent else {
                return .success(Settled(version: try store.head(task.block), content: nil))
            }
            let buffer = AlignedBuffer(store.blockSize)
            let version = try store.get(task.block, into: buffer.mutableBytes)
            let content = version == .absent ? nil : buffer.bytes
            return .success(Settled(version: version, content: content))
        } catch {
            return .failure(error)
        }
    }
}

extension Engine {
    /// Whether time alone can bring new work.
    var hasTimedWork: Bool {
        !dirtyQueue.isEmpty || !announcedRetries.isEmpty || !otherRetries.isEmpty
            || unsyncedSinceMs != nil
            || journal.sealed < journal.lastRecordLSN || state.slots.hasDirtyPages
            || resizeStage.isEmptying || !uploadsAnnounced.isEmpty || isSomebodyWaiting
            || !state.zeros.isEmpty || survey.isBusy || !unresolved.isEmpty
    }

    /// Every block is in the store and nothing is under way.
    var isDrained: Bool {
        (blocksLeft == heldBlocks + heldExtents || configuration.isReadOnly)
            && uploadsRunning == 0
    }

    /// Blocks that the store has to be told of.
    var blocksLeft: Int { state.dirtySlots + Int(state.zeros.blockCount) }

    func report(to phases: PhaseFile) {
        let length = UInt64(geometry.ringLength)
        phases.set(.commit, journal.isWriting || journal.isFlushing)
        phases.set(.flush, journal.isFlushing)
        phases.set(.destage, destagesRunning > 0)
        phases.set(.checkpoint, !checkpointStage.isIdle)
        phases.set(.wrap, diskTail / length != journal.end / length)
        phases.set(.upload, uploadsRunning > 0)
    }
}
