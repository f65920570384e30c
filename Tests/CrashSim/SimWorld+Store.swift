import BlockCache
import BlockStore
import CacheFile
import FileIO
import Journal
import Simulation

/// A request whose sender has given up, on its way through the network.
struct LateRequest {
    let block: UInt64
    /// nil: a deletion.
    let bytes: [UInt8]?
    let asOf: LSN
    let replacing: ObjectVersion?
    /// It arrives by then or never.
    let deadline: UInt64
}

/// What the store does, and when it is heard of.
extension SimWorld {
    private func fails() -> Bool {
        if isStoreDown || random.chance(plan.storeFailPercent) {
            coverage.hit(.storeFailures)
            return true
        }
        return false
    }

    func advance(_ item: PendingItem, _ task: FetchTask) {
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
        if task.urgency == .readAhead { coverage.hit(.readAhead) }
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
            // Of another version than the one expected all is asked for.
            guard let part = task.part, task.expected ?? version == version else {
                buffer.mutableBytes.copyBytes(from: object.bytes)
                return .success(Fetched(version: version, buffer: buffer))
            }
            coverage.hit(.storePartGets)
            let size = geometry.granuleSize
            let bytes = part.lowerBound * size..<part.upperBound * size
            // What was not asked for is not what it should be.
            buffer.mutableBytes.initializeMemory(as: UInt8.self, repeating: 0xee)
            buffer.mutableSlice(bytes).copyBytes(from: object.bytes[bytes])
            return .success(Fetched(version: version, buffer: buffer, part: part))
        }
    }

    func advance(_ item: PendingItem, _ task: UploadTask) {
        if !item.isPerformed {
            item.isPerformed = true
            item.uploaded = send(task)
            if random.chance(60) { return }
        }
        guard var result = item.uploaded else { return }
        // Given up after the store had it, or before.
        if task.upload.overtaken.isSet, plan.givesUpOvertaken {
            coverage.hit(.overtaken)
            if case .success = result { coverage.hit(.overtakenStored) }
            result = .failure(StoreError(.overtaken, "newer bytes"))
        }
        note("uploaded block \(task.block): \(result)")
        underWay.remove(task.block)
        end(item) { engine.uploaded(task, result) }
    }

    func advance(_ item: PendingItem, _ task: SettleTask) {
        if !item.isPerformed {
            item.isPerformed = true
            item.settled = lookUp(task)
            if random.chance(50) { return }
        }
        guard let result = item.settled else { return }
        note("looked up block \(task.block)")
        end(item) { engine.settled(task, result) }
    }

    private func lookUp(_ task: SettleTask) -> Result<Settled, StoreError> {
        if fails() { return .failure(StoreError(.temporary, "simulated failure")) }
        coverage.hit(task.wantsContent ? .settledByContent : .settled)
        let version = store.version(task.block)
        guard task.wantsContent, let object = store.objects[task.block] else {
            return .success(Settled(version: version, content: nil))
        }
        return object.bytes.withUnsafeBytes {
            .success(Settled(version: version, content: $0))
        }
    }

    /// The store takes a block. I8: only what is durable in the file.
    private func send(_ task: UploadTask) -> Result<StoreOutcome, StoreError> {
        let failure = Result<StoreOutcome, StoreError>.failure(
            StoreError(.temporary, "simulated failure"))
        let asOf = task.upload.asOf
        if max(asOf, task.upload.intentLSN) > oracle.cutFloor {
            broken(
                "I8: block \(task.block) sent as of \(asOf), intent \(task.upload.intentLSN), "
                    + "durable is \(oracle.cutFloor)")
        }
        if let offset = oracle.firstDifference(
            task.buffer.bytes, block: task.block, at: 0, asOf: asOf)
        {
            broken("block \(task.block) sent with other content at \(offset) than as of \(asOf)")
        }
        if !underWay.insert(task.block).inserted { broken("two requests for block \(task.block)") }
        if task.upload.isOfExtent { coverage.hit(.extentDeletes) }
        let request = request(task)
        let canBeLate = plan.engine.storeLateMs > 0
        let isCutOff =
            plan.givesUpOvertaken && task.upload.overtaken.isSet && random.chance(25)
        if fails() || isCutOff {
            switch random.below(3) {
            case 0:
                coverage.hit(.lostReplies)
                _ = perform(request)
            case 1 where canBeLate: lateRequests.append(request)
            default: break
            }
            return failure
        }
        guard let version = perform(request) else {
            coverage.hit(.conditionsFailed)
            return .failure(StoreError(.conflict, "another version"))
        }
        let isRepeated = canBeLate && random.chance(10)
        if isRepeated { lateRequests.append(request) }
        return .success(StoreOutcome(version, mayArriveAgain: isRepeated))
    }

    func request(_ task: UploadTask) -> LateRequest {
        LateRequest(
            block: task.block, bytes: task.isZero ? nil : Array(task.buffer.bytes),
            asOf: task.upload.asOf, replacing: task.replacing,
            deadline: now + plan.engine.storeLateMs)
    }

    /// nil: the condition does not hold.
    func perform(_ request: LateRequest) -> ObjectVersion? {
        if let replacing = request.replacing, store.version(request.block) != replacing {
            return nil
        }
        known = [:]
        guard let bytes = request.bytes else {
            coverage.hit(.storeDeletes)
            store.delete(request.block, asOf: request.asOf)
            return .absent
        }
        coverage.hit(.storePuts)
        return store.put(request.block, bytes, asOf: request.asOf)
    }

    /// One of the late requests arrives.
    func landLate() {
        guard !lateRequests.isEmpty else { return }
        let request = lateRequests.remove(at: random.below(lateRequests.count))
        note("late request for block \(request.block) as of \(request.asOf) arrives")
        coverage.hit(.lateRequests)
        _ = perform(request)
    }

    /// Somebody else rewrites the object.
    func touch(_ block: UInt64) {
        store.touch(block)
        foreign.insert(block)
    }

    /// Somebody decides about the blocks in conflict.
    func resolveConflicts() {
        for block in 0..<UInt64(plan.volumeBlocks) {
            guard let slot = engine.state.slot(of: block),
                engine.state.slots.state(slot) == .conflict
            else { continue }
            let isSettled = !lateRequests.contains { $0.block == block }
            let takesRemote = isSettled && random.chance(50)
            engine.resolve(block, takesRemote ? .remote : .local(store.version(block)))
        }
    }
}
