// What a crash, a mount and a checkpoint do to each other.

extension Scenario {
    /// Five groups, kill, mount, one group, F, kill before a checkpoint, mount; and with it torn.
    func s7() throws {
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
    func s8() throws {
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
    func s9() throws {
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
    func s18() throws {
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

    /// A fill above D is lost, the mount drops it, crashes before and after the first group; also
    /// when the user has written the granule since.
    func s24() throws {
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
}
