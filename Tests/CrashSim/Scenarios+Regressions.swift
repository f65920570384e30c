import BlockCache
import CacheFile
import FileIO
import Journal
import Simulation

// Bugs that the engine once had, with a full ring in most of them.
extension Scenario {
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
    func r1() throws {
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
    func r2() throws {
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
    func r3() throws {
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

    /// Block 9, clean since before a restart, of which the store has another version now.
    private func staleBlock() throws -> SimWorld {
        let world = try SimWorld.quiet()
        world.readGranules(9, 0..<4)
        for block in 1...3 { world.writeBlock(block) }
        try world.finishAll()
        try world.fsync()
        try world.crashAndContinue(.kill)
        world.store.touch(9)
        return world
    }

    /// After a restart the store has another version of a clean block, and the ring is full.
    func r4() throws {
        let world = try staleBlock()
        try fillRing(world)
        world.readGranules(9, 0..<4)
        try world.finishAll(except: [.flush, .destage, .checkpoint])
        try world.drain("the stale block is dropped") { world.usersRunning > 0 }
        try world.checkAll()
    }

    /// Part of a granule is patched; all of it is written directly, and the record waits for room.
    /// Then the store answers: what patch and answer make must not be destaged over the new bytes.
    func r5() throws {
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
    func r6() throws {
        let world = try staleBlock()
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
    func r7() throws {
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
