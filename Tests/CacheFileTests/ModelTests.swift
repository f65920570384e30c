import CacheFile
import FileIO
import Journal
import Simulation
import TestSupport
import Testing

@Suite("Structures in memory, against simple models")
struct ModelTests {
    @Test(
        "the block index does what a dictionary does",
        arguments: [(8, 40), (100, 1_000_000), (1000, 1500)])
    func blockIndex(slots: Int, blocks: Int) {
        var random = SeededRandom(seed: UInt64(slots))
        var index = BlockIndex(slots: slots)
        var blockOf = [UInt64](repeating: .max, count: slots)
        var model: [UInt64: Int] = [:]
        for step in 0..<20_000 {
            // Some block numbers far apart, some neighbours.
            let block = UInt64(random.below(blocks)) << (random.chance(10) ? 40 : 0)
            if let slot = model[block] {
                if random.chance(50) {
                    index.remove(block, slot: slot) { blockOf[$0] }
                    blockOf[slot] = .max
                    model[block] = nil
                }
            } else if model.count < slots {
                let slot = blockOf.firstIndex(of: .max)!
                blockOf[slot] = block
                index.insert(block, slot: slot)
                model[block] = slot
            } else if random.chance(60), let (victim, slot) = model.first {
                index.remove(victim, slot: slot) { blockOf[$0] }
                blockOf[slot] = .max
                model[victim] = nil
            }
            let found = index.find(block) { blockOf[$0] }
            #expect(found == model[block], "step \(step)")
            let count = index.count
            #expect(count == model.count)
            if step % 1000 == 0 {
                for (block, slot) in model {
                    let found = index.find(block) { blockOf[$0] }
                    #expect(found == slot)
                }
            }
        }
    }

    @Test("a granule set does what a set does")
    func granuleSet() {
        var random = SeededRandom(seed: 2)
        for _ in 0..<400 {
            var sets = [GranuleSet(), GranuleSet()]
            var models: [Set<Int>] = [[], []]
            let density = random.below(256)
            for _ in 0..<random.below(300) {
                let which = random.below(2)
                let granule =
                    random.chance(50) ? random.below(256) : min(density + random.below(8), 255)
                if random.chance(75) {
                    sets[which].insert(granule)
                    models[which].insert(granule)
                } else {
                    sets[which].remove(granule)
                    models[which].remove(granule)
                }
            }
            func members(_ set: GranuleSet) -> [Int] {
                var found: [Int] = []
                // swift-format-ignore: ReplaceForEachWithForLoop
                set.forEach { found.append($0) }
                return found
            }
            let (a, b) = (sets[0], sets[1])
            #expect(members(a) == models[0].sorted())
            #expect(members(a.union(b)) == models[0].union(models[1]).sorted())
            #expect(members(a.intersection(b)) == models[0].intersection(models[1]).sorted())
            #expect(members(a.subtracting(b)) == models[0].subtracting(models[1]).sorted())
            #expect(a.isSuperset(of: b) == models[0].isSuperset(of: models[1]))
            #expect(a.count == models[0].count && a.isEmpty == models[0].isEmpty)
            #expect((a == b) == (models[0] == models[1]))
            #expect(a.runs.flatMap { Array($0) } == models[0].sorted())
            for (run, next) in zip(a.runs, a.runs.dropFirst()) {
                #expect(run.upperBound < next.lowerBound)
            }
            for granule in 0..<256 { #expect(a.contains(granule) == models[0].contains(granule)) }
            var copy = GranuleSet()
            for word in 0..<4 { copy[word: word] = a[word: word] }
            #expect(copy == a)
        }
        #expect(GranuleSet.all(256).count == 256)
        #expect(GranuleSet.all(0).isEmpty)
    }
}

@Suite("Records")
struct RecordTests {
    static func geometry(_ random: inout SeededRandom) throws -> Geometry {
        try LayoutRequest(
            blockSize: 4096 << random.below(15), volumeBlocks: 1 << 20,
            slots: 100 + random.below(1000)
        ).layOut()
    }

    static func base(_ random: inout SeededRandom) -> Base {
        Base(Base.Kind(rawValue: UInt8(random.below(6)))!, random.bytes(24))
    }

    static func granules(_ geometry: Geometry, _ random: inout SeededRandom) -> GranuleSet {
        var set = GranuleSet()
        for granule in 0..<geometry.granulesPerBlock where random.chance(40) { set.insert(granule) }
        return set
    }

