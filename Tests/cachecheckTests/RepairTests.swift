import CacheFile
import FileIO
import Journal
import Simulation
import TestSupport
import Testing

/// Repairs of files in memory: of every kind of damage, and of thousands with anything damaged.
@Suite("cachecheck repair")
struct RepairTests {
    /// Repairs a file, and says what came of it; nil: there was nothing to do.
    private func repair(
        _ file: MemoryFile, _ depth: RepairDepth
    ) throws -> (plan: RepairPlan, undo: MemoryFile)? {
        guard let plan = try RepairPlan.make(file, depth) else { return nil }
        let undo = MemoryFile([])
        let written = try UndoFile.write(plan, of: file, to: undo)
        try written.seal(undo)
        try Repairer.apply(plan, to: file)
        return (plan, undo)
    }

    /// A mount takes it, and a second check finds nothing.
    private func expectSound(_ file: MemoryFile, _ place: Comment) throws {
        let inspection = try CacheFiles.inspect(file)
        let bad = inspection.findings.filter {
            $0.severity != .info && $0.code != "S3_CONFLICT"
        }
        #expect(bad.isEmpty, "\(place): \(bad)")
        #expect(try RepairPlan.make(file, .safe) == nil, place)
    }

    @Test("of a block in two slots the one written to last is kept", arguments: [false, true])
    func duplicates(isLastNewer: Bool) throws {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        // Taken from the first slot on.
        try session.map(isLastNewer ? 3 : 4, version: isLastNewer ? 1 : 2)
        try session.map(isLastNewer ? 4 : 3, version: isLastNewer ? 2 : 1)
        try session.commit()
        if !isLastNewer { session.overwrite(4, granule: 0, version: 2) }
        try session.commit()
        let (old, new) = (Int(session.slot(of: 3)), Int(session.slot(of: 4)))
        #expect((new > old) == isLastNewer)
        session.state.slots.setBlock(old, 4)
        try session.checkpoint()
        try session.seal()
        #expect(throws: CacheFileError.self) { try RepairPlan.make(file, .safe) }
        let plan = try #require(try RepairPlan.make(file, .all))
        try Repairer.apply(plan, to: file)
        try expectSound(file, "duplicate")
        let served = try Served(file)
        #expect(served.granules.keys.sorted() == [4])
        #expect(served.granules[4]?[0] == Worlds.content(4, 0, 2))
    }

