import BlockCache
import BlockStore
import CacheFile
import FileIO
import Journal
import Simulation

// Uploads: what is announced, sent, answered, lost, late, or somebody else's.

extension SimWorld {
    /// Uploads begin a little after a write, and each alone.
    static func uploading(_ change: (inout WorldPlan) -> Void = { _ in }) throws -> SimWorld {
        try quiet {
            $0.engine.writeDelayMs = 10
            $0.engine.intentDelayMs = 0
            change(&$0)
        }
    }

    /// The upload of a block, announced and sent.
    func sent() throws(Violation) -> PendingItem {
        try finishAll(except: [.upload])
        wait(20)
        try finishAllChecked(except: [.upload])
        return try first(.upload)
    }

    /// The store takes the request, or it is still on its way; the sender hears of an error.
    func loseAnswer(_ item: PendingItem, isLate: Bool) throws(Violation) {
        guard case .upload(let task) = item.kind else { throw Violation("scenario: no upload") }
        let request = request(task)
        if isLate { lateRequests.append(request) } else { _ = perform(request) }
        item.isPerformed = true
        item.uploaded = .failure(StoreError(.temporary, "no answer"))
        try finish(item)
    }

    func isDirty(_ block: UInt64) -> Bool {
        engine.state.slot(of: block).map { engine.state.slots.state($0) == .dirty } ?? false
    }

    func isInConflict(_ block: UInt64) -> Bool {
        engine.state.slot(of: block).map { engine.state.slots.state($0) == .conflict } ?? false
    }
}

extension Scenario {
    /// PUT v1, write v2, PUT returns, CLEAN, PUT v2; a fill between snapshot and CLEAN.
    func s10() throws {
        for honorsConditions in [false, true] {
            let world = try SimWorld.uploading {
                $0.engine.storeHonorsConditions = honorsConditions
            }
            world.writeGranules(0, 0..<1)
            let first = try world.sent()
            world.writeGranules(0, 1..<2)
            world.readGranules(0, 0..<4)
            try world.finishAllChecked(except: [.upload])
            try world.finish(first)
            try world.require(world.isDirty(0), "the newer write is not in the store")
            let second = try world.sent()
            try world.finish(second)
            try world.finishAllChecked()
            try world.require(!world.isDirty(0), "the block is clean")
            try world.require(world.coverage[.conditionsFailed] == 0, "no conflict with oneself")
        }
    }

    /// PUT landed, reply lost, laps of the ring, kill, mount; with known and unknown base.
    func s11() throws {
        for (stored, honorsConditions) in [(0, false), (0, true), (100, false), (100, true)] {
            let world = try SimWorld.uploading {
                $0.storedPercent = stored
                $0.ringBytes = 96 << 10
                $0.engine.storeHonorsConditions = honorsConditions
            }
            world.writeBlock(0)
            try world.loseAnswer(world.sent(), isLate: false)
            world.isStoreDown = true
            for round in 0..<40 {
                world.writeGranules(1 + round % 3, 0..<2)
                try world.fsync()
                if round % 4 == 3 { world.askForCheckpoint() }
                try world.finishAll()
            }
            try world.require(world.engine.state.intents(of: 0).count == 1, "still announced")
            try world.require(world.coverage[.carriedIntent] > 0, "the intent was carried")
            try world.crashAndContinue(.kill)
            try world.require(world.engine.state.intents(of: 0).count == 1, "still announced")
            try world.drain("all is uploaded") { world.engine.state.dirtySlots > 0 }
            try world.checkAll()
        }
    }

    /// Write, INTENT, no flush: nothing may be sent.
    func s12() throws {
        let world = try SimWorld.uploading()
        world.writeBlock(0)
        try world.finishAll()
        world.wait(20)
        try world.finishAllChecked(except: [.flush])
        try world.require(world.coverage[.announced] == 1, "the upload is announced")
        try world.require(
            !world.pending.contains { world.isKind($0, .upload) }, "nothing is sent before it")
        try world.finish(.flush)
        try world.require(
            world.pending.contains { world.isKind($0, .upload) }, "then it is sent")
        try world.finishAllChecked()
    }

    /// No conditions: PUT v1 is not answered, PUT v2 succeeds, eviction is wanted, v1 arrives.
    func s22() throws {
        let world = try SimWorld.uploading { $0.engine.storeLateMs = 5000 }
        world.writeBlock(0)
        try world.loseAnswer(world.sent(), isLate: true)
        world.writeBlock(0)
        let first = world.store.asOf(0)
        let second = try world.sent()
        try world.finish(second)
        try world.finishAll()
        let newest = world.store.asOf(0)
        try world.require(newest > first, "v2 is in the store")
        try world.require(world.isDirty(0), "v2 is not clean while v1 may arrive")
        for block in 1..<10 { world.readGranules(block, 0..<1) }
        try world.finishAllChecked()
        world.landLate()
        try world.require(world.store.asOf(0) < newest, "v1 has replaced it")
        try world.checkAll()
        try world.crashAndContinue(.kill)
        world.wait(6000)
        try world.drain("all is uploaded") { world.engine.state.dirtySlots > 0 }
        try world.require(world.store.asOf(0) == newest, "v2 is in the store again")
        try world.checkAll()
    }

