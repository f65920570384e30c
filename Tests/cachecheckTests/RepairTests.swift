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
        let worlds = try [DamagedWorld(clean: false), DamagedWorld(clean: true)]
        var counts = Counts()
        for number in 0..<5000 {
            let world = worlds[number % 2]
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
