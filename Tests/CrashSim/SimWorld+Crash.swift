import BlockCache
import CacheFile
import FileIO
import Journal
import Simulation

extension SimWorld {
    static let kinds: [CrashKind] =
        [.kill, .kill] + PowerCut.allCases.map { .cut($0) }
        + CrashKind.Region.allCases.map { .keepOnly($0) }

    /// What random probes pick from: those that lose slot writes and keep records, more often, since
    /// only they show what recovery makes of a lost fill.
    private static let likely: [CrashKind] =
        kinds + Array(repeating: .keepOnly(.ring), count: 4)
        + Array(repeating: .keepOnly(.ringAndDirectory), count: 4)

    /// Whether recovery would meet a PAD.
    var hasPad: Bool { lastPad.map { $0 >= engine.journal.tail } ?? false }

    /// And a MOVE.
    var hasMove: Bool { lastMove.map { $0 >= engine.journal.tail } ?? false }

    /// The crashes to try after a step. Recovery meets a PAD only where the ring goes round, a MOVE
    /// only where the file has become smaller, and either together with a fill that is lost hardly
    /// ever: such moments count more.
    func probes(_ percent: Int) -> [CrashKind] {
        var kinds: [CrashKind] = []
        if hasPad || hasMove {
            kinds.append(.keepOnly(random.chance(50) ? .ring : .ringAndDirectory))
            // A fill that recovery has to look at: with each of its bytes there or not.
            if lastFill > engine.journal.sealed {
                kinds += [.keepOnly(.ring), .keepOnly(.ringAndDirectory), .cut(.torn)]
                if hasMove { kinds += [.cut(.torn), .cut(.perSector), .cut(.perSector)] }
            }
        }
        if random.chance(percent) { kinds.append(random.pick(Self.likely)) }
        return kinds
    }

    /// Takes one crash image of what is on the disk now and recovers it on a copy.
    func probe(_ kind: CrashKind) throws(Violation) {
        let image = crashed(kind, disk, &random)
        let hash = image.cache.contentHash
        coverage.sawImage(hash)
        countCrashPoint()
        if try isKnown(hash, floor: floor(kind)) { return }
        // After a failed flush the page cache may hold what the medium never will (D5): what a
        // second crash leaves is not the engine's promise.
        let again = hasFault ? 16 : random.below(16)
        let before = again < 3 ? image.copy() : nil
        let first = try recover(image, floor: floor(kind), "\(kind)")
        known[hash] = first.lsn
        switch again {
        case 0:
            guard let before else { break }
            try probeCutRecovery(before, kind, first.lsn)
        case 1:
            // Recovered and crashed again before anything was written.
            try probeAgain(image, first.lsn)
        case 2:
            guard let before else { break }
            try probeRot(before, first.lsn)
        default:
            // A dropped fill shows its consequences only in the session that follows.
            let isRare = !first.cache.droppedFills.isEmpty
            if isRare, !hasFault, !isStopping, random.chance(30) { try resume(first, image) }
        }
    }

    /// Whether this image was recovered before; throws when more has been promised since.
    func isKnown(_ hash: UInt64, floor: LSN) throws(Violation) -> Bool {
        guard let lsn = known[hash] else { return false }
        if lsn >= floor { return true }
        throw Violation("an image known to give R = \(lsn), but LSN \(floor) was promised")
    }

    private func probeAgain(_ image: SimDisk, _ lsn: LSN) throws(Violation) {
        coverage.hit(.secondRecovery)
        let kind = random.pick(Self.kinds)
        let next = crashed(kind, image, &random)
        coverage.sawImage(next.cache.contentHash)
        _ = try recover(next, floor: lsn, ceiling: lsn, "\(kind) after recovery")
    }

    /// Crashes between the steps of recovery: flush, (mate, mate, flush,) copy, copy, flush, and those
    /// of a checkpoint where fills were dropped.
    func probeCutRecovery(
        _ image: SimDisk, _ kind: CrashKind, _ lsn: LSN
    ) throws(Violation) {
        for step in 1...20 {
            let cut = image.copy()
            cut.crashAfter(step)
            if (try? SessionStart.open(cut, identity: plan.identity, info: WorldPlan.info)) != nil {
                return
            }
            coverage.hit(.cutInRecovery)
            for next in Self.kinds {
                let again = crashed(next, cut, &random)
                let hash = again.cache.contentHash
                coverage.sawImage(hash)
                // Before recovery's own flush a power cut may still take what a kill had left.
                var least = lsn
                if step == 1, case .kill = kind {
                    if case .kill = next {} else { least = floor(next) }
                }
                if try isKnown(hash, floor: least) { continue }
                let what = "\(kind), \(next) in step \(step) of recovery"
                known[hash] = try recover(again, floor: least, ceiling: lsn, what).lsn
            }
        }
    }

    /// One bit of a directory page, the root or a superblock rots: the same contents, or a refusal.
    private func probeRot(_ image: SimDisk, _ lsn: LSN) throws(Violation) {
        let isPage = random.chance(60)
        let offset: Int
        let geometry: Geometry
        do { geometry = try CacheFiles.inspect(image).geometry } catch {
            throw Violation("before one bit rots: \(error.message)")
        }
        if isPage {
            offset = geometry.pageOffset(random.below(geometry.pageCount), copy: random.below(2))
        } else {
            offset = geometry.superblockOffset(random.below(4))
        }
        let byte = random.below(isPage ? 4096 : 544)
        image.flip(bit: random.below(8), at: offset + byte)
        do {
            _ = try CacheFiles.inspect(image)
        } catch {
            // Both copies of the newest superblock cannot be lost by one bit; a page can.
            if isPage, error.message.hasPrefix("PAGE_BAD") { return }
            throw Violation("one bit at \(offset) + \(byte): \(error.message)")
        }
        _ = try recover(image, floor: lsn, ceiling: lsn, "one bit at \(offset)")
    }

