import FileIO
import Simulation
import Testing

@Suite struct SimDiskCrashTests {
    private var random = SeededRandom(seed: 12)

    // MARK: Kill

    @Test("a kill keeps returned writes, and a later power cut can still lose them (D1)")
    mutating func killKeepsReturned() throws {
        let disk = SimDisk(size: 8192)
        try disk.put(sectors(1), at: 0)
        try disk.put(sectors(2), at: 512)
        var afterBoth: Set<[UInt8]> = []
        for _ in 0..<100 {
            let next = disk.afterKill(&random)
            #expect(try next.marks(2) == [1, 2])
            #expect(next.durable.read(0..<1) == [0])
            afterBoth.insert(try next.afterPowerCut(.perSector, &random).marks(2))
        }
        #expect(afterBoth == [[0, 0], [0, 2], [1, 0], [1, 2]])
        let flushed = disk.afterKill(&random)
        try flushed.flush()
        #expect(try flushed.afterPowerCut(.dropAll, &random).marks(2) == [1, 2])
    }

    @Test("a write under way at a kill happens not at all, whole or torn, on sector borders (D3)")
    mutating func killTearsIssued() throws {
        let disk = SimDisk(size: 8192)
        _ = try disk.start(sectors(1, 3), at: 0)
        var seen: Set<[UInt8]> = []
        for _ in 0..<300 {
            let image = disk.killImage(&random)
            let marks = (0..<3).map { image.read($0 * 512..<$0 * 512 + 1)[0] }
            seen.insert(marks)
            let whole = marks.flatMap { sectors($0) }
            #expect(image.read(0..<1536) == whole, "torn within a sector")
        }
        #expect(seen.count == 8)
        #expect(try disk.marks(3) == [0, 0, 0])
    }

    @Test("two overlapping writes under way at a kill end in either order")
    mutating func killOrder() throws {
        let disk = SimDisk(size: 4096)
        // Parts of one sector, since tearing by sectors alone could look like another order.
        _ = try disk.start([1, 1], at: 0)
        _ = try disk.start([2, 2], at: 1)
        var seen: Set<[UInt8]> = []
        for _ in 0..<200 { seen.insert(try disk.afterKill(&random).get(0..<3)) }
        #expect(seen == [[0, 0, 0], [1, 1, 0], [0, 2, 2], [1, 1, 2], [1, 2, 2]])
    }

    @Test("taking a crash image leaves the disk as it was, and equal seeds give equal images")
    func crashIsPure() throws {
        let disk = SimDisk(size: 65_536)
        for index in 0..<8 { try disk.put(sectors(UInt8(index + 1), 5), at: index * 3000) }
        let token = try disk.start(sectors(9, 9), at: 1234)
        let before = (disk.durable, disk.cache, disk.unsyncedWrites)
        for mode in PowerCut.allCases {
            var one = SeededRandom(seed: 3)
            var other = SeededRandom(seed: 3)
            #expect(disk.powerCutImage(mode, &one) == disk.powerCutImage(mode, &other))
            #expect(disk.killImage(&one) == disk.killImage(&other))
        }
        #expect(before == (disk.durable, disk.cache, disk.unsyncedWrites))
        try disk.complete(token)
    }

    // MARK: Power cut

    @Test("overlapping unsynced writes leave any version in each sector (D3)")
    mutating func overlap() throws {
        let disk = SimDisk(size: 4096)
        try disk.put(sectors(1, 2), at: 0)
        try disk.put(sectors(2, 2), at: 0)
        _ = try disk.start(sectors(3, 2), at: 0)
        var seen: Set<[UInt8]> = []
        for _ in 0..<2000 { seen.insert(try disk.afterPowerCut(.perSector, &random).marks(2)) }
        #expect(seen.count == 16)
    }

    @Test("whole writes that overlap in part can be ordered either way")
    mutating func perWriteOrder() throws {
        let disk = SimDisk(size: 4096)
        try disk.put(sectors(1, 2), at: 0)
        try disk.put(sectors(2, 2), at: 512)
        var seen: Set<[UInt8]> = []
        for _ in 0..<200 { seen.insert(try disk.afterPowerCut(.perWrite, &random).marks(3)) }
        #expect(seen == [[0, 0, 0], [1, 1, 0], [0, 2, 2], [1, 2, 2], [1, 1, 2]])
    }

