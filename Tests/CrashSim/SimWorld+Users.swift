import BlockCache
import CacheFile
import FileIO
import Journal
import Simulation

extension SimWorld {
    var volumeSize: Int { plan.volumeBlocks * plan.blockSize }

    /// Content that no other write has: stamped with a number in every 8 bytes.
    func content(_ count: Int) -> [UInt8] {
        writeCount += 1
        var bytes = [UInt8](repeating: 0, count: count)
        let stamp = writeCount &* 0x9E37_79B9_7F4A_7C15
        bytes.withUnsafeMutableBytes { target in
            for index in 0..<count / 8 {
                target.storeBytes(
                    of: stamp &+ UInt64(index), toByteOffset: index * 8, as: UInt64.self)
            }
            for index in count / 8 * 8..<count {
                target[index] = UInt8(truncatingIfNeeded: writeCount) | 1
            }
        }
        return bytes
    }

    func startUser() {
        // Reads make fills, which have to meet every branch of recovery.
        if hasPad || hasMove, random.chance(70) { return startRead() }
        let choice = random.below(100)
        if choice < plan.readPercent {
            startRead()
        } else if choice < plan.readPercent + plan.syncPercent {
            startSync()
        } else if random.chance(plan.trimPercent) {
            startTrim()
        } else {
            startWrite()
        }
    }

    // MARK: Writes

    private func startWrite() {
        if random.chance(10), !recentWrites.isEmpty {
            // The same bytes again, as a program does after a crash: dead groups of the journal
            // must not come alive when their slot bytes happen to be right again.
            let again = random.pick(recentWrites)
            write(again.bytes, at: again.offset)
            return
        }
        let range = writeRange()
        if random.chance(6), range.count % Oracle.cellSize == 0 {
            coverage.hit(.wroteZeros)
            write([UInt8](repeating: 0, count: range.count), at: range.lowerBound)
            return
        }
        write(content(range.count), at: range.lowerBound)
    }

    private func writeRange() -> Range<Int> {
        let size = plan.blockSize
        // A few hot blocks, so that writes meet.
        let hot = random.chance(50) ? min(3, plan.volumeBlocks) : plan.volumeBlocks
        let isSame = random.chance(25)
        if !isSame { lastBlock = random.below(hot) }
        // What is being sent becomes old.
        if plan.givesUpOvertaken, random.chance(15), let block = underWay.min() {
            lastBlock = Int(block)
        }
        let start = lastBlock * size
        if random.chance(plan.wholePercent) {
            coverage.hit(.wroteBlocks)
            return start..<start + size
        }
        switch random.below(5) {
        case 0, 1:
            let granule = geometry.granuleSize
            let first = random.below(geometry.granulesPerBlock)
            let count = random.within(1...geometry.granulesPerBlock - first)
            coverage.hit(.wroteGranules)
            return start + first * granule..<start + (first + count) * granule
        case 2, 3:
            let from = random.below(size - 1)
            coverage.hit(.wroteBytes)
            return start + from..<start + from + random.within(1...min(size - from, 6000))
        default:
            let from = random.below(size / 512) * 512
            let end = min(volumeSize, start + from + random.within(1...2 * size / 512) * 512)
            if (start + from) / size != (end - 1) / size { coverage.hit(.wroteAcross) }
            return start + from..<end
        }
    }

    /// Hands a write to the engine, as the volume does.
    @discardableResult
    func write(_ bytes: [UInt8], at offset: Int) -> UserWrite {
        let user = UserWrite(offset: offset, bytes: bytes)
        let request = begin(user)
        let size = plan.blockSize
        let granule = geometry.granuleSize
        let end = offset + bytes.count
        let blocks = offset / size...(end - 1) / size
        request.partsLeft = blocks.count
        if recentWrites.count == 6 { recentWrites.removeFirst() }
        recentWrites.append((bytes, offset))
        var ops: [WriteOp] = []
        for block in blocks {
            let low = max(offset, block * size) - block * size
            let high = min(end, (block + 1) * size) - block * size
            let granules = low / granule..<(high + granule - 1) / granule
            let buffer = AlignedBuffer(granules.count * granule)
            let first = granules.lowerBound * granule
            let from = block * size + low - offset
            buffer.mutableSlice(low - first..<high - first)
                .copyBytes(from: bytes[from..<from + high - low])
            let op = WriteOp(
                block: UInt64(block), granules: granules, buffer: buffer,
                userRange: low - first..<high - first, request: request, geometry, engine.seeds)
            user.unrecorded[UInt64(block)] = GranuleSet(granules)
            ops.append(op)
        }
        note("write \(offset)..<\(end)")
        for op in ops {
            engine.write(op)
            takeWork()
        }
        return user
    }

    func begin(_ user: UserWrite) -> WriteRequest {
        let request = WriteRequest(parts: 1) { [unowned self] in answered(user, $0) }
        writes[ObjectIdentifier(request)] = user
        keptRequests.append(request)
        usersRunning += 1
        writesWaiting += 1
        return request
    }

    /// Whose part of a block is being recorded.
    func writer(of block: UInt64) -> UserWrite? {
        engine.active[block]?.writer.flatMap { writes[ObjectIdentifier($0.request)] }
    }

