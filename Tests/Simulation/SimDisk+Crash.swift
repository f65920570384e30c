/// How much of the unsynced writes a power cut leaves on the medium.
package enum PowerCut: CaseIterable, Sendable {
    /// Nothing.
    case dropAll
    /// Everything, issued writes included.
    case keepAll
    /// Each write whole or not at all, in any order.
    case perWrite
    /// Each sector of each write or not.
    case perSector
    /// Everything but for one write, which is torn.
    case torn
    /// Like `perSector`, and some of the sectors being written hold neither old nor new content.
    case garbage
}

/// A write not covered by any flush, for messages.
package struct UnsyncedWrite: Equatable, Sendable {
    package let range: Range<Int>
    package let isReturned: Bool

    package init(range: Range<Int>, isReturned: Bool) {
        self.range = range
        self.isReturned = isReturned
    }
}

extension SimDisk {
    /// Returned writes in the order of returning, then issued ones in the order of issuing.
    package var unsyncedWrites: [UnsyncedWrite] {
        returned.map { UnsyncedWrite(range: $0.range, isReturned: true) }
            + issued.map { UnsyncedWrite(range: $0.range, isReturned: false) }
    }

    // MARK: Kill

    /// The disk that the next process finds after this one was killed: returned writes stay, each
    /// issued one happened not at all, whole or in part, and none of them is durable yet.
    package func afterKill(_ random: inout SeededRandom) -> SimDisk {
        let next = copy()
        next.issued = []
        next.reseed(random.next())
        for var write in shuffledIssued(&random) {
            switch random.below(3) {
            case 0: continue
            case 1: write.merge(into: &next.cache)
            default: next.mergeTorn(&write, &random)
            }
            next.addReturned(write)
        }
        return next
    }

    /// What reads see after a kill.
    package func killImage(_ random: inout SeededRandom) -> DiskImage { afterKill(&random).cache }

    private func mergeTorn(_ write: inout PendingWrite, _ random: inout SeededRandom) {
        var whole = cache
        write.merge(into: &whole)
        tear(&write, &random)
        write.merge(into: &cache)
    }

    // MARK: Power cut

    /// The disk after a power cut: all that is on it is durable.
    package func afterPowerCut(_ mode: PowerCut, _ random: inout SeededRandom) -> SimDisk {
        SimDisk(powerCutImage(mode, &random), seed: random.next())
    }

    package func powerCutImage(_ mode: PowerCut, _ random: inout SeededRandom) -> DiskImage {
        var image = durable
        if mode == .dropAll { return image }
        if let cutSize, mode == .keepAll || random.chance(50) { image.shrink(to: cutSize) }
        var writes = wholeWrites(shuffledIssued(&random))
        if mode == .keepAll || mode == .torn || random.chance(50) {
            image.grow(to: max(image.size, cache.size))
        }
        switch mode {
        case .dropAll, .keepAll: break
        case .perWrite:
            random.shuffle(&writes)
            writes.removeAll { _ in random.chance(50) }
        case .torn:
            if !writes.isEmpty { tear(&writes[random.below(writes.count)], &random) }
        case .perSector, .garbage:
            let all = mode == .garbage ? writes : []
            for index in writes.indices { thin(&writes[index], &random) }
            for write in writes { image.apply(write.patches) }
            spoil(&image, all, &random)
            return image
        }
        for write in writes { image.apply(write.patches) }
        return image
    }

    /// The disk after a power cut that kept exactly those unsynced writes, whole, whose range
    /// `isKept` accepts: a device that lost one region of the file and not another.
    package func afterPowerCut(
        keeping isKept: (Range<Int>) -> Bool, _ random: inout SeededRandom
    ) -> SimDisk {
        var image = durable
        let writes = wholeWrites(shuffledIssued(&random)).filter { isKept($0.range) }
        if writes.contains(where: { $0.range.upperBound > image.size }) {
            image.grow(to: max(image.size, cache.size))
        }
        for write in writes { image.apply(write.patches) }
        return SimDisk(image, seed: random.next())
    }

