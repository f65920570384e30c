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
    case writeDuringUpload = "S10"
    case answerLost = "S11"
    case nothingSentBeforeIntent = "S12"
    case patchOutlivesLaps = "S13"
    case trims = "S14"
    case rottenPage = "S15"
    case rottenSuperblock = "S16"
    case lateUpload = "S22"
    case foreignWriter = "C1"
    case foreignWriteUnderBlindWrite = "C2"
    case foreignWriteUnderLostFill = "C3"
    case foreignWriteBetweenSessions = "C4"
    case conditionFailsForNoReason = "C5"
    case partsCompleteUploads = "C6"
    case foreignWriteUnderPart = "C7"
    case checkpointBetweenPages = "S18"
    case readerHoldsLocation = "S19"
    case growAndShrink = "S20"
    case lostFill = "S24"
    case everythingFull = "S25"
    case hitHoldsSlot = "S26"
    case directWriteWaitsForRoom = "R1"
    case partialReadPinsRing = "R2"
    case cleansWaitForRoom = "R3"
    case staleBlockWithFullRing = "R4"
    case mergeUnderWaitingDirectWrite = "R5"
    case staleBlockUnderWaitingWrite = "R6"
    case patchAtTailOfFullRing = "R7"
    case blockLeavesSlotInExtent = "R8"
    case trimUnderReader = "R9"
    case trimUnderWriter = "R10"
    case lateDeletion = "R11"
    case blockMovesWithPatches = "R12"
    case growthRefused = "R13"
    case shrinkingCalledOff = "R14"
    case blockLeavesSlotUnderList = "L1"
    case absentBlockIsSentAtOnce = "L2"
    case verifiedByList = "L3"
    case trimOfAbsentBlocks = "L4"

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
        case .writeDuringUpload: try s10()
        case .answerLost: try s11()
        case .nothingSentBeforeIntent: try s12()
        case .lateUpload: try s22()
        case .foreignWriter: try c1()
        case .foreignWriteUnderBlindWrite: try c2()
        case .foreignWriteUnderLostFill: try c3()
        case .foreignWriteBetweenSessions: try c4()
        case .conditionFailsForNoReason: try c5()
        case .partsCompleteUploads: try c6()
        case .foreignWriteUnderPart: try c7()
        case .patchOutlivesLaps: try s13()
        case .trims: try s14()
        case .rottenPage: try s15()
        case .rottenSuperblock: try s16()
        case .checkpointBetweenPages: try s18()
        case .readerHoldsLocation: try s19()
        case .growAndShrink: try s20()
        case .lostFill: try s24()
        case .everythingFull: try s25()
        case .hitHoldsSlot: try s26()
        case .directWriteWaitsForRoom: try r1()
        case .partialReadPinsRing: try r2()
        case .cleansWaitForRoom: try r3()
        case .staleBlockWithFullRing: try r4()
        case .mergeUnderWaitingDirectWrite: try r5()
        case .staleBlockUnderWaitingWrite: try r6()
        case .patchAtTailOfFullRing: try r7()
        case .blockLeavesSlotInExtent: try r8()
        case .trimUnderReader: try r9()
        case .trimUnderWriter: try r10()
        case .lateDeletion: try r11()
        case .blockMovesWithPatches: try r12()
        case .growthRefused: try r13()
        case .shrinkingCalledOff: try r14()
        case .blockLeavesSlotUnderList: try l1()
        case .absentBlockIsSentAtOnce: try l2()
        case .verifiedByList: try l3()
        case .trimOfAbsentBlocks: try l4()
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

    /// A reader of what lies in one slot holds it; the block gets another one, that is sealed, and
    /// others look for slots.
    private func s26() throws {
        let world = try SimWorld.quiet()
        world.writeBlock(0)
        try world.finishAll()
        world.readGranules(0, 0..<4, mayHit: true)
        guard case .hit(let user) = try world.first(.hit).kind else { return }
        for block in 0..<4 {
            world.writeBlock(block)
            try world.finishAll(except: [.hit])
            world.startSync()
            world.settle()
            world.askForCheckpoint()
            try world.finishAll(except: [.hit])
        }
        let state = world.engine.state
        try world.require(state.slot(of: 0) != user.hit.slot, "the block has left the slot")
        try world.require(state.slots.isFree(user.hit.slot), "nobody has got it yet")
        try world.finishAllChecked()
        world.writeBlock(4)
        try world.finishAllChecked()
        try world.require(!state.slots.isFree(user.hit.slot), "it is free again")
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
}
