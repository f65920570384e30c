import FileIO
import Simulation
import Testing

/// Random calls against byte arrays and lists of sector versions, without pages or sharing.
@Suite struct SimDiskModelTests {
    static let size = 24_576
    static let sectorCount = size / 512

    /// The rules of `SimDisk`, written down as plainly as possible. Writes are whole sectors.
    struct Model {
        struct Write {
            let bytes: [UInt8]
            let first: Int
            func sector(_ index: Int) -> [UInt8]? {
                let start = (index - first) * 512
                return start >= 0 && start < bytes.count ? Array(bytes[start..<start + 512]) : nil
            }
        }
        var durable = [UInt8](repeating: 0, count: size)
        var returned: [Write] = []
        var issued: [(token: SimDisk.WriteToken, write: Write)] = []
        /// Flushes under way, with how many of `returned` each covers.
        var flushes: [(token: SimDisk.FlushToken, covered: Int)] = []

        static func apply(_ writes: ArraySlice<Write>, to bytes: inout [UInt8]) {
            for write in writes {
                let start = write.first * 512
                bytes.replaceSubrange(start..<start + write.bytes.count, with: write.bytes)
            }
        }

        var cache: [UInt8] {
            var bytes = durable
            Self.apply(returned[...], to: &bytes)
            return bytes
        }

        mutating func endFlush(_ index: Int) {
            let covered = flushes.remove(at: index).covered
            Self.apply(returned[..<covered], to: &durable)
            returned.removeFirst(covered)
            for other in flushes.indices {
                flushes[other].covered = max(0, flushes[other].covered - covered)
            }
        }

        /// The first sector of `image` that a power cut cannot have left.
        func wrongAfterPowerCut(_ image: DiskImage) -> Int? {
            wrong(image, base: durable, writes: returned + issued.map(\.write))
        }

        func wrongAfterKill(_ image: DiskImage) -> Int? {
            wrong(image, base: cache, writes: issued.map(\.write))
        }

        private func wrong(_ image: DiskImage, base: [UInt8], writes: [Write]) -> Int? {
            (0..<sectorCount).first { index in
                let found = image.read(index * 512..<index * 512 + 512)
                if found == Array(base[index * 512..<index * 512 + 512]) { return false }
                return !writes.contains { $0.sector(index) == found }
            }
        }
    }

    @Test("random histories agree with the model", arguments: 1...25)
    func history(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let disk = SimDisk(size: Self.size, seed: seed)
        var model = Model()
        for step in 0..<120 {
            try advance(disk, &model, &random)
            let note: Comment = "seed \(seed) step \(step)"
            let matches =
                disk.cache.read(0..<Self.size) == model.cache
                && disk.durable.read(0..<Self.size) == model.durable
            #expect(matches, note)
            #expect(disk.unsyncedWrites.count == model.returned.count + model.issued.count, note)
            let mode = random.pick(PowerCut.allCases.filter { $0 != .garbage })
            let cut = disk.powerCutImage(mode, &random)
            #expect(model.wrongAfterPowerCut(cut) == nil, "\(note) \(mode)")
            let killed = disk.afterKill(&random)
            #expect(model.wrongAfterKill(killed.cache) == nil, note)
            let both = killed.powerCutImage(mode, &random)
            #expect(model.wrongAfterPowerCut(both) == nil, "\(note) kill, \(mode)")
            if !matches { return }
        }
    }

    private func advance(
        _ disk: SimDisk, _ model: inout Model, _ random: inout SeededRandom
    ) throws {
        switch random.below(10) {
        case 0...3:
            let first = random.below(Self.sectorCount)
            let count = random.within(1...min(20, Self.sectorCount - first))
            let write = Model.Write(bytes: random.bytes(count * 512), first: first)
            model.issued.append((try disk.start(write.bytes, at: first * 512), write))
        case 4...6:
            if model.issued.isEmpty { return }
            let (token, write) = model.issued.remove(at: random.below(model.issued.count))
            try disk.complete(token)
            model.returned.append(write)
        case 7:
            if model.flushes.count == 3 { return }
            model.flushes.append((try disk.beginFlush(), model.returned.count))
        case 8:
            if model.flushes.isEmpty { return }
            let index = random.below(model.flushes.count)
            try disk.endFlush(model.flushes[index].token)
            model.endFlush(index)
        default:
            let first = random.below(Self.sectorCount)
            try disk.put(sectors(9), at: first * 512)
            model.returned.append(Model.Write(bytes: sectors(9), first: first))
        }
    }

    @Test("writes of any bytes: each byte after a crash was there or written", arguments: 1...10)
    func anyBytes(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let size = random.within(3000...9000)
        let disk = SimDisk(size: size, seed: seed)
        var cache = [UInt8](repeating: 0, count: size)
        var legal = [Set<UInt8>](repeating: [0], count: size)
        for step in 0..<25 {
            let count = random.within(1...1500)
            let offset = random.within(0...size - count)
            let bytes = random.bytes(count)
            let token = try disk.start(bytes, at: offset)
            for index in 0..<count { legal[offset + index].insert(bytes[index]) }
            for image in [disk.killImage(&random), disk.powerCutImage(.perSector, &random)] {
                let found = image.read(0..<size)
                let isLegal = zip(found, legal).allSatisfy { $1.contains($0) }
                #expect(isLegal, "seed \(seed) step \(step)")
            }
            try disk.complete(token)
            cache.replaceSubrange(offset..<offset + count, with: bytes)
            #expect(try disk.get(0..<size) == cache, "seed \(seed) step \(step)")
            if random.chance(20) {
                try disk.flush()
                legal = cache.map { [$0] }
                #expect(disk.durable == disk.cache, "seed \(seed) step \(step)")
            }
        }
    }
}
