import BlockCache
import CacheFile
import Simulation

/// The shape of one world, drawn from a seed.
package struct WorldPlan {
    /// Which I/O is slow, so that other things overtake it.
    package enum Pace: CaseIterable, Sendable {
        case even, slowSlots, slowFlush, slowGroups, slowStore, slowDeletes, slowCheckpoint, fast
    }

    package var blockSize = 4096
    package var volumeBlocks = 6
    package var slots = 8
    package var slotsPerZone: Int?
    package var ringBytes = 128 << 10
    package var pace = Pace.even
    package var engine = EngineConfiguration()
    package var usersMax = 4
    /// Percent of user operations that are reads, and that are fsyncs.
    package var readPercent = 20
    package var syncPercent = 10
    /// Percent of writes that cover a whole block.
    package var wholePercent = 30
    /// Percent of writes that are trims.
    package var trimPercent = 0
    package var storeFailPercent = 0
    /// How often the cache file gets another size.
    package var resizePermille = 0
    /// Blocks that the store has at the start.
    package var storedPercent = 50
    package var hasContentTags = false
    /// Uploads of what has been written anew meanwhile may be cut off.
    package var givesUpOvertaken = false

    /// Blocks in a page of a list.
    package var listedTogether = 1000

    package init() {}

    package init(_ random: inout SeededRandom) {
        blockSize = random.pick([4096, 4096, 8192, 16384, 16384])
        volumeBlocks = random.within(4...24)
        slots = random.within(8...16)
        if random.chance(40) { slotsPerZone = random.within(slots / 2...slots - 1) }
        // The smallest there is, mostly, so that the ring goes round often.
        ringBytes = random.pick([96, 96, 96, 128, 192]) << 10
        pace = random.pick(Pace.allCases)
        usersMax = random.within(1...6)
        readPercent = random.pick([5, 20, 50])
        syncPercent = random.pick([2, 10, 30])
        wholePercent = random.pick([10, 40, 80])
        storeFailPercent = random.pick([0, 0, 5, 30])
        storedPercent = random.pick([0, 50, 90])
        engine.writeDelayMs = UInt64(random.pick([0, 0, 50, 250, 100_000]))
        engine.uploadsMax = random.within(1...4)
        engine.checkpointIntervalMs = UInt64(random.pick([20, 200, 1000, 60_000]))
        engine.dirtyPagesMax = random.pick([1, 3, 2048])
        engine.sealDelayMs = UInt64(random.pick([0, 50, 5000]))
        engine.syncIntervalMs = UInt64(random.pick([100, 5000]))
        engine.storeHonorsConditions = random.chance(50)
        engine.storeLateMs = UInt64(random.pick([0, 0, 200, 3000]))
        engine.intentDelayMs = UInt64(random.pick([0, 200]))
        hasContentTags = random.chance(40)
        engine.retryDelayMs = 20
        engine.retryDelayMaxMs = 500
        engine.refusalsMax = 2 * engine.uploadsMax
        trimPercent = random.pick([0, 10, 30, 50])
        resizePermille = random.pick([0, 0, 60, 120])
        if resizePermille > 0, random.chance(70) {
            // Slots that come are needed, and their dirty blocks can go elsewhere when they go.
            slots = 8
            volumeBlocks = random.within(8...13)
            engine.writeDelayMs = UInt64(random.pick([50, 100_000]))
        }
        engine.trimStepsMax = random.pick([1, 3, 4096])
        engine.storeDeletesTogether = random.pick([1, 1, 3, 1000])
        engine.extentsMax = random.pick([4, 6, .max])
        givesUpOvertaken = random.chance(75)
        engine.storeReadsParts = storedPercent == 90
        // Neighbours are read often enough in a volume this small.
        if readPercent == 50 { engine.readAheadMax = 4 }
        engine.recordDelayMs = UInt64(random.pick([0, 20, 1000]))
        // Evictions take their time: not where what is rare meets fills.
        if trimPercent == 0 {
            engine.clockStepsMax = random.pick([1, 4096])
            engine.policy.protectedBlocks = UInt64(random.pick([0, 0, 3]))
        }
    }

    var identity: VolumeIdentity {
        VolumeIdentity(
            binding: [UInt8](repeating: 7, count: 32), volumeUUID: [UInt8](repeating: 9, count: 16),
            blockSize: blockSize, volumeBlocks: UInt64(volumeBlocks))
    }

    static let info = SessionInfo(
        creator: "simulation", mounter: "simulation", host: "simulation", bootID: [], mountedAt: 1)

    func layOut() throws -> Geometry {
        var request = LayoutRequest(
            blockSize: blockSize, volumeBlocks: UInt64(volumeBlocks), slots: slots,
            ringBytes: ringBytes)
        request.ringOffset = 256 << 10
        request.slotAlignment = 4096
        request.slotsPerZone = slotsPerZone
        return try request.layOut()
    }
}