    /// Somebody else changes the object under a dirty block: kept here, never sent, until it is
    /// said which counts.
    func c1() throws {
        for takesRemote in [false, true] {
            let world = try SimWorld.uploading { $0.engine.storeHonorsConditions = true }
            world.readGranules(0, 0..<4)
            try world.finishAll()
            world.writeGranules(0, 1..<2)
            try world.finishAll()
            world.touch(0)
            world.wait(20)
            try world.finishAllChecked()
            try world.require(world.isInConflict(0), "the block is in conflict")
            try world.require(world.store.asOf(0) == 0, "the store's content is untouched")
            try world.crashAndContinue(.kill)
            world.writeGranules(0, 2..<3)
            world.writeBlock(0)
            world.wait(1000)
            try world.finishAllChecked()
            try world.require(world.isInConflict(0), "the block is still in conflict")
            try world.require(world.store.asOf(0) == 0, "the store's content is untouched")
            world.engine.resolve(
                0, takesRemote ? .remote : .local(world.store.version(0)))
            world.settle()
            try world.finishAllChecked()
            try world.drain("all is uploaded") { world.engine.state.dirtySlots > 0 }
            try world.require(!world.isInConflict(0), "the conflict is over")
            try world.require((world.store.asOf(0) == 0) == takesRemote, "the right one counts")
            world.readGranules(0, 0..<4)
            try world.finishAllChecked()
        }
    }

    /// A blind write that did not arrive, and somebody else's that did: the intent knows what the
    /// block was to replace (I22).
    func c2() throws {
        let world = try SimWorld.uploading { $0.engine.storeHonorsConditions = true }
        world.writeBlock(0)
        let upload = try world.sent()
        upload.isPerformed = true
        upload.uploaded = .failure(StoreError(.temporary, "not sent"))
        try world.finish(upload)
        world.touch(0)
        world.wait(1000)
        try world.finishAllChecked()
        try world.require(world.isInConflict(0), "the block is in conflict")
        try world.require(world.store.asOf(0) == 0, "the store's content is untouched")
    }

    /// A fill is lost in a crash, but not what it said of the object; somebody changes that. The
    /// next fill must not pass the change off as what the block derives from.
    func c3() throws {
        let world = try SimWorld.quiet { $0.engine.storeHonorsConditions = true }
        world.writeGranules(0, 0..<1)
        try world.finishAll()
        try world.fsync()
        world.readGranules(0, 2..<3)
        try world.finishAll(except: [.flush])
        let image = world.crashed(.keepOnly(.ring), world.disk, &world.random)
        let recovered = try world.recover(image, floor: world.oracle.cutFloor, "ring only")
        try world.require(!recovered.cache.droppedFills.isEmpty, "the fill is dropped")
        try world.resume(recovered, image)
        world.touch(0)
        world.readGranules(0, 2..<3)
        try world.finishAllChecked()
        world.engine.beginStop()
        world.settle()
        try world.drain("all is decided") { world.engine.state.dirtySlots > 0 }
        try world.require(world.isInConflict(0), "the block is in conflict")
        try world.require(world.store.asOf(0) == 0, "the store's content is untouched")
    }

    /// A clean block of an earlier session is overwritten before it was compared with the store.
    func c4() throws {
        let world = try SimWorld.uploading()
        world.readGranules(0, 0..<4)
        try world.finishAll()
        try world.fsync()
        try world.crashAndContinue(.kill)
        world.touch(0)
        world.writeBlock(0)
        try world.finishAll()
        world.wait(1000)
        try world.finishAllChecked()
        try world.require(world.isInConflict(0), "the block is in conflict")
        try world.require(world.store.asOf(0) == 0, "the store's content is untouched")
    }

    /// The store says again and again that it has another version, and shows the one expected: it is
    /// asked again after a pause, not at once.
    func c5() throws {
        let world = try SimWorld.uploading { $0.engine.storeHonorsConditions = true }
        world.writeBlock(0)
        for round in 0..<4 {
            let upload = try world.sent()
            upload.isPerformed = true
            upload.uploaded = .failure(StoreError(.conflict, "another version"))
            try world.finish(upload)
            try world.finishAll(except: [.upload])
            let isSentAgain = world.pending.contains { world.isKind($0, .upload) }
            try world.require(isSentAgain == (round == 0), "a pause from the second time on")
            world.wait(1000)
        }
        try world.finishAllChecked()
        try world.drain("all is uploaded") { world.engine.state.dirtySlots > 0 }
    }
}
