import BlockCache
import CacheFile
import FileIO
import Journal
import Simulation

extension SimWorld {
    func startTrim() { trim(trimRange()) }

    private func trimRange() -> Range<Int> {
        let size = plan.blockSize
        let first = random.chance(50) ? lastBlock : random.below(plan.volumeBlocks)
        let start = first * size
        switch random.below(8) {
        case 0, 1:
            return start..<start + size
        case 2, 3, 4:
            let count = random.within(1...min(plan.volumeBlocks - first, random.pick([3, 100])))
            return start..<start + count * size
        case 5:
            let granule = geometry.granuleSize
            let from = random.below(geometry.granulesPerBlock)
            let count = random.within(1...geometry.granulesPerBlock - from)
            return start + from * granule..<start + (from + count) * granule
        case 6:
            let from = random.below(size - 1)
            return start + from..<start + from + random.within(1...min(size - from, 6000))
        default:
            let from = start + random.below(size)
            return from..<min(volumeSize, from + random.within(1...4 * size))
        }
    }

    /// Hands a trim to the engine, as the volume does.
    func trim(_ range: Range<Int>) {
        coverage.hit(.trims)
        let user = UserWrite(
            offset: range.lowerBound, bytes: [UInt8](repeating: 0, count: range.count),
            isTrim: true, since: oracle.assigned)
        let request = begin(user)
        let parts = TrimParts(UInt64(range.lowerBound)..<UInt64(range.upperBound), geometry)
        request.partsLeft = parts.count
        note("trim \(range)")
        for part in parts.partial {
            engine.write(
                WriteOp(
                    trimmed: part.block, granules: part.granules, userRange: part.userRange,
                    request: request, geometry, engine.seeds))
            takeWork()
        }
        if !parts.whole.isEmpty { engine.trim(Trim(blocks: parts.whole, request: request)) }
        takeWork()
        if !engine.waitingForExtents.isEmpty { coverage.hit(.trimsWaiting) }
    }

    /// Whole blocks.
    func trimBlocks(_ blocks: Range<Int>) {
        trim(blocks.lowerBound * plan.blockSize..<blocks.upperBound * plan.blockSize)
        settle()
    }

    // MARK: Records

    func traced(_ zero: ZeroRecord, _ lsn: LSN) {
        guard let user = writer(of: zero.block), user.isTrim else {
            return broken("LSN \(lsn) trims block \(zero.block), which nobody asked for")
        }
        let granules = zero.granules ?? 0..<geometry.granulesPerBlock
        let start = Int(zero.block) * plan.blockSize
        let low = start + granules.lowerBound * geometry.granuleSize
        let high = start + granules.upperBound * geometry.granuleSize
        if low < user.range.lowerBound || high > user.range.upperBound {
            broken("LSN \(lsn) trims more than was asked for")
        }
        oracle.zero(zero.block, granules, lsn: lsn)
        user.lastLSN = lsn
    }

    func traced(_ zero: ZeroRangeRecord, _ lsn: LSN) {
        if zero.carriedLSN != 0 { return coverage.hit(.extentsCarried) }
        coverage.hit(.trimmedRanges)
        let size = plan.blockSize
        let range = Int(zero.blocks.lowerBound) * size..<Int(zero.blocks.upperBound) * size
        let users = writes.values.filter {
            $0.isTrim && !$0.isDone && $0.range.clamped(to: range) == range
        }
        if users.isEmpty { broken("LSN \(lsn) trims blocks that nobody asked for") }
        if users.count == 1 { users[0].lastLSN = lsn }
        for block in zero.blocks where engine.state.slot(of: block) == nil {
            oracle.zero(block, 0..<geometry.granulesPerBlock, lsn: lsn)
        }
    }

    /// An acknowledged trim: every byte was zero at some time since it began, and the record that
    /// made it so is written.
    func checkTrimmed(_ user: UserWrite) {
        user.bytes.withUnsafeBytes { zeros in
            if !oracle.isPlausible(
                zeros, at: user.offset, since: user.since, upTo: oracle.written)
            {
                broken("trim of \(user.range) was acknowledged before all of it was zeros")
            }
        }
    }
}
