import FileIO
import Simulation
import Testing

@Suite struct SimDiskTests {
    private var random = SeededRandom(seed: 11)

    // MARK: Visibility

    @Test("a returned write is read back, an issued one is not (D1)")
    func visibility() throws {
        let disk = SimDisk(size: 8192)
        let token = try disk.start(sectors(1), at: 0)
        #expect(try disk.get(0..<1) == [0])
        try disk.complete(token)
        #expect(try disk.get(0..<1) == [1])
        #expect(disk.durable.read(0..<1) == [0])
        #expect(disk.unsyncedWrites == [UnsyncedWrite(range: 0..<512, isReturned: true)])
    }

    @Test("pieces are written one after the other")
    func pieces() throws {
        let disk = SimDisk(size: 16_384)
        let bytes = (0..<9000).map { UInt8(truncatingIfNeeded: $0 / 3) }
        try bytes.withUnsafeBytes { all in
            let cuts = [0, 1, 4000, 4000, 9000]
            let pieces = zip(cuts, cuts.dropFirst()).map {
                UnsafeRawBufferPointer(rebasing: all[$0..<$1])
            }
            try disk.write(pieces, at: 700, .cached)
        }
        #expect(try disk.get(700..<9700) == bytes)
        #expect(try disk.get(699..<700) + disk.get(9700..<9701) == [0, 0])
    }

    @Test("bytes are taken when the write is issued")
    func copiesAtIssue() throws {
        let disk = SimDisk(size: 4096)
        let memory = AlignedBuffer.zeroed(4096)
        let token = try disk.issue([memory.bytes], at: 0, .direct)
        memory.mutableBytes[0] = 9
        try disk.complete(token)
        #expect(try disk.get(0..<1) == [0])
    }

    // MARK: Flush

    @Test("an unflushed write may vanish in a power cut, and never after a flush (D2, D3)")
    mutating func flushKeeps() throws {
        let disk = SimDisk(size: 8192)
        try disk.put(sectors(1), at: 0)
        var marks: Set<UInt8> = []
        for _ in 0..<50 { marks.insert(try disk.afterPowerCut(.perWrite, &random).marks(1)[0]) }
        #expect(marks == [0, 1])
        try disk.flush()
        #expect(disk.unsyncedWrites.isEmpty)
        for mode in PowerCut.allCases {
            for _ in 0..<20 {
                #expect(try disk.afterPowerCut(mode, &random).marks(1) == [1], "\(mode)")
            }
        }
    }

    @Test("a flush covers the writes that returned when it began, and no others (D2)")
    mutating func flushCoverage() throws {
        let disk = SimDisk(size: 8192)
        try disk.put(sectors(1), at: 0)
        let running = try disk.start(sectors(2), at: 512)
        let flush = try disk.beginFlush()
        try disk.complete(running)
        try disk.put(sectors(3), at: 1024)
        #expect(try disk.afterPowerCut(.dropAll, &random).marks(3) == [0, 0, 0])
        try disk.endFlush(flush)
        #expect(try disk.afterPowerCut(.dropAll, &random).marks(3) == [1, 0, 0])
        #expect(try disk.afterPowerCut(.keepAll, &random).marks(3) == [1, 2, 3])
    }

    @Test("flushes may overlap and end in any order")
    mutating func overlappingFlushes() throws {
        let disk = SimDisk(size: 8192)
        try disk.put(sectors(1), at: 0)
        let first = try disk.beginFlush()
        try disk.put(sectors(2), at: 0)
        let second = try disk.beginFlush()
        try disk.put(sectors(3), at: 0)
        try disk.endFlush(second)
        #expect(try disk.afterPowerCut(.dropAll, &random).marks(1) == [2])
        try disk.endFlush(first)
        #expect(try disk.afterPowerCut(.dropAll, &random).marks(1) == [2])
        #expect(try disk.marks(1) == [3])
    }

    @Test("durable content follows the order of returning, not of issuing")
    mutating func returnOrder() throws {
        let disk = SimDisk(size: 4096)
        let first = try disk.start(sectors(1), at: 0)
        let second = try disk.start(sectors(2), at: 0)
        try disk.complete(second)
        try disk.complete(first)
        try disk.flush()
        #expect(try disk.marks(1) == [1])
        #expect(try disk.afterPowerCut(.dropAll, &random).marks(1) == [1])
    }