    static func record(_ geometry: Geometry, _ random: inout SeededRandom) -> Record {
        let slot = UInt32(random.below(geometry.slotCount))
        let block = UInt64(random.below(Int(geometry.volumeBlocks)))
        func crcs(_ count: Int) -> [UInt32] {
            (0..<count).map { _ in UInt32(truncatingIfNeeded: random.next()) }
        }
        switch random.below(10) {
        case 6:
            var ranges: [Range<Int>] = []
            var next = random.below(20)
            while next < geometry.granuleSize - 100, ranges.count < 20 {
                ranges.append(next..<next + 1 + random.below(90))
                next = ranges[ranges.count - 1].upperBound + 1 + random.below(300)
            }
            return .patch(
                PatchRecord(
                    slot: slot, block: block, granule: random.below(geometry.granulesPerBlock),
                    ranges: ranges, crc: UInt32(truncatingIfNeeded: random.next()),
                    dataPosition: UInt32(random.below(100)),
                    carriedLSN: random.chance(50) ? 0 : random.next()))
        case 0:
            let first = random.below(geometry.granulesPerBlock)
            let count = 1 + random.below(geometry.granulesPerBlock - first)
            return .data(
                DataRecord(
                    slot: slot, block: block, firstGranule: first, crcs: crcs(count),
                    dataPosition: UInt32(random.below(1000)), isMerge: random.chance(30)))
        case 1:
            var flags = MapRecord.Flags(rawValue: UInt8(truncatingIfNeeded: random.next()))
            flags.formIntersection([.extend, .fill, .zeroBase, .keepBase])
            let set = granules(geometry, &random)
            let old =
                flags.contains(.extend) || random.chance(50)
                ? Record.noSlot : UInt32(random.below(geometry.slotCount))
            return .map(
                MapRecord(
                    slot: slot, block: block, flags: flags, oldSlot: old, base: base(&random),
                    granules: set, crcs: crcs(set.count)))
        case 2:
            return .clean(
                CleanRecord(slot: slot, block: block, asOf: random.next(), base: base(&random)))
        case 3: return .evict(EvictRecord(slot: slot, block: block))
        case 7:
            let first = random.below(geometry.granulesPerBlock)
            let end = first + 1 + random.below(geometry.granulesPerBlock - first)
            return .zero(
                ZeroRecord(
                    slot: slot, block: block, granules: random.chance(50) ? nil : first..<end))
        case 8:
            let count = 1 + UInt64(random.below(Int(geometry.volumeBlocks - block)))
            return .zeroRange(
                ZeroRangeRecord(
                    blocks: block..<block + count, carriedLSN: random.chance(50) ? 0 : random.next()
                ))
        case 9:
            let count = 1 + UInt64(random.below(Int(geometry.volumeBlocks - block)))
            return .cleanRange(
                CleanRangeRecord(blocks: block..<block + count, asOf: random.next()))
        case 4:
            return .evict(
                EvictRecord(slot: slot, block: block, granules: granules(geometry, &random)))
        default: return .epoch(random.next())
        }
    }

    @Test("a record that is written is read again; cut or longer it is refused")
    func roundTrip() throws {
        var random = SeededRandom(seed: 3)
        for _ in 0..<3000 {
            let geometry = try Self.geometry(&random)
            let record = Self.record(geometry, &random)
            let raw = record.encode(geometry)
            #expect(raw.encodedSize <= 1200)
            #expect(raw.encodedSize == record.encodedSize(geometry))
            #expect(raw.body.count % 8 == 0)
            #expect(Record.decode(raw, geometry) == record)
            for cut in [1, 2, 8, 16] where cut <= raw.body.count {
                var short = raw
                short.body.removeLast(cut)
                #expect(Record.decode(short, geometry) != record)
            }
            var long = raw
            long.body += [UInt8](repeating: 0, count: 8)
            #expect(Record.decode(long, geometry) == nil)
        }
    }

    @Test("random and damaged records never lead out of bounds, and what is read is as written")
    func damaged() throws {
        var random = SeededRandom(seed: 4)
        for _ in 0..<20_000 {
            let geometry = try Self.geometry(&random)
            var raw = Self.record(geometry, &random).encode(geometry)
            switch random.below(4) {
            case 0: raw.body = random.bytes(random.below(150) * 8)
            case 1: raw.type = UInt8(random.below(10))
            case 2: raw.flags = UInt8(truncatingIfNeeded: random.next())
            default: break
            }
            for _ in 0..<random.below(4) where !raw.body.isEmpty {
                raw.body[random.below(raw.body.count)] ^= 1 << UInt8(random.below(8))
            }
            // The format has one encoding for each record.
            if let record = Record.decode(raw, geometry) { #expect(record.encode(geometry) == raw) }
        }
    }

    @Test("slots that no file has, and blocks beyond the volume, are refused")
    func ranges() throws {
        let geometry = try SmallWorld.request().layOut()
        for record in [
            Record.evict(EvictRecord(slot: .max - 1, block: 0)),
            .evict(EvictRecord(slot: 0, block: 32)),
            .clean(CleanRecord(slot: .max, block: 0, asOf: 1, base: .absent)),
            .map(
                MapRecord(
                    slot: 0, block: 0, flags: [], oldSlot: .max - 1, granules: GranuleSet(),
                    crcs: [])),
            .map(
                MapRecord(
                    slot: 0, block: 0, flags: [.move, .fill], oldSlot: 1,
                    granules: GranuleSet(), crcs: [])),
            .map(
                MapRecord(
                    slot: 0, block: 0, flags: .move, granules: GranuleSet(), crcs: [])),
            .zero(ZeroRecord(slot: .max - 1, block: 0)), .zero(ZeroRecord(slot: 0, block: 32)),
            .zero(ZeroRecord(slot: 0, block: 0, granules: 1..<3)),
            .zeroRange(ZeroRangeRecord(blocks: 31..<33)),
            .cleanRange(CleanRangeRecord(blocks: 0..<33, asOf: 1)),
            .zeroRange(ZeroRangeRecord(blocks: 3..<3)),
        ] {
            #expect(Record.decode(record.encode(geometry), geometry) == nil)
        }
    }
}
