import CacheFile
import FileIO
import Simulation
import TestSupport
import Testing

@Suite("Geometry")
struct GeometryTests {
    @Test(
        "sizes that follow from the block size",
        arguments: [
            // block, granule, granules, bitmap, cold entry, cold entries in a page
            [4096, 4096, 1, 8, 16, 252], [8192, 4096, 2, 8, 16, 252],
            [65536, 4096, 16, 8, 72, 56], [262144, 4096, 64, 8, 264, 15],
            [524288, 4096, 128, 16, 528, 7], [1 << 20, 4096, 256, 32, 1056, 3],
            [4 << 20, 16384, 256, 32, 1056, 3], [64 << 20, 262144, 256, 32, 1056, 3],
        ])
    func table(row: [Int]) throws {
        let geometry = try LayoutRequest(blockSize: row[0], volumeBlocks: 1000, slots: 100).layOut()
        #expect(geometry.granuleSize == row[1])
        #expect(geometry.granulesPerBlock == row[2])
        #expect(geometry.bitmapBytes == row[3])
        #expect(geometry.coldEntrySize == row[4])
        #expect(geometry.coldPerPage == row[5])
        #expect(Geometry.hotPerPage == 63)
    }

    @Test("areas never overlap, whatever is asked for")
    func layout() {
        var random = SeededRandom(seed: 1)
        var laidOut = 0
        for _ in 0..<4000 {
            var request = LayoutRequest(
                blockSize: 4096 << random.below(15), volumeBlocks: 1 + random.next() >> 33,
                slots: 1 + random.below(1 << random.within(3...22)))
            if random.chance(40) {
                request.ringBytes = 4096 * random.below(1 << random.within(4...14))
            }
            if random.chance(50) { request.slotsPerZone = 1 + random.below(request.slots) }
            if random.chance(30) {
                request.slotAlignment = 4096
                request.ringOffset = 256 << 10
            }
            guard let geometry = try? request.layOut() else { continue }
            laidOut += 1
            let regions = geometry.regions.sorted { $0.lowerBound < $1.lowerBound }
            for (region, next) in zip(regions, regions.dropFirst()) {
                #expect(region.upperBound <= next.lowerBound)
            }
            #expect(regions.last?.upperBound == geometry.fileSize)
            #expect(regions.allSatisfy { $0.lowerBound % 4096 == 0 })
            #expect(geometry.slotCount == request.slots)
            // Its ring can be used.
            #expect(geometry.ring.groupBytesMax * 4 <= geometry.ringLength)
        }
        #expect(laidOut > 2000)
    }

    @Test("each slot has entries and bytes of its own")
    func places() throws {
        var request = SmallWorld.request(slots: 700)
        request.slotsPerZone = 300
        let geometry = try request.layOut()
        #expect(geometry.zones.map(\.slots) == [300, 300, 100])
        var hot = Set<Int>()
        var cold = Set<Int>()
        var offsets = Set<Int>()
        for slot in 0..<700 {
            let (hotPage, hotAt) = geometry.hotPlace(slot)
            let (coldPage, coldAt) = geometry.coldPlace(slot)
            #expect(geometry.isHot(hotPage) && !geometry.isHot(coldPage))
            #expect(hotAt + Geometry.hotEntrySize <= Geometry.pageSize)
            #expect(coldAt + geometry.coldEntrySize <= Geometry.pageSize)
            #expect(geometry.slots(inHotPage: hotPage).contains(slot))
            #expect(max(hotPage, coldPage) < geometry.pageCount)
            hot.insert(hotPage * 4096 + hotAt)
            cold.insert(coldPage * 4096 + coldAt)
            offsets.insert(geometry.slotOffset(slot))
        }
        #expect(hot.count == 700 && cold.count == 700 && offsets.count == 700)
        var pages = Set<Int>()
        for page in 0..<geometry.pageCount {
            for copy in 0..<2 { pages.insert(geometry.pageOffset(page, copy: copy)) }
        }
        #expect(pages.count == 2 * geometry.pageCount)
    }

    @Test(
        "what the format cannot hold is refused",
        arguments: [(2048, 100), (12288, 100), (128 << 20, 100), (4096, 7), (4096, 1 << 33)])
    func refused(blockSize: Int, slots: Int) {
        let request = LayoutRequest(blockSize: blockSize, volumeBlocks: 10, slots: slots)
        #expect(
            refusal { () throws(CacheFileError) in _ = try request.layOut() }?.kind == .invalid)
    }

    /// Values that sit on edges.
    static func edge(_ random: inout SeededRandom, near value: UInt64) -> UInt64 {
        switch random.below(9) {
        case 0: 0
        case 1: 1
        case 2: value &+ UInt64(4096 * random.below(100))
        case 3: value &- UInt64(4096 * random.below(100))
        case 4: UInt64(Int.max) &- UInt64(random.below(70_000))
        case 5: UInt64.max &- UInt64(random.below(3))
        case 6: 1 << UInt64(random.below(64))
        case 7: value &+ UInt64(random.below(20))
        default: random.next()
        }
    }

    @Test("hostile geometry with right checksums is refused or harmless", arguments: UInt64(0)..<8)
    func hostile(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let good = try SuperblockTests.mountedFile()
        var accepted = 0
        for _ in 0..<1500 {
            let file = MemoryFile(good.bytes)
            var sb = try #require(file.superblock(2))
            if random.chance(60) {
                let at = Geometry.zoneTableOffset
                let fields = [0, 4, 8, 64, 72, 76, 80, 88, 96, 104, 112, 128, 136]
                file.bytes.withUnsafeMutableBytes { all in
                    let table = UnsafeMutableRawBufferPointer(rebasing: all[at..<at + (64 << 10)])
                    for _ in 0..<1 + random.below(2) {
                        let field = random.pick(fields)
                        let old: UInt64 = table.field(field)
                        table.setField(field, Self.edge(&random, near: old))
                    }
                    table.setField(12, UInt32(0))
                    let seed = SeedSpace(fileUUID: sb.fileUUID).seed(.zones, 0)
                    sb.zoneCRC = Checksum.crc32c(UnsafeRawBufferPointer(table), seed: seed)
                    table.setField(12, sb.zoneCRC)
                }
            }
            let buffer = sb.encode(copy: 2)
            let bytes = buffer.mutableBytes
            for _ in 0..<random.below(3) {
                let field = random.pick([
                    136, 140, 144, 152, 160, 168, 176, 180, 188, 192, 200, 208, 216, 228, 232, 240,
                    248, 264, 272, 280, 288,
                ])
                let old: UInt64 = bytes.field(field)
                if random.chance(50) {
                    bytes.setField(field, Self.edge(&random, near: old))
                } else {
                    let low = UInt32(truncatingIfNeeded: old)
                    bytes.setField(
                        field, UInt32(truncatingIfNeeded: Self.edge(&random, near: UInt64(low))))
                }
            }
            bytes.setField(16, UInt64(0))
            let crc = Checksum.crc32c(buffer.bytes)
            for copy in 0..<4 {
                bytes.setField(16, crc)
                bytes.setField(20, UInt32(copy))
                let at = SmallWorld.superblockOffset(copy)
                file.bytes.replaceSubrange(at..<at + 4096, with: Array(buffer.bytes))
            }
            if let inspection = try? CacheFiles.inspect(file) {
                accepted += 1
                let regions = inspection.geometry.regions
                #expect(regions.allSatisfy { $0.upperBound <= file.bytes.count })
                _ = try? TestSession(file)
            }
        }
        #expect(accepted < 1500)
    }
}