    private func answered(_ user: UserWrite, _ error: VolumeError?) {
        if user.isDone { broken("a write was answered twice") }
        user.isDone = true
        usersRunning -= 1
        writesWaiting -= 1
        note("answer to write at \(user.offset): \(error?.message ?? "done")")
        if let error {
            if error.kind == .damaged || error.kind == .io, !foundDamage(.writeRefused) {
                broken("write: \(error.message)")
            }
            if error.kind == .poisoned, !hasFault { broken("poisoned: \(error.message)") }
            return
        }
        if engine.poison != nil { broken("R9: a write was acknowledged after the file failed") }
        if !user.unrecorded.values.allSatisfy(\.isEmpty) {
            broken("a write was acknowledged before all of it had records")
        }
        if user.lastLSN > oracle.written {
            broken("I3: LSN \(user.lastLSN) acknowledged, written is \(oracle.written)")
        }
        if user.isTrim { checkTrimmed(user) }
        oracle.acknowledged = max(oracle.acknowledged, user.lastLSN)
    }

    // MARK: Reads

    private func startRead() {
        let count = random.chance(30) ? random.within(1...3000) : random.within(1...8) * 512
        let limit = max(1, volumeSize - count)
        let offset = random.chance(50) ? random.below(limit) : random.below(limit) / 512 * 512
        // Half of those that could be.
        read(offset..<min(volumeSize, offset + count), mayHit: oracle.assigned % 2 == 0)
    }

    /// - Parameter mayHit: What is in a slot may be read from there, without the engine.
    func read(_ range: Range<Int>, mayHit: Bool = false) {
        coverage.hit(.reads)
        let size = plan.blockSize
        let granule = geometry.granuleSize
        let low = range.lowerBound / granule * granule
        let high = (range.upperBound + granule - 1) / granule * granule
        let blocks = low / size...(high - 1) / size
        let known = oracle.assigned
        let buffer = AlignedBuffer(high - low)
        let place = range.lowerBound - low..<range.upperBound - low
        usersRunning += 1
        if mayHit, blocks.count == 1,
            let hit = engine.beginHit(
                UInt64(blocks.lowerBound), low % size / granule..<(high - 1) % size / granule + 1)
        {
            let user = UserHit(
                hit: hit, block: UInt64(blocks.lowerBound), buffer: buffer, range: range,
                place: place, since: known)
            takeWork()
            pending.append(PendingItem(.hit(user)))
            return
        }
        let request = ReadRequest(
            buffer: buffer, range: place, parts: blocks.count
        ) { [unowned self] result in finished(range, since: known, result) }
        for block in blocks {
            let from = max(low, block * size)
            let to = min(high, (block + 1) * size)
            let granules = (from - block * size) / granule..<(to - block * size) / granule
            engine.read(
                ReadPart(
                    block: UInt64(block), granules: granules, targetOffset: from - low,
                    request: request))
            takeWork()
        }
    }

    /// A damaged one is left to those who look further.
    func hitDone(_ user: UserHit, isGood: Bool) {
        if isGood {
            let reply = ReadReply(buffer: user.buffer, range: user.place)
            return finished(user.range, since: user.since, .success(reply))
        }
        usersRunning -= 1
        read(user.range)
    }

    private func finished(
        _ range: Range<Int>, since lsn: LSN, _ result: Result<ReadReply, VolumeError>
    ) {
        usersRunning -= 1
        switch result {
        case .success(let reply):
            if !oracle.isPlausible(reply.bytes, at: range.lowerBound, since: lsn) {
                broken("read of \(range) gave bytes that were never current since LSN \(lsn)")
            }
        case .failure(let error):
            if error.kind == .store || error.kind == .poisoned && hasFault { return }
            if error.kind == .damaged, foundDamage(.readRefused) { return }
            broken("read of \(range): \(error.message)")
        }
    }

    // MARK: fsync

    func startSync() {
        coverage.hit(.fsyncs)
        let promised = oracle.acknowledged
        usersRunning += 1
        note("fsync of LSN \(promised)")
        engine.sync { [unowned self] error in
            usersRunning -= 1
            note("fsync answered: \(error?.message ?? "done")")
            if error != nil {
                if !hasFault { broken("fsync: \(error?.message ?? "")") }
                return
            }
            if engine.poison != nil { broken("R9: an fsync succeeded after the file failed") }
            if promised > oracle.durable {
                broken("R2: fsync promised LSN \(promised), durable is \(oracle.durable)")
            }
            oracle.synced = max(oracle.synced, promised)
        }
    }

    // MARK: Size

    func startResize() {
        if random.chance(10) { disk.inject(.fail(.noSpace), .reserve) }
        // To and fro, so that blocks have to move.
        let most = geometry.slotCount > plan.slots && random.chance(70) ? plan.slots : 40
        resize(to: random.within(8...most))
    }

    func resize(to slots: Int) {
        note("\(slots) slots wanted, has \(geometry.slotCount)")
        slotsWanted = slots
        engine.resize(slots: slots)
        takeWork()
    }

    /// Counts a change of size that has come to its end.
    func noteSize() {
        if case .switching = engine.resizeStage { return }
        let slots = geometry.slotCount
        if slots != knownSlots { coverage.hit(slots > knownSlots ? .grew : .shrank) }
        knownSlots = slots
    }
}
