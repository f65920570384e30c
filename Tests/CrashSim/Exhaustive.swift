import BlockCache
import CacheFile
import FileIO
import Journal
import Simulation

/// Small worlds: after every step, every subset of the writes that no flush covered.
package enum Exhaustive {
    /// 8 slots, 4 blocks, a handful of operations. With more than 8 unsynced writes a sample.
    package static func run(
        seed: UInt64, steps: Int = 60, subsetsMax: Int = 256
    ) throws -> (coverage: Coverage, violation: Violation?) {
        var random = SeededRandom(seed: seed &* 7919)
        var plan = WorldPlan()
        plan.volumeBlocks = 4
        plan.blockSize = random.pick([4096, 8192])
        plan.usersMax = 3
        plan.pace = random.pick(WorldPlan.Pace.allCases)
        plan.engine.writeDelayMs = UInt64(random.pick([0, 50]))
        plan.engine.checkpointIntervalMs = 100
        plan.engine.retryDelayMs = 20
        let world = try SimWorld(plan, seed: random.next())
        world.coverage.histories = 1
        do {
            // What was found in one image holds for it whenever it comes up again, but for the floor.
            var known: [UInt64: LSN] = [:]
            for _ in 0..<steps {
                world.step()
                try world.raise()
                try world.probeSubsets(subsetsMax, &known)
            }
            try world.stopCleanly()
        } catch {
            world.coverage.violations = 1
            return (world.coverage, Violation("seed \(seed): \(error)"))
        }
        return (world.coverage, nil)
    }
}

extension SimWorld {
    func probeSubsets(_ limit: Int, _ known: inout [UInt64: LSN]) throws(Violation) {
        countCrashPoint()
        let floor = oracle.cutFloor
        for image in disk.powerCutImages(limit: limit, seed: random.next()) {
            let hash = image.contentHash
            coverage.sawImage(hash)
            if let lsn = known[hash] {
                if lsn >= floor { continue }
                throw Violation("an image known to give R = \(lsn), LSN \(floor) was promised")
            }
            let recovered = try recover(SimDisk(image), floor: floor, "subset at step \(stepNumber)")
            known[hash] = recovered.lsn
        }
        try probe(.kill)
    }
}
