import BlockCache
import BlockStore
import CacheFile
import FileIO
import Journal
import Simulation

extension SimWorld {
    /// Lets one item get on: a write returns, a plan runs, or the engine hears of the end.
    func advance(_ item: PendingItem) {
        if !item.tokens.isEmpty {
            let token = item.tokens.remove(at: random.below(item.tokens.count))
            do { try disk.complete(token) } catch { item.error = item.error ?? error }
            if !item.tokens.isEmpty { return }
        }
        switch item.kind {
        case .group(let group):
            if item.error == nil {
                oracle.groupReturned(first: group.firstLSN, last: group.lastLSN)
            }
            note("group \(group.firstLSN)...\(group.lastLSN) returned")
            end(item) { engine.groupWritten(group, item.error) }
        case .flush:
            guard let token = item.flush else { return end(item) {} }
            do { try disk.endFlush(token) } catch { item.error = error }
            if item.error == nil { oracle.flushReturned() }
            note("flush returned")
            end(item) { engine.flushed(item.error) }
        case .slot(let write):
            note("slot \(write.slot) of block \(write.block) returned")
            end(item) { engine.slotWritten(write, item.error) }
        case .checkpoint:
            note("checkpoint writes returned")
            end(item) { engine.checkpointWritten(item.error) }
        case .read(let task): advance(item, task)
        case .destage(let task): advance(item, task)
        case .fetch(let task): advance(item, task)
        case .upload(let task): advance(item, task)
        }
    }

    private func end(_ item: PendingItem, _ tell: () -> Void) {
        pending.removeAll { $0 === item }
        tell()
    }

    private var runner: PlanRunner {
        PlanRunner(file: disk, geometry: geometry, seeds: engine.seeds)
    }

    private func advance(_ item: PendingItem, _ task: PlanTask) {
        if !item.isPerformed {
            runner.run(task.plan)
            item.isPerformed = true
            if !task.plan.badGranules.isEmpty {
                broken("block \(task.plan.block): granules \(task.plan.badGranules.runs) read bad")
            }
            if random.chance(50) { return }
        }
        end(item) { engine.planDone(task) }
    }

    private func advance(_ item: PendingItem, _ task: DestageTask) {
        if !item.isPerformed {
            runner.run(task.plan)
            item.isPerformed = true
            if task.plan.error == nil, task.plan.badGranules.isEmpty {
                note("destage of block \(task.plan.block) into slot \(task.slot)")
                put(item, task.writes(geometry).map { ([$0.bytes], $0.offset) })
                return
            }
            broken("block \(task.plan.block): destage reads bad granules")
        }
        note("destaged block \(task.plan.block)")
        end(item) { engine.destaged(task, item.error) }
    }

    // MARK: Store

    private func fails() -> Bool {
        if isStoreDown || random.chance(plan.storeFailPercent) {
            coverage.hit(.storeFailures)
            return true
        }
        return false
    }

    private func advance(_ item: PendingItem, _ task: FetchTask) {
        if !item.isPerformed {
            item.isPerformed = true
            item.fetched = ask(task)
            if random.chance(50) { return }
        }
        guard let result = item.fetched else { return }
        note("fetched block \(task.block) (\(task.kind))")
        end(item) { engine.fetched(task, result) }
    }

    private func ask(_ task: FetchTask) -> Result<Fetched, StoreError> {
        if fails() { return .failure(StoreError(.temporary, "simulated failure")) }
        let version = store.version(task.block)
        switch task.kind {
        case .head:
            coverage.hit(.verifications)
            return .success(Fetched(version: version, buffer: nil))
        case .get:
            coverage.hit(.storeGets)
            guard let object = store.objects[task.block] else {
                return .success(Fetched(version: .absent, buffer: nil))
            }
            let buffer = AlignedBuffer(plan.blockSize)
            buffer.mutableBytes.copyBytes(from: object.bytes)
            return .success(Fetched(version: version, buffer: buffer))
        }
    }

    private func advance(_ item: PendingItem, _ task: UploadTask) {
        if !item.isPerformed {
            item.isPerformed = true
            item.uploaded = send(task)
            if random.chance(60) { return }
        }
        guard let result = item.uploaded else { return }
        note("uploaded block \(task.block)")
        end(item) { engine.uploaded(task, result) }
    }

    /// The store takes a block. I8: only what is durable in the file.
    private func send(_ task: UploadTask) -> Result<ObjectVersion, StoreError> {
        let failure = Result<ObjectVersion, StoreError>.failure(
            StoreError(.temporary, "simulated failure"))
        let asOf = task.upload.asOf
        if asOf > oracle.cutFloor {
            broken("I8: block \(task.block) sent as of \(asOf), durable is \(oracle.cutFloor)")
        }
        if let offset = oracle.firstDifference(
            task.buffer.bytes, block: task.block, at: 0, asOf: asOf)
        {
            broken("block \(task.block) sent with other content at \(offset) than as of \(asOf)")
        }
        if fails() {
            guard random.chance(50) else { return failure }
            coverage.hit(.lostReplies)
            perform(task)
            return failure
        }
        return .success(perform(task))
    }

    @discardableResult
    private func perform(_ task: UploadTask) -> ObjectVersion {
        let asOf = task.upload.asOf
        known = [:]
        if task.isZero {
            coverage.hit(.storeDeletes)
            store.delete(task.block, asOf: asOf)
            return .absent
        }
        coverage.hit(.storePuts)
        return store.put(task.block, Array(task.buffer.bytes), asOf: asOf)
    }
}