    /// Crashes for good and goes on with what recovery makes of it.
    func crashAndContinue(_ kind: CrashKind) throws(Violation) {
        note("CRASH \(kind), floor \(floor(kind))")
        let next = crashed(kind, disk, &random)
        coverage.sawImage(next.cache.contentHash)
        countCrashPoint()
        var recovered = try recover(next, floor: floor(kind), "\(kind)")
        var last = next
        if random.chance(30) {
            // The first recovery was for nothing.
            let second = random.pick(Self.kinds)
            last = crashed(second, next, &random)
            recovered = try recover(
                last, floor: recovered.lsn, ceiling: recovered.lsn, "\(second) after recovery")
        }
        try resume(recovered, last)
    }

    func resume(_ recovered: Recovered, _ next: SimDisk) throws(Violation) {
        coverage.hit(.continued)
        coverage.hit(.checkpoints, engine.snapshotStatistics().checkpoints)
        oracle.truncate(to: recovered.lsn)
        lastPad = nil
        lastMove = nil
        lastFill = 0
        disk = next
        hasFault = false
        engine = Engine(cache: recovered.cache, configuration: plan.engine, now: now)
        for block in 0..<UInt64(plan.volumeBlocks) where random.chance(5) { touch(block) }
        attach()
        try compare(engine.state, disk, recovered.lsn, "after the mount")
    }

    /// A failed file says so, where the superblock could still be written.
    func checkMarkedPoisoned() throws(Violation) {
        guard isMarkedPoisoned else { return }
        let image = crashed(.kill, disk, &random)
        do {
            let state = try CacheFiles.inspect(image).superblock.state
            if state != Superblock.State.poisoned.rawValue {
                throw Violation("a failed file is in state \(state)")
            }
        } catch let violation as Violation {
            throw violation
        } catch {
            throw Violation("a failed file: \(error)")
        }
    }

    // MARK: Coming to rest

    /// Lets everything under way end. The store answers meanwhile.
    func drain(_ what: String, while isWanted: () -> Bool) throws(Violation) {
        isStoreDown = false
        var left = 30_000
        while isWanted() || !pending.isEmpty {
            left -= 1
            stepNumber += 1
            if left == 0 {
                throw Violation("step \(stepNumber): stuck while \(what): \(stuckReport())")
            }
            if pending.isEmpty || random.chance(5) {
                pass(UInt64(random.pick([1, 50, 700])))
            } else {
                advance(random.pick(pending))
            }
            settle()
            if let violation { throw violation }
        }
    }

    private func stuckReport() -> String {
        let journal = engine.journal.usedBytes
        return "\(usersRunning) users, \(pending.count) pending, \(engine.uploadsRunning) uploads, "
            + "\(engine.state.dirtySlots) dirty, \(engine.state.zeros.items), \(journal) of \(geometry.ringLength) ring bytes, "
            + "assigned \(engine.journal.assigned) written \(engine.journal.written) durable "
            + "\(engine.journal.durable) sealed \(engine.journal.sealed)"
    }

    /// A clean stop, with crash images on the way, and what it must leave.
    func stopCleanly(uploads: Bool? = nil) throws(Violation) {
        isStopping = true
        if usersRunning > 0 { try drain("users finish") { usersRunning > 0 } }
        let uploads = uploads ?? random.chance(70)
        engine.beginStop()
        settle()
        if uploads {
            try drain("uploading all") {
                engine.state.dirtySlots > 0 || !engine.state.zeros.isEmpty
            }
        } else {
            coverage.hit(.stopsWithDirty)
        }
        engine.beginFinalCheckpoint()
        settle()
        var left = 30_000
        while !engine.isAtRest {
            left -= 1
            if left == 0 { throw Violation("stuck while stopping: \(stuckReport())") }
            if pending.isEmpty { pass(50) } else { advance(random.pick(pending)) }
            settle()
            if let violation { throw violation }
            if random.chance(10) { try probe(random.pick(Self.kinds)) }
        }
        try checkStopped()
    }

    private func checkStopped() throws(Violation) {
        coverage.hit(.cleanStops)
        let image = disk.afterPowerCut(.dropAll, &random)
        let found: Inspection
        do { found = try CacheFiles.inspect(image) } catch {
            throw Violation("after a clean stop: \(error.message)")
        }
        if found.needsReplay { throw Violation("a clean stop left the file marked as mounted") }
        // Patches, intents and zero extents of a store that never answered stay in the ring, and
        // nothing else does.
        let isKept =
            engine.state.patchCount + engine.state.intentBlocks + engine.state.zeros.count > 0
        if found.ringBytesUsed != 0, !isKept {
            throw Violation("a clean stop left \(found.ringBytesUsed) bytes in the ring")
        }
        if let finding = found.findings.first(where: {
            $0.severity != .info && $0.code != "S3_CONFLICT"
        }) {
            throw Violation("after a clean stop: \(finding.code) \(finding.message)")
        }
        if oracle.acknowledged > oracle.durable {
            throw Violation("a clean stop left LSNs volatile")
        }
        coverage.sawImage(image.cache.contentHash)
        let recovered = try recover(image, floor: oracle.cutFloor, "clean stop")
        try resume(recovered, image)
    }
}
