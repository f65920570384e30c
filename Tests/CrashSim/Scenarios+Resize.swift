import BlockCache
import CacheFile
import FileIO
import Journal
import Simulation

extension Scenario {
    /// Grow beyond the room of the root, shrink back with dirty blocks in what goes, power cut at each
    /// write; and once more up and down, where the root has its first place again.
    func s20() throws {
        let world = try SimWorld.quiet {
            $0.blockSize = 4096
            $0.slotsPerZone = 1
        }
        let small = world.geometry
        for block in 0..<6 { world.writeBlock(block) }
        try world.finishAll()
        try world.fsync()
        for isChecked in [true, false] {
            world.resize(to: 260)
            if isChecked { try world.finishAllChecked() } else { try world.finishAll() }
            let large = world.geometry
            try world.require(large.slotCount == 260, "the file has grown")
            try world.require(large.rootOffsets != small.rootOffsets, "its root has moved")
            for block in 4..<10 { world.writeBlock(block) }
            try world.finishAll()
            try world.require(
                (8..<260).contains { !world.engine.state.slots.isFree($0) }, "new slots are used")
            world.writeGranules(5, 0..<1)
            try world.finishAll()
            world.resize(to: 8)
            try world.untilItHas(8, isChecked: isChecked)
            try world.require(world.geometry == small, "the file is what it was")
            try world.require(world.disk.cache.size == small.fileSize, "and as long")
        }
        try world.stopCleanly()
    }

    /// A dirty block that moves takes along what the journal has of it: overlays, and patches of
    /// granules that the store has not given. A reader of its old place delays the shrinking.
    func r12() throws {
        let world = try SimWorld.quiet { $0.slotsPerZone = 8 }
        for block in 0..<5 { world.writeBlock(block) }
        try world.finishAll()
        world.resize(to: 16)
        try world.finishAllChecked()
        world.writeGranules(5, 1..<3)
        try world.finishAll()
        world.writeGranules(5, 1..<2)
        world.write(world.content(700), at: 5 * 16384 + 512)
        world.settle()
        try world.finishAll(except: [.fetch])
        let slot = world.engine.state.slot(of: 5) ?? 0
        try world.require(slot >= 8, "the block is in what will go")
        try world.require(world.engine.state.patchCount == 1, "and has a patch")
        // Until the store has answered the block is in use.
        world.isStoreDown = true
        try world.finish(.fetch)
        world.readGranules(5, 2..<3)
        let reader = try world.first(.read)
        world.resize(to: 8)
        try world.finishAllChecked(except: [.read])
        world.wait(200)
        try world.finishAllChecked(except: [.read])
        let moved = world.engine.state.slot(of: 5) ?? 0
        try world.require(moved < 8, "the block has moved")
        try world.require(world.geometry.slotCount == 16, "its old place is being read")
        try world.finish(reader)
        try world.untilItHas(8)
        try world.require(world.engine.state.patchCount == 1, "the patch is there")
        try world.fsync()
        try world.crashAndContinue(.cut(.dropAll))
        world.isStoreDown = false
        world.readGranules(5, 0..<4)
        try world.finishAllChecked()
        world.wait(1 << 51)
        try world.stopCleanly()
    }

    /// No space: the old size stays and all goes on. Then a shrinking that is called off, with a move
    /// under way, and a write to the block that moves.
    func r13() throws {
        let world = try SimWorld.quiet { $0.slotsPerZone = 8 }
        for block in 0..<5 { world.writeBlock(block) }
        try world.finishAll()
        world.disk.failNext(.reserve, .noSpace)
        world.resize(to: 16)
        try world.finishAllChecked()
        try world.require(world.geometry.slotCount == 8, "it keeps its size")
        try world.require(world.engine.poison == nil, "and is not given up")
        world.resize(to: 16)
        try world.finishAllChecked()
        world.writeGranules(5, 0..<2)
        world.writeGranules(6, 0..<2)
        try world.finishAll()
        world.resize(to: 8)
        try world.finishAllChecked(except: [.move])
        let move = try world.first(.move)
        world.writeGranules(5, 2..<3)
        world.writeGranules(6, 2..<3)
        try world.finishAllChecked(except: [.move])
        world.resize(to: 16)
        try world.finish(move)
        try world.finishAllChecked()
        world.writeBlock(7)
        world.writeBlock(8)
        try world.finishAllChecked()
        try world.require(world.geometry.slotCount == 16, "the size is what was asked for last")
        world.resize(to: 9)
        try world.untilItHas(9)
        try world.stopCleanly()
    }

    /// Two blocks move, one of them under a reader, so the shrinking is not over; it is called off
    /// before the moves are durable. The old place of the other is not written before that.
    func r14() throws {
        let world = try SimWorld.quiet {
            $0.slotsPerZone = 8
            $0.engine.isReadOnly = true
        }
        for block in 0..<6 { world.writeBlock(block) }
        try world.finishAll()
        world.resize(to: 10)
        try world.finishAllChecked()
        for block in 6..<8 { world.writeBlock(block) }
        try world.finishAll()
        try world.fsync()
        for block: UInt64 in 6..<8 {
            try world.require((world.engine.state.slot(of: block) ?? 0) >= 8, "it will have to go")
        }
        world.readGranules(7, 0..<1)
        world.resize(to: 8)
        try world.finishAllChecked(except: [.read, .flush])
        try world.require((world.engine.state.slot(of: 6) ?? 9) < 8, "it has moved")
        world.resize(to: 10)
        world.writeBlock(0)
        try world.finishAllChecked(except: [.read, .flush])
        try world.finishAllChecked()
        try world.require(world.geometry.slotCount == 10, "nothing has gone")
    }
}

extension SimWorld {
    /// Lets time pass until the file has so many slots, with crashes at every step if checked.
    func untilItHas(_ slots: Int, isChecked: Bool = true) throws(Violation) {
        for _ in 0..<50 {
            if isChecked { try finishAllChecked() } else { try finishAll() }
            if geometry.slotCount == slots { return }
            wait(150)
        }
        throw Violation("scenario: the file keeps \(geometry.slotCount) slots")
    }
}
