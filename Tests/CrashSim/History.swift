import BlockCache
import CacheFile
import FileIO
import Journal
import Simulation

/// Random histories: one seed, one world, several sessions, many crash images.
package enum History {
    /// Runs one. The violation, if any, names the step.
    /// - Parameter listsStore: Which blocks the store has is found out by listing them.
    package static func run(
        seed: UInt64, steps: Int = 400, listsStore: Bool = false, keepsLog: Bool = false
    ) throws -> (coverage: Coverage, violation: Violation?, log: [String]) {
        var random = SeededRandom(seed: seed)
        var plan = WorldPlan(&random)
        if listsStore { plan.addSurvey(&random) }
        let world = try SimWorld(plan, seed: random.next())
        world.keepsLog = keepsLog
        world.coverage.histories = 1
        do {
            try run(world, steps, &random)
        } catch {
            world.note("\(error)")
            world.coverage.violations = 1
            let found = Violation("seed \(seed): \(error)")
            return (world.coverage, found, world.log)
        }
        return (world.coverage, nil, world.log)
    }

    private static func run(
        _ world: SimWorld, _ steps: Int, _ random: inout SeededRandom
    ) throws(Violation) {
        let probePercent = random.pick([10, 25, 50])
        let crashEvery = random.pick([15, 40, 120])
        let ending = random.below(100)
        for _ in 0..<steps {
            world.step()
            try world.raise()
            for kind in world.probes(probePercent) { try world.probe(kind) }
            if random.below(crashEvery) == 0 {
                try world.crashAndContinue(random.pick(SimWorld.kinds))
            }
            if random.below(150) == 0 { world.isStoreDown.toggle() }
            if random.below(400) == 0 { try world.stopCleanly() }
            try world.raise()
        }
        switch ending {
        case ..<15: try FaultHistory.finish(world)
        case ..<50: try DamageHistory.finish(world)
        default: try world.stopCleanly()
        }
        try world.raise()
    }
}

extension SimWorld {
    func raise() throws(Violation) {
        if let violation { throw violation }
    }
}

/// Writes and flushes that fail.
enum FaultHistory {
    /// Makes one call fail, goes on for a while, and then looks at what is left.
    static func finish(_ world: SimWorld) throws(Violation) {
        let isFlush = world.random.chance(40)
        let kind: FileError.Kind = world.random.chance(50) ? .io : .noSpace
        let nth = world.random.within(1...6)
        if isFlush {
            world.disk.inject(.fail(kind), onNth: nth, .flush)
        } else if world.random.chance(50) {
            world.disk.inject(.fail(kind), onNth: nth, .write)
        } else {
            world.disk.inject(
                .short(bytes: world.random.within(0...8) * 512, kind), onNth: nth, .write)
        }
        world.hasFault = true
        var after = 60
        for _ in 0..<400 where after > 0 {
            world.step()
            try world.raise()
            if world.engine.poison != nil { after -= 1 }
            if world.random.chance(15) { try world.probe(world.random.pick(SimWorld.kinds)) }
        }
        guard world.engine.poison != nil else { return }
        world.coverage.hit(.poisoned)
        try world.drain("a failed file ends its writes") { world.writesWaiting > 0 }
        try world.checkMarkedPoisoned()
        for kind in SimWorld.kinds { try world.probe(kind) }
    }
}
