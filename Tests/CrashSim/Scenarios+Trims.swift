import BlockCache
import CacheFile
import FileIO
import Journal
import Simulation

extension Scenario {
    /// ZERO x, a partial write of it, power cut, read; upload; ZERO of a range, MAP inside it, carry,
    /// power cut, mount.
    func s14() throws {
        let world = try SimWorld.quiet()
        world.writeBlock(0)
        try world.finishAll()
        try world.fsync()
        world.askForCheckpoint()
        try world.finishAll()
        world.trimBlocks(0..<1)
        world.writeGranules(0, 1..<2)
        world.write(world.content(512), at: 2 * 4096 + 512)
        try world.finishAllChecked()
        try world.require(world.pending.isEmpty && world.writesWaiting == 0, "no store is asked")
        try world.fsync()
        try world.crashAndContinue(.cut(.dropAll))
        world.readGranules(0, 0..<4)
        try world.finishAllChecked()
        world.wait(1 << 51)
        try world.finishAllChecked()
        try world.require(world.engine.state.dirtySlots == 0, "x is uploaded")

        world.trimBlocks(3..<9)
        try world.finishAllChecked(except: [.upload])
        world.writeGranules(5, 1..<2)
        world.readGranules(5, 0..<1)
        world.readGranules(7, 0..<1)
        try world.finishAllChecked(except: [.upload])
        try world.require(world.usersRunning == 0, "zeros are read without the store")
        try world.require(!world.engine.state.zeros.isEmpty, "the range is there")
        let before = world.engine.snapshotStatistics().carried
        var rounds = 0
        while world.engine.snapshotStatistics().carried == before {
            rounds += 1
            try world.require(rounds < 100, "the range is carried")
            world.writeGranules(1 + rounds % 2, 0..<2)
            world.startSync()
            world.settle()
            try world.finishAll(except: [.upload, .fetch])
        }
        for _ in 0..<40 {
            world.writeGranules(1, 0..<2)
            world.startSync()
            world.settle()
            try world.finishAll(except: [.upload, .fetch])
        }
        try world.checkAll()
        try world.crashAndContinue(.cut(.dropAll))
        for block in 3..<9 { world.readGranules(block, 0..<4) }
        try world.finishAllChecked(except: [.upload])
        world.wait(1 << 52)
        try world.drain("the range is deleted") { !world.engine.state.zeros.isEmpty }
        try world.require(world.store.version(7) == .absent, "its blocks are not in the store")
        try world.checkAll()
        try world.stopCleanly()
    }

    /// A trimmed block is written while the store deletes it: what is written is sent when that has
    /// been answered, and not beside it, or the deletion might be the later one.
    func s28() throws {
        let world = try SimWorld.quiet()
        func uploads(_ block: UInt64) -> Int {
            world.pending.count {
                if case .upload(let task) = $0.kind { return task.block == block }
                return false
            }
        }
        world.trimBlocks(3..<9)
        try world.finishAll()
        world.wait(1 << 51)
        try world.finishAll(except: [.upload])
        try world.require(uploads(5) == 1, "the block is being deleted")
        world.writeBlock(5)
        try world.finishAllChecked(except: [.upload])
        // Due, with an intent that is durable.
        world.wait(1 << 51)
        world.wait(1000)
        world.startSync()
        world.settle()
        try world.finishAllChecked(except: [.upload])
        try world.require(uploads(5) == 1, "nothing is sent beside the deletion")
        try world.finishAllChecked()
        world.wait(1 << 52)
        try world.drain("the write is sent") { world.engine.state.dirtySlots > 0 }
        try world.require(world.store.version(5) != .absent, "it is what is in the store")
        try world.checkAll()
        try world.stopCleanly()
    }

