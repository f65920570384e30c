import CacheFile
import FileIO
import Journal
import Simulation

/// What a disk may do to one place without an error.
enum Damage: CaseIterable {
    case lostWrite, misdirectedWrite, misdirectedRead, flippedBit
}

/// Histories that end on a disk that lies once. docs/format.md, "What is promised": such damage is
/// found, or harmless. Nobody ever gets other bytes than those written, in the store neither; clean
/// blocks are fetched again, dirty ones are an error, and metadata is right or refused.
enum DamageHistory {
    static func finish(_ world: SimWorld) throws(Violation) {
        world.becomeDamaged()
        // Rot of what only the journal has stops the engine, when destage finds it.
        world.hasFault = true
        world.strike(world.random.pick(Damage.allCases))
        for _ in 0..<150 {
            world.step()
            try world.raise()
            if world.random.chance(10) { try world.probeDamaged() }
        }
        world.coverage.hit(.damagedHistories)
        for _ in 0..<4 { try world.probeDamaged() }
        try world.goOnDamaged()
    }
}

extension SimWorld {
    func strike(_ damage: Damage) {
        let nth = random.within(1...8)
        // Any transfer fits behind it, also in a file that has become smaller.
        let smallest = (try? geometry.resized(to: Geometry.slotsMin)) ?? geometry
        let places = (smallest.fileSize - geometry.ringLength / 2) / 4096
        let target = random.below(places) * 4096
        note("DAMAGE \(damage), call \(nth), to \(target)")
        switch damage {
        case .lostWrite: disk.inject(.lose, onNth: nth, .write)
        case .misdirectedWrite: disk.inject(.misdirect(to: target), onNth: nth, .write)
        case .misdirectedRead: disk.inject(.misdirect(to: target), onNth: nth, .read)
        case .flippedBit: disk.flip(bit: random.below(8), at: placeToRot())
        }
    }

    /// Anywhere; mostly where bytes lie that nothing else has.
    private func placeToRot() -> Int {
        let dirty = (0..<geometry.slotCount).filter { engine.state.slots.state($0) == .dirty }
        switch random.below(4) {
        case 0: return random.below(geometry.fileSize)
        case 1 where engine.journal.usedBytes > 0:
            let position = engine.journal.tail + UInt64(random.below(engine.journal.usedBytes))
            return geometry.ringOffset + Int(position % UInt64(geometry.ringLength))
        default:
            guard !dirty.isEmpty else { return random.below(geometry.fileSize) }
            return geometry.slotOffset(random.pick(dirty)) + random.below(geometry.blockSize)
        }
    }

    /// Recovers a crash image of the damaged disk on a copy: refused, or as promised.
    func probeDamaged() throws(Violation) {
        let kind = random.pick(Self.kinds)
        _ = try recoverDamaged(crashed(kind, disk, &random), "damaged, \(kind)")
    }

    private func recoverDamaged(
        _ crashed: SimDisk, _ what: String
    ) throws(Violation) -> Recovered? {
        coverage.sawImage(crashed.cache.contentHash)
        let isRefused = (try? CacheFiles.inspect(crashed)) == nil
        var lsn: LSN = 0
        do {
            let cache = try SessionStart.open(
                crashed, identity: plan.identity, info: WorldPlan.info
            ) { lsn = $0.scan.end.lsn - 1 }
            if isRefused { throw Violation("\(what): a mount accepts what cachecheck refuses") }
            if lsn < damagedFloor {
                throw Violation("\(what): R = \(lsn), but LSN \(damagedFloor) is sealed twice")
            }
            try compare(cache.state, crashed, lsn, what)
            if lsn < oracle.cutFloor {
                coverage.hit(.damagedEnd)
                return nil
            }
            coverage.hit(.damageSurvived)
            return Recovered(cache: cache, lsn: lsn)
        } catch let violation as Violation {
            throw violation
        } catch {
            guard isRefused else { throw Violation("\(what): only a mount refuses: \(error)") }
            coverage.hit(.damageRefused)
            return nil
        }
    }

    /// A session on the damaged file: readers and the store get what was written, or an error.
    func goOnDamaged() throws(Violation) {
        disk.clearFaults()
        let image = crashed(.kill, disk, &random)
        guard let recovered = try recoverDamaged(image, "damaged, next session") else { return }
        try resume(recovered, image)
        hasFault = true
        isStoreDown = false
        for block in 0..<plan.volumeBlocks {
            readGranules(block, 0..<geometry.granulesPerBlock)
            for _ in 0..<4 { step() }
            try raise()
        }
        for _ in 0..<100 {
            step()
            try raise()
        }
        coverage.hit(.damageLivedWith)
    }
}
