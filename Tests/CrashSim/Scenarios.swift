import BlockCache
import CacheFile
import FileIO
import Journal
import Simulation

/// Histories that once were, or easily could be, fatal: exact events, crashes at every step.
package enum Scenario: String, CaseIterable, Sendable {
    case destageOntoMapOfSameGroup = "S1"
    case slotReuse = "S2"
    case laterWriteAcknowledgedFirst = "S3"
    case fillReturnsAfterWrite = "S4"
    case destageReturnsAfterMove = "S5"
    case twoWritesToOneGranule = "S6"
    case killBeforeFirstCheckpoint = "S7"
    case deadGroupsStayDead = "S8"
    case crashInsideMount = "S9"
    case checkpointBetweenPages = "S18"
    case readerHoldsLocation = "S19"
    case lostFill = "S24"
    case everythingFull = "S25"
    case directWriteWaitsForRoom = "R1"
    case partialReadPinsRing = "R2"
    case cleansWaitForRoom = "R3"
    case staleBlockWithFullRing = "R4"
    case mergeUnderWaitingDirectWrite = "R5"
    case staleBlockUnderWaitingWrite = "R6"
    case patchAtTailOfFullRing = "R7"

    package func run() throws {
        switch self {
        case .destageOntoMapOfSameGroup: try s1()
        case .slotReuse: try s2()
        case .laterWriteAcknowledgedFirst: try s3()
        case .fillReturnsAfterWrite: try s4()
        case .destageReturnsAfterMove: try s5()
        case .twoWritesToOneGranule: try s6()
        case .killBeforeFirstCheckpoint: try s7()
        case .deadGroupsStayDead: try s8()
        case .crashInsideMount: try s9()
        case .checkpointBetweenPages: try s18()
        case .readerHoldsLocation: try s19()
        case .lostFill: try s24()
        case .everythingFull: try s25()
        case .directWriteWaitsForRoom: try r1()
        case .partialReadPinsRing: try r2()
        case .cleansWaitForRoom: try r3()
        case .staleBlockWithFullRing: try r4()
        case .mergeUnderWaitingDirectWrite: try r5()
        case .staleBlockUnderWaitingWrite: try r6()
        case .patchAtTailOfFullRing: try r7()
        }
    }

    /// W x, D x in one group, F, destage x, crash before the next group.
    private func s1() throws {
        let world = try SimWorld.quiet()
        world.writeBlock(1)
        try world.finish(.userSlot)
        world.writeBlock(0)
        try world.finish(.userSlot)
        world.writeGranules(0, 1..<3)
        try world.finishAllChecked()
        try world.fsync()
        for _ in 0..<3 {
            world.askForCheckpoint()
            try world.finishAllChecked()
        }
        try world.require(
            world.engine.snapshotStatistics().destagedGranules == 2, "both granules are destaged")
    }

    /// W x->A, W x->B, F, A given to y: slot write returned, record not.
    private func s2() throws {
        let world = try SimWorld.quiet()
        world.isStoreDown = true
        for block in 0..<7 { world.writeBlock(block) }
        try world.finishAll()
        world.writeBlock(0)
        try world.finishAll()
        world.startSync()
        try world.finishAllChecked()
        world.writeBlock(7)
        try world.finishAllChecked(except: [.userSlot])
        try world.require(world.writesWaiting == 1, "y waits for its slot write")
        try world.finishAllChecked()
        try world.require(world.writesWaiting == 0, "y has a slot")
    }

    /// Slot write of n under way, n+1 acknowledged.
    private func s3() throws {
        let world = try SimWorld.quiet()
        world.writeBlock(0)
        let slow = try world.first(.userSlot)
        world.writeBlock(1)
        let fast = world.pending.last { world.isKind($0, .userSlot) }
        if let fast { try world.finish(fast) }
        while world.writesWaiting == 2 { try world.finish(.group) }
        try world.checkAll()
        world.startSync()
        world.settle()
        try world.finish(.group)
        try world.finish(.flush)
        try world.checkAll()
        try world.finish(slow)
        try world.finishAllChecked()
    }

    /// Fill of g issued, write of g acknowledged, the fill returns last.
    private func s4() throws {
        let world = try SimWorld.quiet()
        world.writeGranules(0, 0..<1)
        try world.finishAll()
        try world.fsync()
        world.readGranules(0, 2..<3)
        try world.finish(.fetch)
        let fill = try world.first(.fill)
        world.writeGranules(0, 2..<3)
        try world.finishAllChecked(except: [.fill])
        try world.require(world.writesWaiting == 0, "the write is acknowledged")
        try world.finish(fill)
        world.readGranules(0, 0..<4)
        try world.finishAllChecked()
        try world.fsync()
        world.askForCheckpoint()
        try world.finishAllChecked()
    }

    /// Destage of x into A issued, W x->B, F, SEAL, A wanted for y, the late write returns.
    private func s5() throws {
        let world = try SimWorld.quiet()
        world.isStoreDown = true
        for block in 0..<7 { world.writeBlock(block) }
        try world.finishAll()
        world.writeGranules(0, 0..<2)
        try world.finishAll()
        try world.fsync()
        for _ in 0..<3 where !world.pending.contains(where: { world.isKind($0, .destage) }) {
            world.askForCheckpoint()
            try world.finishAll(except: [.destage])
        }
        let destage = try world.first(.destage)
        world.advance(destage)
        world.settle()
        world.writeBlock(0)
        try world.finishAllChecked(except: [.destage])
        world.startSync()
        try world.finishAllChecked(except: [.destage])
        world.writeBlock(8)
        try world.finishAllChecked(except: [.destage])
        try world.require(world.writesWaiting == 1, "A is not given away while it is written")
        try world.finish(destage)
        try world.finishAllChecked()
        try world.require(world.writesWaiting == 0, "y has a slot")
    }

    /// Two writes to one invalid granule at once.
    private func s6() throws {
        let world = try SimWorld.quiet()
        world.writeGranules(0, 0..<1)
        try world.finishAll()
        world.writeGranules(0, 2..<3)
        world.writeGranules(0, 2..<3)
        try world.finishAllChecked()
        world.readGranules(0, 2..<3)
        try world.fsync()
        try world.checkAll()
    }

    /// Five groups, kill, mount, one group, F, kill before a checkpoint, mount; and with it torn.
    private func s7() throws {
        for isTorn in [false, true] {
            let world = try SimWorld.quiet()
            for block in 0..<5 {
                world.writeBlock(block)
                try world.finishAll()
            }
            try world.crashAndContinue(.kill)
            world.writeBlock(5)
            if isTorn {
                try world.finish(.userSlot)
                try world.crashAndContinue(.cut(.torn))
            } else {
                try world.finishAll()
                try world.fsync()
                try world.crashAndContinue(.kill)
            }
            try world.checkAll()
            world.writeBlock(1)
            try world.finishAllChecked()
        }
    }

    /// The log is cut where a slot does not match, later groups being intact; then the very same
    /// bytes are written into the very same slots. The dead groups must not come alive.
    private func s8() throws {
        let world = try SimWorld.quiet()
        for block in 0..<3 {
            world.writeBlock(block)
            try world.finishAll()
        }
        let lost = world.recentWrites
        try world.crashAndContinue(.keepOnly(.ring))
        try world.require(world.engine.journal.assigned < 3, "the log is cut")
        for (bytes, offset) in lost {
            world.write(bytes, at: offset)
            try world.finish(.userSlot)
            try world.checkAll()
        }
        try world.finishAllChecked()
    }

    /// Writes, kill, and a crash in every step of the mount.
    private func s9() throws {
        let world = try SimWorld.quiet()
        for block in 0..<4 {
            world.writeBlock(block)
            world.writeGranules(block, 1..<2)
        }
        try world.finishAll()
        let image = world.crashed(.kill, world.disk, &world.random)
        let kept = image.copy()
        let first = try world.recover(image, floor: world.oracle.killFloor, "kill")
        try world.probeCutRecovery(kept, .kill, first.lsn)
    }

    /// MAP x->B touches pages of two groups; a checkpoint freezes them while more writes come.
    private func s18() throws {
        let world = try SimWorld.quiet { $0.slotsPerZone = 5 }
        for block in 0..<5 { world.writeBlock(block) }
        try world.finishAll()
        try world.fsync()
        world.askForCheckpoint()
        world.writeBlock(0)
        try world.finish(.userSlot)
        while !world.pending.isEmpty {
            if let slot = world.pending.first(where: { world.isKind($0, .userSlot) }) {
                try world.finish(slot)
            }
            world.advance(world.pending[0])
            world.settle()
            try world.raise()
            try world.checkAll()
            if world.writeCount < 40, world.usersRunning == 0 { world.writeBlock(1) }
        }
        try world.require(
            world.engine.snapshotStatistics().checkpoints > 0, "a checkpoint was taken")
    }

    /// A reader holds a location; destage, move, reuse and laps of the ring follow.
    private func s19() throws {
        let world = try SimWorld.quiet()
        world.writeBlock(0)
        world.writeGranules(0, 1..<2)
        try world.finishAll()
        world.readGranules(0, 0..<4)
        world.writeBlock(0)
        try world.finishAll(except: [.read])
        for round in 0..<40 {
            world.writeGranules(1 + round % 3, 0..<2)
            world.startSync()
            world.settle()
            try world.finishAll(except: [.read])
            if round % 10 == 9 {
                world.askForCheckpoint()
                try world.finishAll(except: [.read])
            }
        }
        try world.finishAllChecked()
        try world.require(world.usersRunning == 0, "the reader has its answer")
    }

    /// A fill above D is lost, the mount drops it, crashes before and after the first group; also
    /// when the user has written the granule since.
    private func s24() throws {
        for isWritten in [false, true] {
            let world = try SimWorld.quiet()
            world.writeGranules(0, 0..<1)
            try world.finishAll()
            try world.fsync()
            world.readGranules(0, 2..<3)
            try world.finishAll(except: [.flush])
            if isWritten {
                world.writeGranules(0, 2..<3)
                try world.finishAll(except: [.flush])
            }
            try world.checkAll()
            let image = world.crashed(.keepOnly(.ring), world.disk, &world.random)
            let recovered = try world.recover(image, floor: world.oracle.cutFloor, "ring only")
            try world.require(!recovered.cache.droppedFills.isEmpty, "the fill is dropped")
            try world.resume(recovered, image)
            try world.checkAll()
            try world.finishAllChecked()
            world.writeGranules(0, 1..<2)
            try world.finishAllChecked()
            try world.fsync()
            try world.crashAndContinue(.cut(.dropAll))
            world.readGranules(0, 0..<4)
            try world.finishAllChecked()
            world.pass(1 << 42)
            try world.stopCleanly()
        }
    }

    /// Slots and ring full, store down, then up: everything drains.
    private func s25() throws {
        let world = try SimWorld.quiet { $0.engine.writeDelayMs = 0 }
        world.isStoreDown = true
        for round in 0..<6 {
            for block in 0..<10 {
                world.writeGranules(block, 0..<4)
                world.writeGranules(block, round % 4..<round % 4 + 1)
            }
        }
        for _ in 0..<400 {
            if world.pending.isEmpty { world.wait(20) } else { world.advance(world.choose()) }
            world.settle()
            try world.raise()
        }
        try world.require(world.writesWaiting > 0, "writers wait while the store is down")
        try world.checkAll()
        try world.drain("the store is back") { world.usersRunning > 0 }
        try world.checkAll()
        try world.stopCleanly()
    }

    /// Fills the ring with records whose overlays nothing may destage yet, up to the reserve.
    private func fillRing(
        _ world: SimWorld, except kept: [SimWorld.ItemName] = [.flush, .destage, .checkpoint]
    ) throws {
        var round = 0
        while world.writesWaiting == 0 {
            round += 1
            try world.require(round < 200, "the ring fills up")
            world.writeGranules(1 + round % 3, 0..<2)
            try world.finishAll(except: kept)
        }
    }

    /// The slot write of a direct write has returned, its record waits for room, and a fill of the
    /// block comes: it must not touch those granules (I4).
    private func r1() throws {
        let world = try SimWorld.quiet()
        world.writeGranules(0, 0..<1)
        for block in 1...3 { world.writeBlock(block) }
        try world.finishAll()
        try world.fsync()
        world.startSync()
        try fillRing(world)
        world.writeGranules(0, 2..<3)
        try world.finishAll(except: [.flush, .destage, .checkpoint])
        world.readGranules(0, 1..<2)
        try world.finishAll(except: [.flush, .destage, .checkpoint])
        try world.checkAll()
        try world.drain("room comes back") { world.usersRunning > 0 }
        try world.checkAll()
        world.readGranules(0, 0..<4)
        try world.finishAll()
    }

    /// A read finds some granules in the ring and the next one missing: it pins nothing meanwhile.
    private func r2() throws {
        let world = try SimWorld.quiet()
        world.writeGranules(0, 0..<1)
        try world.finishAll()
        world.writeGranules(0, 0..<1)
        try world.finishAll()
        try world.fsync()
        world.readGranules(0, 0..<3)
        try world.finishAll()
        for round in 0..<100 {
            world.writeGranules(1 + round % 3, 0..<2)
            world.startSync()
            world.settle()
            try world.drain("the ring goes round") { world.usersRunning > 0 }
        }
        try world.checkAll()
    }

    /// Several uploads end while there is no room for their CLEAN records.
    private func r3() throws {
        let world = try SimWorld.quiet { $0.engine.writeDelayMs = 0 }
        for block in 0..<7 { world.writeBlock(block) }
        try world.finishAll(except: [.upload])
        for round in 0..<60 {
            world.writeGranules(round % 4, 0..<2)
            try world.finishAll(except: [.upload, .destage, .checkpoint])
        }
        try world.finishAll(except: [.destage, .checkpoint])
        try world.drain("all is uploaded") { world.usersRunning > 0 }
        try world.checkAll()
        try world.stopCleanly()
    }

    /// After a restart the store has another version of a clean block, and the ring is full.
    private func r4() throws {
        let world = try SimWorld.quiet()
        world.readGranules(9, 0..<4)
        for block in 1...3 { world.writeBlock(block) }
        try world.finishAll()
        try world.fsync()
        try world.crashAndContinue(.kill)
        world.store.touch(9)
        try fillRing(world)
        world.readGranules(9, 0..<4)
        try world.finishAll(except: [.flush, .destage, .checkpoint])
        try world.drain("the stale block is dropped") { world.usersRunning > 0 }
        try world.checkAll()
    }

    /// Part of a granule is patched; all of it is written directly, and the record waits for room.
    /// Then the store answers: what patch and answer make must not be destaged over the new bytes.
    private func r5() throws {
        let world = try SimWorld.quiet()
        let later: [SimWorld.ItemName] = [.fetch, .flush, .destage, .checkpoint]
        world.writeGranules(0, 0..<1)
        for block in 1...4 { world.writeBlock(block) }
        try world.finishAll()
        world.askForCheckpoint()
        try world.finishAll()
        // An overlay right at the tail: no checkpoint makes room before it is destaged.
        world.writeGranules(4, 0..<2)
        try world.finishAll()
        world.write(world.content(512), at: 2 * 4096 + 512)
        try world.finishAll(except: later)
        world.startSync()
        world.settle()
        try fillRing(world, except: later)
        world.writeGranules(0, 2..<3)
        try world.finishAll(except: later)
        try world.finish(.fetch)
        world.writeGranules(1, 0..<2)
        // All that is written becomes durable and sealed before anything is destaged.
        for _ in 0..<2 {
            world.startSync()
            world.wait(1 << 41)
            try world.finishAll(except: [.destage, .checkpoint])
        }
        for _ in 0..<5 {
            try world.finishAll(except: [.destage])
            if world.pending.contains(where: { world.isKind($0, .destage) }) {
                try world.finish(.destage)
            }
        }
        try world.finishAllChecked()
        try world.drain("room comes back") { world.usersRunning > 0 }
        try world.checkAll()
        world.readGranules(0, 0..<4)
        try world.finishAll()
    }

    /// The record of a write waits for room while the store says that the block, clean since before
    /// a restart, has changed: the block is dropped, and the write must find a place anew.
    private func r6() throws {
        let world = try SimWorld.quiet()
        world.readGranules(9, 0..<4)
        for block in 1...3 { world.writeBlock(block) }
        try world.finishAll()
        try world.fsync()
        try world.crashAndContinue(.kill)
        world.store.touch(9)
        world.startSync()
        try fillRing(world)
        world.readGranules(9, 0..<2)
        world.writeGranules(9, 1..<3)
        try world.finishAll(except: [.flush, .destage, .checkpoint])
        try world.drain("the write has a new place") { world.usersRunning > 0 }
        try world.checkAll()
    }

    /// Patches lie at the tail, the store is away, and everything that may use the reserve comes:
    /// the patches can still be carried, so the tail moves.
    private func r7() throws {
        let world = try SimWorld.quiet {
            $0.ringBytes = 96 << 10
            $0.engine.writeDelayMs = 0
            $0.engine.uploadsMax = 4
        }
        for block in 1...5 { world.writeBlock(block) }
        try world.finishAll(except: [.fetch, .upload])
        world.writeGranules(0, 0..<1)
        try world.finishAll(except: [.fetch, .upload])
        world.write(world.content(512), at: 2 * 4096 + 512)
        world.write(world.content(512), at: 3 * 4096 + 512)
        try world.finishAll(except: [.fetch, .upload])
        try fillRing(world, except: [.fetch, .upload, .destage, .checkpoint])
        // CLEAN, fills and evictions, each in a group of its own.
        for block in 5..<10 {
            world.readGranules(block, 0..<4)
            for name in [SimWorld.ItemName.upload, .fetch]
            where world.pending.contains(where: { world.isKind($0, name) }) {
                try world.finish(name)
                try world.finishAll(except: [.fetch, .upload, .destage, .checkpoint])
            }
        }
        try world.checkAll()
        try world.drain("the tail moves") { world.usersRunning > 0 }
        try world.checkAll()
        try world.stopCleanly()
    }
}
