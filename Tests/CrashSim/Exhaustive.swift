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
            for _ in 0..<steps {
                world.step()
                try world.raise()
                try world.probeSubsets(subsetsMax)
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
    func probeSubsets(_ limit: Int) throws(Violation) {
        countCrashPoint()
        let floor = oracle.cutFloor
        for image in disk.powerCutImages(limit: limit, seed: random.next()) {
            let hash = image.contentHash
            coverage.sawImage(hash)
            if try isKnown(hash, floor: floor) { continue }
            let recovered = try recover(
                SimDisk(image), floor: floor, "subset at step \(stepNumber)")
            known[hash] = recovered.lsn
        }
        try probe(.kill)
    }
}