    // MARK: Size

    @Test("a reserved size may be lost until flushAll, or until data beyond it is durable (D4)")
    mutating func reservedSize() throws {
        let disk = SimDisk(size: 4096)
        try disk.reserve(8192, at: 4096)
        #expect(try disk.size() == 12_288)
        try disk.flush()
        var sizes: Set<Int> = []
        for _ in 0..<50 { sizes.insert(try disk.afterPowerCut(.perSector, &random).size()) }
        #expect(sizes == [4096, 12_288])
        let other = disk.copy()
        try disk.flushAll()
        #expect(try disk.afterPowerCut(.dropAll, &random).size() == 12_288)
        try other.put([1], at: 5000)
        try other.flush()
        #expect(try other.afterPowerCut(.dropAll, &random).get(5000..<5001) == [1])
        try disk.reserve(10, at: 0)
        #expect(try disk.size() == 12_288)
    }

    @Test("what was cut off may come back until flushAll; what grows there again is zeros (D6)")
    mutating func truncated() throws {
        let disk = SimDisk(size: 12_288)
        try disk.put([1], at: 5000)
        try disk.flush()
        try disk.put([2], at: 9000)
        try disk.truncate(to: 4096)
        #expect(try disk.size() == 4096)
        #expect(throws: FileError.self) { try disk.get(5000..<5001) }
        try disk.flush()
        var seen: Set<[UInt8]> = []
        for _ in 0..<50 {
            let after = disk.afterPowerCut(.perSector, &random)
            let size = try after.size()
            seen.insert(size == 4096 ? [] : try after.get(5000..<5001) + after.get(9000..<9001))
        }
        #expect(seen == [[], [1, 0]])
        try disk.reserve(8192, at: 4096)
        try disk.flushAll()
        let after = disk.afterPowerCut(.dropAll, &random)
        #expect(try after.get(4096..<12_288).allSatisfy { $0 == 0 })
        #expect(disk.durable.contentHash == DiskImage(size: 12_288).contentHash)
    }

    @Test("an unflushed write beyond the durable size goes with the size, or brings it along")
    mutating func writeBeyondDurableSize() throws {
        let disk = SimDisk(size: 100)
        try disk.reserve(5000, at: 0)
        try disk.put([1, 2], at: 99)
        var images: Set<DiskImage> = []
        for _ in 0..<50 { images.insert(disk.powerCutImage(.perWrite, &random)) }
        #expect(images.count == 4)
        for image in images where image.size == 100 {
            var grown = image
            grown.grow(to: 5000)
            #expect(grown.read(100..<101) == [0])
        }
    }

    @Test("reading beyond the end is a short file, writing there a violation")
    func bounds() throws {
        let disk = SimDisk(size: 1000)
        let short = #expect(throws: FileError.self) { try disk.get(999..<1001) }
        #expect(short?.kind == .shortFile)
        #expect(disk.violations.isEmpty)
        #expect(throws: FileError.self) { try disk.put([1, 2], at: 999) }
        #expect(throws: FileError.self) { try disk.put([1], at: -1) }
        #expect(disk.violations.count == 2)
        #expect(disk.unsyncedWrites.isEmpty)
    }

    @Test("a direct transfer must be aligned in offset, length and memory")
    func alignment() throws {
        let disk = SimDisk(size: 16_384)
        let memory = AlignedBuffer.zeroed(8192)
        try disk.write(memory.bytes, at: 4096, .direct)
        try disk.read(into: memory.mutableBytes, at: 0, .direct)
        #expect(disk.violations.isEmpty)
        for (range, offset) in [(0..<4096, 512), (0..<512, 0), (8..<4104, 0)] {
            #expect(throws: FileError.self) {
                try disk.write(memory.slice(range), at: offset, .direct)
            }
            #expect(throws: FileError.self) {
                try disk.read(into: memory.mutableSlice(range), at: offset, .direct)
            }
        }
        #expect(disk.violations.count == 6)
    }
}
