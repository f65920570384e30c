import CacheFile
import FileIO
import Simulation
import TestSupport
import Testing

/// Layouts of files that grow and shrink, and what a session makes of a file that a crash left longer
/// than its map.
@Suite("Layouts of other sizes")
struct ResizedLayoutTests {
    @Test("areas never overlap and slots stay where they are, whatever sizes follow each other")
    func layouts() throws {
        var random = SeededRandom(seed: 3)
        var rootMoves = 0
        for _ in 0..<300 {
            var request = LayoutRequest(
                blockSize: 4096 << random.below(9), volumeBlocks: 1 << 20,
                slots: random.within(8...400))
            if random.chance(70) { request.slotsPerZone = random.within(1...80) }
            if random.chance(50) {
                request.slotAlignment = 4096
                request.ringOffset = 256 << 10
            }
            guard var geometry = try? request.layOut() else { continue }
            let most = min(2000, geometry.slotsPerZone * Geometry.zonesMax)
            for _ in 0..<12 {
                let slots = random.within(8...most)
                let next = try geometry.resized(to: slots)
                expectApart(next)
                #expect(next.slotCount == slots)
                #expect(next.pageCount * 8 <= next.rootCapacity)
                for slot in 0..<min(slots, geometry.slotCount) {
                    #expect(next.slotOffset(slot) == geometry.slotOffset(slot))
                    #expect(next.hotPlace(slot).page == geometry.hotPlace(slot).page)
                }
                if next.rootOffsets != geometry.rootOffsets {
                    rootMoves += 1
                    // The root in use is not written over.
                    for offset in next.rootOffsets {
                        let new = offset..<offset + next.rootCapacity
                        for old in geometry.rootOffsets {
                            #expect(!new.overlaps(old..<old + geometry.rootCapacity))
                        }
                    }
                }
                geometry = next
            }
        }
        #expect(rootMoves > 100)
    }

    private func expectApart(_ geometry: Geometry) {
        let regions = geometry.regions.sorted { $0.lowerBound < $1.lowerBound }
        for (region, next) in zip(regions, regions.dropFirst()) {
            #expect(region.upperBound <= next.lowerBound)
        }
        #expect(regions.last?.upperBound == geometry.fileSize)
        #expect(regions.allSatisfy { $0.lowerBound % 4096 == 0 })
    }

    @Test(
        "a size that the file cannot have is refused with those it can", arguments: [7, 8185, -1])
    func refused(slots: Int) throws {
        let geometry = try LayoutRequest(blockSize: 4096, volumeBlocks: 1 << 20, slots: 8).layOut()
        do {
            _ = try geometry.resized(to: slots)
            Issue.record("\(slots) slots")
        } catch {
            #expect(error.message == "it can hold 8 to 8184 blocks, not \(slots)")
        }
        #expect(try geometry.resized(to: 8184).zones.count == Geometry.zonesMax)
    }

    @Test("a group that is not full has pages of slots that are none")
    func pages() throws {
        var request = LayoutRequest(blockSize: 4096, volumeBlocks: 1 << 20, slots: 1010)
        request.slotsPerZone = 1000
        let geometry = try request.layOut()
        var seen = 0
        for page in 0..<geometry.pageCount where geometry.isHot(page) {
            seen += geometry.slots(inHotPage: page).count
        }
        #expect(seen == 1010)
    }

    @Test("a file longer than its map is accepted, and cut off by the next session")
    func longer() throws {
        let geometry = try SmallWorld.request().layOut()
        let file = MemoryFile([])
        try Creation.format(
            file, geometry: geometry, identity: SmallWorld.identity, info: SmallWorld.info())
        try file.reserve(1 << 20, at: geometry.fileSize)
        let found = try CacheFiles.inspect(file)
        #expect(found.findings.isEmpty)
        #expect(try file.size() == geometry.fileSize + 1 << 20)
        let cache = try SessionStart.open(
            file, identity: SmallWorld.identity, info: SmallWorld.info())
        #expect(cache.warnings.isEmpty)
        #expect(try file.size() == geometry.fileSize)
    }
}
