// Slots and those who read, write and give them away at the same time.

extension Scenario {
    /// W x, D x in one group, F, destage x, crash before the next group.
    func s1() throws {
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
    func s2() throws {
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
    func s3() throws {
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
    func s4() throws {
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
    func s5() throws {
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
    func s6() throws {
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

    /// A reader holds a location; destage, move, reuse and laps of the ring follow.
    func s19() throws {
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
    func s26() throws {
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

    /// An eviction that looks at one slot in each event has not come to its end when the mount stops:
    /// nothing is recorded beside the last checkpoint, wherever the hand of the clock stands then.
    func s27() throws {
        var stops = 0
        for steps in 0..<20 {
            let world = try SimWorld.quiet {
                $0.slots = 16
                $0.volumeBlocks = 20
                $0.engine.clockStepsMax = 1
                $0.engine.recordDelayMs = 1000
            }
            for block in 0..<13 { world.readGranules(block, 0..<1) }
            try world.finishAll()
            world.readGranules(13, 0..<1)
            try world.finish(.fetch)
            try world.finish(.read)
            try world.finish(.fill)
            for _ in 0..<steps { world.wait(1) }
            try world.require(world.usersRunning == 0, "the stop waits for nobody")
            let seen = world.engine.statistics
            if seen.evictionsCut > 0, seen.evictions == 0 { stops += 1 }
            try world.stopCleanly(uploads: false)
        }
        if stops <= 5 {
            throw Violation("scenario: the hand is not on its way when the mount stops")
        }
    }

    /// Slots and ring full, store down, then up: everything drains.
    func s25() throws {
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