    /// Crash images for small cases: with up to 12 unsynced writes every subset of them, 2^n in
    /// all, if `limit` allows; otherwise `limit` samples of all modes, beginning with `dropAll` and
    /// `keepAll`. A pass may be repeated and gives the same images.
    package func powerCutImages(
        limit: Int = 1 << SimDisk.exhaustiveWritesMax, seed: UInt64 = 0
    ) -> some Sequence<DiskImage> {
        let count = returned.count + issued.count
        let isExhaustive = count <= Self.exhaustiveWritesMax && 1 << count <= limit
        let frozen = copy()
        return (0..<(isExhaustive ? 1 << count : limit)).lazy.map { number in
            if isExhaustive { return frozen.subsetImage(number) }
            var random = SeededRandom(seed: SeededRandom.mix(seed ^ UInt64(number + 1)))
            let sampled: [PowerCut] = [.perWrite, .perSector, .torn, .garbage]
            let mode = number < 2 ? [.dropAll, .keepAll][number] : sampled[number % sampled.count]
            return frozen.powerCutImage(mode, &random)
        }
    }

    package static var exhaustiveWritesMax: Int { 12 }

    /// The medium with those writes whose bit is set, in the order of `unsyncedWrites`.
    private func subsetImage(_ subset: Int) -> DiskImage {
        var image = durable
        for (index, write) in wholeWrites(issued).enumerated() where subset >> index & 1 != 0 {
            if write.range.upperBound > image.size { image.grow(to: max(image.size, cache.size)) }
            image.apply(write.patches)
        }
        return image
    }

    // MARK: Parts

    private func shuffledIssued(_ random: inout SeededRandom) -> [PendingWrite] {
        var writes = issued
        random.shuffle(&writes)
        return writes
    }

    /// All unsynced writes as whole sectors: the returned ones, then `running` in this order.
    private func wholeWrites(_ running: [PendingWrite]) -> [PendingWrite] {
        if running.allSatisfy(\.isWhole) { return returned + running }
        var view = cache
        var writes = returned
        for var write in running {
            write.merge(into: &view)
            writes.append(write)
        }
        return writes
    }

    /// Takes each sector away with a chance that is drawn for the write: 1/4, 1/2 or 3/4.
    private func thin(_ write: inout PendingWrite, _ random: inout SeededRandom) {
        let density = random.below(3)
        write.keepSectors { _ in
            let one = UInt8(truncatingIfNeeded: random.next())
            let other = UInt8(truncatingIfNeeded: random.next())
            return SectorMask(bits: density == 0 ? one & other : density == 1 ? one : one | other)
        }
    }

    /// Takes some sectors of a write away, at least one: the end in half the cases, any otherwise.
    /// Of two sectors or more, one stays at least.
    private func tear(_ write: inout PendingWrite, _ random: inout SeededRandom) {
        let count = write.sectorCount
        if count == 0 { return }
        var keeps = [Bool](repeating: false, count: count)
        if random.chance(50) {
            let kept = count > 1 ? random.within(1...count - 1) : 0
            for index in 0..<kept { keeps[index] = true }
        } else {
            for index in 0..<count { keeps[index] = random.chance(50) }
            let (out, stays) = (random.below(count), random.below(max(count - 1, 1)))
            if count > 1 { keeps[stays < out ? stays : stays + 1] = true }
            keeps[out] = false
        }
        var index = 0
        write.keepSectors { patch in
            var mask = SectorMask.none
            for sector in 0..<DiskPage.sectorCount where patch.mask.contains(sector) {
                if keeps[index] { mask.bits |= 1 << UInt8(sector) }
                index += 1
            }
            return mask
        }
    }

    /// Hits about every tenth sector that was being written, at least one, with random bytes or
    /// with new content that stops within the sector.
    private func spoil(
        _ image: inout DiskImage, _ writes: [PendingWrite], _ random: inout SeededRandom
    ) {
        var sectors: [(content: DiskPage, sector: Int, offset: Int)] = []
        for patch in writes.flatMap(\.patches) {
            for sector in 0..<DiskPage.sectorCount where patch.mask.contains(sector) {
                let offset = patch.page * DiskPage.size + sector * DiskPage.sectorSize
                if offset + DiskPage.sectorSize > image.size { continue }
                sectors.append((patch.content, sector, offset))
            }
        }
        if sectors.isEmpty { return }
        let certain = random.below(sectors.count)
        for (index, (content, sector, offset)) in sectors.enumerated()
        where index == certain || random.chance(10) {
            if random.chance(50) {
                image.write(random.bytes(DiskPage.sectorSize), at: offset)
            } else {
                let start = sector * DiskPage.sectorSize
                let part = start..<start + random.within(1...DiskPage.sectorSize - 1)
                image.write(UnsafeRawBufferPointer(rebasing: content.bytes[part]), at: offset)
            }
        }
    }
}