    @Test("every damage is repaired, or refused with the reason", arguments: Damage.all)
    func kinds(damage: Damage) throws {
        let bytes = try damage.make()
        let file = MemoryFile(bytes)
        let place = Comment(rawValue: damage.description)
        for depth in [RepairDepth.safe, .all] {
            do throws(CacheFileError) {
                guard let plan = try RepairPlan.make(file, depth) else {
                    #expect(file.bytes == bytes, place)
                    return
                }
                let undo = MemoryFile([])
                try io { () throws(FileError) in
                    try UndoFile.write(plan, of: file, to: undo).seal(undo)
                    try Repairer.apply(plan, to: file)
                }
                do { try expectSound(file, place) } catch { Issue.record("\(place): \(error)") }
                #expect(file.bytes != bytes, place)
                try Repairer.undo(undo, file)
                #expect(file.bytes == bytes, place)
                return
            } catch {
                #expect(file.bytes == bytes, place)
                print("REPAIR refused \(damage) \(depth): \(error.message)")
            }
        }
        // Another version is no damage, and without a superblock nothing has a name.
        #expect(
            ["VER_NEWER", "FEAT_UNKNOWN", "SB_NONE", "SB_COPY_BAD"]
                .contains(damage.code), place)
    }

    private func io(_ body: () throws(FileError) -> Void) throws(CacheFileError) {
        do throws(FileError) { try body() } catch {
            throw CacheFileError(.io, error.message)
        }
    }

    // MARK: Without a superblock

    /// Files of every kind: closed and killed, without a checkpoint, grown, wrapped around.
    private func files() throws -> [(name: String, file: MemoryFile)] {
        var found: [(String, MemoryFile)] = []
        for isGrown in [false, true] {
            for clean in [false, true] {
                let file = try Worlds.rich(clean: clean, isGrown: isGrown)
                found.append(("\(isGrown ? "grown" : "new"), \(clean ? "closed" : "killed")", file))
                // The log has gone around the ring before.
                let wrapped = try SmallWorld.make()
                if isGrown { try TestSession(wrapped).grow(slots: 20) }
                let session = try TestSession(wrapped)
                try session.map(3, version: 1)
                try session.map(8, version: 1)
                for version in 2..<40 {
                    session.overwrite(3, granule: 1, version: version)
                    try session.commit()
                    try session.seal()
                    if version % 5 != 0 || version == 39 { continue }
                    try session.destage(3, granule: 1, version: version)
                    try session.checkpoint()
                }
                if clean { try session.checkpoint(clean: true) }
                found.append(("wrapped, \(found.last?.0 ?? "")", wrapped))
            }
        }
        return found
    }

    @Test(
        "no superblock is left: with --all and the name of the volume everything dirty is kept",
        arguments: [true, false])
    func withoutSuperblocks(keepsMagic: Bool) throws {
        for (name, file) in try files() {
            let truth = try Served(MemoryFile(file.bytes))
            let geometry = try Recovery.run(file).geometry
            for copy in 0..<4 {
                let at = geometry.superblockOffset(copy)
                let kept = keepsMagic ? 16 : 0
                file.bytes.replaceSubrange(
                    at + kept..<at + 4096, with: [UInt8](repeating: 0xe5, count: 4096 - kept))
            }
            let bytes = file.bytes
            let place = Comment(rawValue: name)
            #expect(throws: CacheFileError.self, place) { try RepairPlan.make(file, .all) }
            #expect(throws: CacheFileError.self, place) {
                try RepairPlan.make(file, .safe, volume: SmallWorld.identity)
            }
            var other = SmallWorld.identity
            other.blockSize *= 2
            #expect(throws: CacheFileError.self, place) {
                try RepairPlan.make(file, .all, volume: other)
            }
            let plan = try #require(
                try RepairPlan.make(file, .all, volume: SmallWorld.identity), place)
            #expect(plan.loss == .suspect, "\(name): \(plan.actions)")
            #expect(plan.conflictBlocks == truth.granules.count, place)
            let undo = MemoryFile([])
            try UndoFile.write(plan, of: file, to: undo).seal(undo)
            try Repairer.apply(plan, to: file)
            try expectSound(file, place)
            let served = try Served(MemoryFile(file.bytes))
            #expect(served == truth, place)
            try Repairer.undo(undo, file)
            #expect(file.bytes == bytes, place)
        }
    }

    @Test(
        "no superblock, and a second damage: refused, or nothing is served that was never written")
    func withoutSuperblocksDamaged() throws {
        var random = SeededRandom(seed: testSeed)
        var (repaired, refused) = (0, 0)
        for number in 0..<600 {
            let world = try DamagedWorld(clean: number % 2 == 0, isGrown: number % 3 == 0)
            var (bytes, what) = world.damaged(&random)
            for (at, range) in world.superblocks.enumerated() where range.upperBound <= bytes.count
            {
                bytes[range.lowerBound + 40 + at] ^= 1
            }
            let file = MemoryFile(bytes)
            let place = Comment(rawValue: "image \(number): \(what)")
            do {
                let plan = try RepairPlan.make(file, .all, volume: SmallWorld.identity)
                try Repairer.apply(try #require(plan), to: file)
                repaired += 1
            } catch let error as CacheFileError {
                #expect(
                    ["SB_NONE", "SIZE_SHORT"].contains(error.finding.code), "\(place): \(error)")
                #expect(file.bytes == bytes, place)
                refused += 1
                continue
            }
            try expectSound(file, place)
            let served = try Served(MemoryFile(file.bytes))
            for (block, granules) in served.granules {
                for (granule, bytes) in granules.enumerated() where bytes != nil && bytes != [] {
                    // Of a log whose end is damaged nothing tells that it was longer.
                    let isWritten =
                        bytes?.allSatisfy { $0 == 0 } == true
                        || (1...8).contains { Worlds.content(block, granule, $0) == bytes }
                    #expect(isWritten, "\(place): block \(block)")
                }
            }
        }
        print("REPAIR without superblocks: repaired=\(repaired) refused=\(refused)")
        #expect(repaired > 300 && refused > 20)
    }

    private struct Counts {
        var fine = 0
        var repaired = 0
        var suspect = 0
        var lossy = 0
        var all = 0
        var refused = 0
        var codes: [String: Int] = [:]
    }

    @Test(
        "5,000 files with anything damaged: what is whole stays whole, and undo gives the bytes back"
    )
    func random() throws {
        let seed = testSeed
        var random = SeededRandom(seed: seed)
        let worlds = try [
            DamagedWorld(clean: false), DamagedWorld(clean: true),
            DamagedWorld(clean: false, isGrown: true),
        ]
        var counts = Counts()
        for number in 0..<5000 {
            let world = worlds[number % 3]
            let (bytes, what) = world.damaged(&random)
            let place = Comment(rawValue: "seed \(seed), image \(number): \(what)")
            try check(world, bytes, isSingle: !what.dropFirst(8).contains(","), place, &counts)
        }
        print(
            "REPAIR images=5000 fine=\(counts.fine) repaired=\(counts.repaired)",
            "suspect=\(counts.suspect) lossy=\(counts.lossy) all=\(counts.all)",
            "refused=\(counts.refused) seed=\(seed)", counts.codes.sorted { $0.key < $1.key })
        #expect(counts.repaired > 1000 && counts.suspect > 100 && counts.lossy > 100)
        for code in ["SB_COPY_BAD", "ROOT_BAD", "PAGE_BAD", "JRN_HOLE", "SIZE_SHORT"] {
            #expect(counts.codes[code, default: 0] > 20, "\(code)")
        }
    }

    private func check(
        _ world: DamagedWorld, _ bytes: [UInt8], isSingle: Bool, _ place: Comment,
        _ counts: inout Counts
    ) throws {
        let file = MemoryFile(bytes)
        var outcome: (plan: RepairPlan, undo: MemoryFile)?
        do {
            outcome = try repair(file, .safe)
        } catch {
            #expect(file.bytes == bytes, place)
            // What is cut off is more than one place.
            let isCut = bytes.count < world.bytes.count
            #expect(!isSingle || isCut, "\(place): \(error)")
            do {
                outcome = try repair(file, .all)
                counts.all += 1
            } catch {
                counts.refused += 1
                #expect(file.bytes == bytes, place)
                return
            }
        }
        guard let (plan, undo) = outcome else {
            counts.fine += 1
            return
        }
        counts.repaired += 1
        for code in Set(plan.findings.filter { $0.severity != .info }.map(\.code)) {
            counts.codes[code, default: 0] += 1
        }
        if plan.actions.contains(where: { $0.loss == .suspect }) { counts.suspect += 1 }
        if plan.loss == .lost { counts.lossy += 1 }
        try expectSound(file, place)
        let served = try Served(MemoryFile(file.bytes))
        let touched = world.blocks(touchedIn: bytes)
        for (block, granules) in world.truth.granules where !touched.contains(block) {
            #expect(served.granules[block] == granules, "\(place): block \(block)")
            #expect(
                served.patches[block] == world.truth.patches[block],
                "\(place): patches of block \(block)")
        }
        if touched.isEmpty { #expect(world.truth.trimmed.isSubset(of: served.trimmed), place) }
        try Repairer.undo(undo, file)
        #expect(file.bytes == bytes, place)
    }
}