    @Test("a small write becomes durable with the sector it was merged into")
    mutating func smallWrites() throws {
        let disk = SimDisk(size: 4096)
        try disk.put([1], at: 0)
        try disk.put([2], at: 1)
        var seen: Set<[UInt8]> = []
        for _ in 0..<200 {
            seen.insert(try disk.afterPowerCut(.perSector, &random).get(0..<2))
        }
        #expect(seen == [[0, 0], [1, 0], [1, 2]])
    }

    @Test("torn: one write in part, all others whole")
    mutating func torn() throws {
        let disk = SimDisk(size: 16_384)
        for index in 0..<3 { try disk.put(sectors(1, 8), at: index * 4096) }
        var victims: Set<Int> = []
        for _ in 0..<200 {
            let marks = try disk.afterPowerCut(.torn, &random).marks(24)
            let kept = (0..<3).map { marks[$0 * 8..<$0 * 8 + 8].filter { $0 == 1 }.count }
            #expect(kept.filter { $0 == 8 }.count == 2)
            #expect(kept.filter { (1...7).contains($0) }.count == 1)
            victims.insert(try #require(kept.firstIndex { $0 < 8 }))
        }
        #expect(victims == [0, 1, 2])
    }

    @Test("garbage lies in sectors that were being written, and nowhere else")
    mutating func garbage() throws {
        let disk = SimDisk(DiskImage(sectors(5, 32)))
        try disk.put(sectors(6, 8), at: 4096)
        _ = try disk.start(sectors(6, 3), at: 12_288)
        var spoiled: Set<Int> = []
        for _ in 0..<200 {
            let after = try disk.afterPowerCut(.garbage, &random).get(0..<16_384)
            for sector in 0..<32 {
                let bytes = Array(after[sector * 512..<sector * 512 + 512])
                let isTarget = (8..<16).contains(sector) || (24..<27).contains(sector)
                if isTarget {
                    if bytes != sectors(5) && bytes != sectors(6) { spoiled.insert(sector) }
                } else {
                    #expect(bytes == sectors(5))
                }
            }
        }
        #expect(spoiled == Set(Array(8..<16) + Array(24..<27)))
    }

    @Test("no mode but garbage leaves a sector that nobody wrote")
    mutating func onlyWrittenContent() throws {
        let disk = SimDisk(DiskImage(sectors(5, 16)))
        try disk.put(sectors(6, 9), at: 512)
        for mode in PowerCut.allCases where mode != .garbage {
            for _ in 0..<50 {
                let after = disk.afterPowerCut(mode, &random)
                let marks = try after.marks(16)
                #expect(Set(marks).isSubset(of: [5, 6]))
                #expect(try after.get(0..<8192) == marks.flatMap { sectors($0) }, "\(mode)")
            }
        }
    }

    // MARK: Enumeration

    @Test("the enumerator gives each subset once", arguments: [0, 1, 5, 12])
    func enumerator(count: Int) throws {
        let disk = SimDisk(size: 16_384)
        for index in 0..<count {
            let token = try disk.start(sectors(1), at: index * 1024)
            if index % 3 != 0 { try disk.complete(token) }
        }
        let images = Array(disk.powerCutImages())
        #expect(images.count == 1 << count)
        #expect(Set(images.map(\.contentHash)).count == 1 << count)
        #expect(images.first == disk.durable)
    }

    @Test("with too many writes the enumerator samples, the same at every pass")
    func sampling() throws {
        let disk = SimDisk(size: 65_536)
        for index in 0..<13 { try disk.put(sectors(1, 2), at: index * 4096) }
        let sequence = disk.powerCutImages(limit: 100)
        let images = Array(sequence)
        #expect(images.count == 100)
        #expect(images[0] == disk.durable)
        #expect(images[1] == disk.cache)
        #expect(Set(images).count > 80)
        #expect(images == Array(sequence))
        #expect(images != Array(disk.powerCutImages(limit: 100, seed: 1)))
        try disk.flush()
        #expect(Array(sequence) == images)
    }
}
