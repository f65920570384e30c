import CacheFile
import FileIO
import Journal
import Simulation

// One place of the medium rots, or the store stays away for long.
extension Scenario {
    /// A patch on a granule that is not here, store down, three laps of the ring, clean stop, mount,
    /// store up.
    func s13() throws {
        let world = try SimWorld.quiet()
        world.isStoreDown = true
        world.write(world.content(512), at: 2 * 4096 + 512)
        world.settle()
        try world.finishAll()
        let lap = UInt64(world.geometry.ringLength)
        let begin = world.engine.journal.end
        while world.engine.journal.end < begin + 3 * lap {
            world.writeGranules(1 + Int(world.writeCount) % 3, 0..<2)
            world.startSync()
            world.settle()
            try world.finishAll()
        }
        try world.checkAll()
        try world.require(world.engine.state.patchCount == 1, "the patch waits for the store")
        try world.require(
            world.engine.snapshotStatistics().carried >= 3, "it is carried in every lap")
        try world.stopCleanly(uploads: false)
        try world.require(world.engine.state.patchCount == 1, "the patch survives the stop")
        world.isStoreDown = false
        world.readGranules(0, 0..<4)
        try world.finishAllChecked()
        world.wait(1 << 51)
        try world.drain("all is uploaded") { world.engine.state.dirtySlots > 0 }
        try world.require(world.engine.state.patchCount == 0, "the patch is merged")
        try world.checkAll()
    }

    /// Each current page rots: right after its change there is no other, one checkpoint later its
    /// mate is the same.
    func s15() throws {
        let world = try SimWorld.quiet { $0.slotsPerZone = 5 }
        for block in 0..<8 { world.writeBlock(block) }
        try world.finishAll()
        try world.fsync()
        var before = RootTable(pageCount: world.geometry.pageCount)
        for round in 0..<2 {
            world.askForCheckpoint()
            try world.finishAllChecked()
            let image = world.crashed(.cut(.dropAll), world.disk, &world.random)
            let root = try Recovery.run(image).root
            var withMate = 0
            for (page, entry) in root.entries.enumerated() where entry.isWritten {
                let rotten = image.copy()
                let place = world.geometry.pageOffset(page, copy: entry.copy)
                rotten.flip(bit: page % 8, at: place + 77)
                if entry == before.entries[page] {
                    withMate += 1
                    _ = try world.recover(rotten, floor: world.oracle.cutFloor, "page \(page)")
                } else {
                    try world.requireRefusal(rotten, "PAGE_BAD")
                }
            }
            try world.require(withMate == 2 * round, "the pages of one group have mates")
            before = root
            world.writeGranules(7, 0..<1)
            try world.finishAll()
            try world.fsync()
        }
    }

    /// One copy of superblock g rots, crashes while g + 1 is written; both rot after the session has
    /// written groups.
    func s16() throws {
        let world = try SimWorld.quiet()
        world.writeBlock(0)
        try world.finishAll()
        try world.fsync()
        let image = world.crashed(.cut(.dropAll), world.disk, &world.random)
        let newest =
            try CacheFiles.inspect(image).superblock.generation % 2 == 0 ? [0, 1] : [2, 3]
        for copy in newest {
            let rotten = image.copy()
            rotten.flip(bit: 3, at: world.geometry.superblockOffset(copy) + 200)
            let kept = rotten.copy()
            let first = try world.recover(rotten, floor: world.oracle.cutFloor, "one copy bad")
            try world.probeCutRecovery(kept, .cut(.dropAll), first.lsn)
        }
        for copy in newest { image.flip(bit: 3, at: world.geometry.superblockOffset(copy) + 200) }
        try world.requireRefusal(image, "SB_STALE")
    }
}

extension SimWorld {
    func requireRefusal(_ image: SimDisk, _ code: String) throws(Violation) {
        do {
            _ = try CacheFiles.inspect(image)
        } catch {
            return try require(error.message.hasPrefix(code), "\(code), but \(error.message)")
        }
        throw Violation("scenario: accepted, which should be \(code)")
    }
}