    /// Blocks of a zero extent are written, uploaded and evicted while the extent's deletions are
    /// under way: what they have become is in the store, and the extent says nothing of them any more.
    /// Then one is trimmed again: the deletions under way are older than that.
    func r8() throws {
        let world = try SimWorld.quiet()
        func isDeletion(_ item: PendingItem) -> Bool {
            if case .upload(let task) = item.kind { return task.upload.isOfExtent }
            return false
        }
        func finishOthers() throws {
            while let item = world.pending.first(where: { !isDeletion($0) }) {
                world.advance(item)
                world.settle()
                try world.raise()
            }
        }
        world.trimBlocks(3..<9)
        try finishOthers()
        for block in [5, 7] { world.writeBlock(block) }
        try finishOthers()
        world.wait(1 << 51)
        try finishOthers()
        world.wait(1000)
        try finishOthers()
        try world.require(world.engine.state.dirtySlots == 0, "the blocks are uploaded")
        try world.require(world.pending.contains(where: isDeletion), "deletions are under way")
        for block in [0, 1, 2, 9, 3, 4, 6, 8] {
            world.writeBlock(block)
            try finishOthers()
        }
        for block: UInt64 in [5, 7] {
            try world.require(world.engine.state.slot(of: block) == nil, "it is evicted")
        }
        try world.require(!world.engine.state.zeros.isEmpty, "the extent is there")
        world.readGranules(7, 0..<4)
        try finishOthers()
        try world.checkAll()
        world.trimBlocks(5..<6)
        try finishOthers()
        for item in world.pending.filter(isDeletion) { try world.finish(item) }
        try finishOthers()
        try world.require(world.engine.state.zeros.contains(5), "the newer trim stays")
        world.readGranules(5, 0..<4)
        try finishOthers()
        try world.checkAll()
        try world.crashAndContinue(.kill)
        for block in [5, 7] { world.readGranules(block, 0..<4) }
        try world.finishAll(except: [.upload])
        world.wait(1 << 52)
        try world.drain("all is uploaded") { world.usersRunning > 0 }
        try world.checkAll()
        try world.stopCleanly()
    }

    /// A reader holds a block's slot while the block is trimmed, the trim sealed, and a granule
    /// written again: not into the bytes that the reader is about to see (R4).
    func r9() throws {
        let world = try SimWorld.quiet()
        world.writeBlock(0)
        try world.finishAll()
        world.readGranules(0, 0..<4)
        world.trimBlocks(0..<1)
        for block in 1...2 {
            try world.finishAll(except: [.read])
            world.writeBlock(block)
            try world.finishAll(except: [.read])
            world.startSync()
            world.settle()
        }
        try world.finishAll(except: [.read])
        world.writeGranules(0, 1..<2)
        try world.finishAllChecked(except: [.read])
        try world.finishAllChecked()
        try world.require(world.usersRunning == 0, "the reader has its answer")
        world.readGranules(0, 0..<4)
        try world.finishAll()
    }

    /// A write has completed its granule with what its block was, and the block, found changed in the
    /// store, has left its slot: a trim of it must take its turn behind the write.
    func r10() throws {
        let world = try SimWorld.quiet()
        world.readGranules(9, 0..<4)
        try world.finishAll()
        try world.fsync()
        try world.crashAndContinue(.kill)
        world.store.touch(9)
        world.readGranules(9, 0..<2)
        world.write(world.content(512), at: 9 * world.plan.blockSize + 512)
        world.settle()
        try world.finish(.fetch)
        try world.finish(.read)
        let slot = try world.first(.userSlot)
        world.trimBlocks(9..<10)
        try world.finishAll(except: [.userSlot])
        try world.require(world.pending.contains { $0 === slot }, "the write has a new slot")
        try world.finishAllChecked()
        try world.require(world.writesWaiting == 0, "both are acknowledged")
        world.readGranules(9, 0..<4)
        try world.finishAllChecked()
    }

    /// The deletion of a trimmed block is not answered, or the process ends before it is; the block
    /// is written, and sent; then the deletion arrives. Until it cannot any more, the write is not
    /// clean (I18).
    func r11() throws {
        for isKilled in [false, true] {
            let world = try SimWorld.uploading { $0.engine.storeLateMs = 5000 }
            world.trimBlocks(3..<4)
            let deletion = try world.sent()
            if isKilled, case .upload(let task) = deletion.kind {
                world.lateRequests.append(world.request(task))
                try world.crashAndContinue(.kill)
            } else {
                try world.loseAnswer(deletion, isLate: true)
            }
            world.wait(20)
            try world.finishAllChecked()
            try world.require(world.store.version(3) == .absent, "it is deleted")
            world.writeBlock(3)
            try world.finish(world.sent())
            try world.finishAll()
            let newest = world.store.asOf(3)
            try world.require(newest > 0 && world.isDirty(3), "the write is sent, and not clean")
            world.landLate()
            try world.require(world.store.version(3) == .absent, "the deletion has arrived")
            try world.checkAll()
            try world.crashAndContinue(.kill)
            world.wait(6000)
            try world.drain("all is uploaded") {
                world.engine.state.dirtySlots > 0 || !world.engine.state.zeros.isEmpty
            }
            try world.require(world.store.asOf(3) == newest, "the write is in the store again")
            try world.checkAll()
        }
    }
}
