import BlockCache
import BlockStore
import CacheFile
import FileIO
import Journal
import Simulation

// Lists of the store: what they may say, and what they may not.

extension SimWorld {
    static func listing(_ change: (inout WorldPlan) -> Void = { _ in }) throws -> SimWorld {
        try uploading {
            $0.engine.storeListsInOrder = true
            $0.engine.storeHonorsConditions = true
            change(&$0)
        }
    }

    /// The store has been asked which blocks it has; what it said is not heard yet.
    func listed() throws(Violation) -> PendingItem {
        let item = try first(.survey)
        guard case .survey(let task) = item.kind else { throw Violation("scenario: no list") }
        item.isPerformed = true
        item.listing = list(task)
        return item
    }

    func isCached(_ block: UInt64) -> Bool { engine.state.slot(of: block) != nil }
}

extension Scenario {
    /// The store is listed while it lacks a block. That is written, uploaded, and evicted before the
    /// list is heard: it is not absent.
    func l1() throws {
        for isInOrder in [true, false] {
            let world = try SimWorld.listing {
                $0.storedPercent = 0
                $0.engine.storeListsInOrder = isInOrder
                $0.engine.survey = .all
                $0.engine.surveysMax = 1
            }
            let list = try world.listed()
            world.writeBlock(0)
            world.wait(20)
            try world.finishAllChecked(except: [.survey])
            for block in 1..<10 {
                world.writeBlock(block)
                world.wait(20)
                try world.finishAll(except: [.survey])
            }
            try world.require(!world.isCached(0), "block 0 has left its slot")
            try world.finish(list)
            try world.finishAll()
            let gets = world.coverage[.storeGets]
            world.readGranules(0, 0..<4)
            try world.finishAllChecked()
            try world.require(world.coverage[.storeGets] == gets + 1, "the store has it")
        }
    }

    /// A block that is known to be absent is sent without a question, on condition that it still is.
    func l2() throws {
        for isListed in [true, false] {
            let world = try SimWorld.listing {
                $0.storedPercent = 0
                if isListed { $0.engine.survey = .cached }
            }
            try world.finishAll()
            world.writeGranules(0, 1..<2)
            try world.finishAllChecked()
            world.wait(20)
            try world.finishAllChecked()
            try world.require(!world.isDirty(0), "the block is in the store")
            try world.require(
                (world.coverage[.settled] == 0) == isListed, "it is asked about or not")
            try world.require((world.coverage[.storeGets] == 0) == isListed, "and read or not")
        }
    }

    /// What an earlier mount left is verified by the list; what others changed is asked about once and
    /// given up.
    func l3() throws {
        for isInOrder in [true, false] {
            let world = try SimWorld.listing {
                $0.volumeBlocks = 6
                $0.engine.storeListsInOrder = isInOrder
                $0.engine.survey = isInOrder ? .cached : .all
                $0.engine.surveysMax = 1
            }
            for block in 0..<6 { world.readGranules(block, 0..<4) }
            try world.finishAll()
            try world.fsync()
            world.touch(3)
            try world.crashAndContinue(.kill)
            let asked = world.coverage[.verifications]
            try world.finishAllChecked()
            try world.require(world.coverage[.verifiedByList] == 5, "five are verified")
            try world.require(world.coverage[.verifications] == asked + 1, "one is asked about")
            try world.require(!world.isCached(3), "and given up")
            let gets = world.coverage[.storeGets]
            for block in 0..<6 { world.readGranules(block, 0..<4) }
            try world.finishAllChecked()
            try world.require(world.coverage[.storeGets] == gets + 1, "and read again")
            try world.require(world.coverage[.verifications] == asked + 1, "the others are not")
        }
    }

    /// A trim deletes what there is, and nothing else.
    func l4() throws {
        let world = try SimWorld.listing {
            $0.storedPercent = 60
            $0.engine.listedToDelete = 0
            $0.listedTogether = 1
        }
        try world.finishAll()
        let stored = world.store.objects.count
        try world.require(stored > 1 && stored < 9, "some blocks are stored")
        world.trimBlocks(0..<10)
        try world.finishAllChecked()
        world.wait(20)
        try world.finishAllChecked()
        try world.drain("the range is deleted") { !world.engine.state.zeros.isEmpty }
        try world.require(world.coverage[.extentDeletes] == stored, "what there was is deleted")
        try world.require(world.store.objects.isEmpty, "and gone")
        for block in 0..<10 { world.readGranules(block, 0..<4) }
        try world.finishAllChecked()
    }
}
