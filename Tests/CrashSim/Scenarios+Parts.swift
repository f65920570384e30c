// Blocks completed by a part of what the store has.

extension Scenario {
    /// Little is missing of a dirty block: only that is asked for, and a reader who comes meanwhile
    /// gets it as well.
    func c6() throws {
        let world = try SimWorld.uploading { $0.engine.storeReadsParts = true }
        world.writeGranules(0, 0..<2)
        try world.finishAll()
        world.wait(20)
        let fetch = try world.first(.fetch)
        world.readGranules(0, 0..<4)
        world.writeGranules(0, 2..<3)
        try world.finish(fetch)
        try world.finishAllChecked()
        try world.require(world.coverage[.storePartGets] == 1, "a part was asked for")
        try world.drain("all is uploaded") { world.engine.state.dirtySlots > 0 }
        try world.require(world.coverage[.storeGets] == 1, "and nothing else")
        world.readGranules(0, 0..<4)
        try world.finishAllChecked()
        // Of this one most is missing.
        world.writeGranules(1, 1..<2)
        try world.finishAll()
        world.wait(20)
        try world.finishAllChecked()
        try world.require(world.coverage[.storePartGets] == 1, "all was asked for")
        try world.require(!world.isDirty(1), "the block is clean")
    }

    /// What is missing is of the version that the rest derives from, or all is asked for and the
    /// change is found.
    func c7() throws {
        for isTouched in [false, true] {
            let world = try SimWorld.quiet {
                $0.engine.storeHonorsConditions = true
                $0.engine.storeReadsParts = true
            }
            world.writeGranules(0, 0..<2)
            try world.finishAll()
            try world.fsync()
            world.readGranules(0, 2..<3)
            try world.finishAll(except: [.flush])
            let image = world.crashed(.keepOnly(.ring), world.disk, &world.random)
            let recovered = try world.recover(image, floor: world.oracle.cutFloor, "ring only")
            try world.require(!recovered.cache.droppedFills.isEmpty, "the fill is dropped")
            try world.resume(recovered, image)
            if isTouched { world.touch(0) }
            world.engine.beginStop()
            world.settle()
            try world.drain("all is decided") { world.engine.state.dirtySlots > 0 }
            try world.require(world.isInConflict(0) == isTouched, "a conflict if there is one")
            try world.require((world.store.asOf(0) == 0) == isTouched, "else it is stored")
            try world.require(
                world.coverage[.storePartGets] == (isTouched ? 0 : 1), "a part of that version")
        }
    }
}
