import FileIO
import Simulation
import Testing

@Suite struct SimDiskFaultTests {
    private var random = SeededRandom(seed: 13)

    @Test("the nth call of a kind fails, the others do not", arguments: CallKind.allCases)
    func nthCall(kind: CallKind) throws {
        let disk = SimDisk(size: 4096)
        try call(kind, disk)
        disk.inject(.fail(.noSpace), onNth: 3, kind)
        var failures: [Int] = []
        for number in 1...5 {
            do {
                for other in CallKind.allCases where other != kind { try call(other, disk) }
                try call(kind, disk)
            } catch let error as FileError {
                #expect(error.kind == .noSpace)
                failures.append(number)
            }
        }
        #expect(failures == [3])
        #expect(disk.callCount(kind) == 6)
    }

    @Test("a lasting fault fails every call from the nth on, until cleared")
    func lasting() throws {
        let disk = SimDisk(size: 4096)
        disk.inject(.fail(.io), onNth: 2, .write, lasting: true)
        try disk.put([1], at: 0)
        for _ in 0..<3 { #expect(throws: FileError.self) { try disk.put([2], at: 0) } }
        disk.clearFaults()
        #expect(try disk.get(0..<1) == [1])
        try disk.put([3], at: 0)
    }

    @Test("a short write leaves its first bytes and an error")
    func shortWrite() throws {
        let disk = SimDisk(size: 4096)
        disk.inject(.short(bytes: 700, .noSpace), .write)
        let error = #expect(throws: FileError.self) { try disk.put(sectors(1, 3), at: 100) }
        #expect(error?.kind == .noSpace)
        #expect(try disk.get(99..<1700).filter { $0 == 1 }.count == 700)
        #expect(try disk.get(799..<801) == [1, 0])
        #expect(disk.unsyncedWrites.count == 1)
    }

    @Test("the error of an issued write shows when it completes")
    func splitFailure() throws {
        let disk = SimDisk(size: 4096)
        disk.failNext(.write)
        let token = try disk.start([1], at: 0)
        #expect(throws: FileError.self) { try disk.complete(token) }
        #expect(try disk.get(0..<1) == [0])
    }

    @Test("a lost write reports success and leaves nothing; so does a lost flush")
    mutating func lost() throws {
        let disk = SimDisk(size: 4096)
        disk.loseNextWrite()
        try disk.put([1], at: 0)
        #expect(try disk.get(0..<1) == [0])
        try disk.put([2], at: 0)
        disk.inject(.lose, .flush)
        try disk.flush()
        #expect(try disk.afterPowerCut(.dropAll, &random).get(0..<1) == [0])
    }

    @Test("a misdirected write or read reports success at another place")
    func misdirected() throws {
        let disk = SimDisk(size: 8192)
        disk.misdirectNextWrite(to: 4096)
        try disk.put([1], at: 0)
        #expect(try disk.get(0..<1) == [0])
        #expect(try disk.get(4096..<4097) == [1])
        disk.inject(.misdirect(to: 4096), .read)
        #expect(try disk.get(0..<1) == [1])
        try disk.put([2], at: 0)
        #expect(try disk.get(0..<1) == [2])
    }

    @Test("after a failed flush a sector is durable or lost for ever; reads see it (D5)")
    func failedFlush() throws {
        var counts: Set<Int> = []
        for seed in 0..<20 as Range<UInt64> {
            let disk = SimDisk(size: 4096, seed: seed)
            var random = SeededRandom(seed: seed)
            try disk.put(sectors(1, 8), at: 0)
            disk.failNext(.flush)
            #expect(throws: FileError.self) { try disk.flush() }
            #expect(try disk.marks(8) == [1, 1, 1, 1, 1, 1, 1, 1])
            try disk.flush()
            let kept = try disk.afterPowerCut(.keepAll, &random).marks(8)
            #expect(try disk.afterPowerCut(.dropAll, &random).marks(8) == kept)
            counts.insert(kept.filter { $0 == 1 }.count)
        }
        #expect(counts.count > 3)
    }

    @Test("a flipped bit is on the medium; an unflushed write over it heals it")
    mutating func flippedBit() throws {
        let disk = SimDisk(size: 4096)
        disk.flip(bit: 3, at: 1000)
        #expect(try disk.get(1000..<1001) == [8])
        #expect(try disk.afterPowerCut(.dropAll, &random).get(1000..<1001) == [8])
        try disk.put(sectors(1), at: 0)
        disk.flip(bit: 0, at: 5)
        #expect(try disk.get(5..<6) == [1])
        #expect(try disk.afterPowerCut(.dropAll, &random).get(5..<6) == [1])
        try disk.put(sectors(2), at: 0)
        try disk.flush()
        #expect(try disk.afterPowerCut(.dropAll, &random).get(5..<6) == [2])
    }

    @Test("crashAfter stops at each write-side call, and every call after it throws")
    mutating func crashAtEachStep() throws {
        func run(_ disk: SimDisk) throws {
            try disk.reserve(4096, at: 8192)
            try disk.put(sectors(1), at: 0)
            try disk.flush()
            try disk.put(sectors(2), at: 8192)
            try disk.flushAll()
            _ = try disk.get(0..<1)
        }
        let whole = SimDisk(size: 8192)
        try run(whole)
        #expect(whole.writeSideCallCount == 5)
        for step in 1...5 {
            let disk = SimDisk(size: 8192)
            disk.crashAfter(step)
            let error = #expect(throws: FileError.self) { try run(disk) }
            #expect(error?.isSimulatedCrash == true)
            #expect(error?.kind == .io)
            #expect(disk.isCrashed)
            #expect(disk.writeSideCallCount == step)
            for kind in CallKind.allCases {
                #expect(throws: FileError.self) { try call(kind, disk) }
            }
            #expect(throws: FileError.self) { try disk.size() }
            let kept = disk.afterPowerCut(.dropAll, &random)
            #expect(try kept.marks(1) == [step > 3 ? 1 : 0])
            #expect(try kept.size() == 8192)
            let killed = disk.afterKill(&random)
            if step > 2 { #expect(try killed.marks(1) == [1]) }
            #expect(try killed.size() == (step > 1 ? 12_288 : 8192))
            try run(killed)
        }
        let disk = SimDisk(size: 8192)
        disk.crashAfter(6)
        try run(disk)
    }

    @Test("the write in which the crash came is under way: it may be there or not")
    mutating func crashedWrite() throws {
        let disk = SimDisk(size: 8192)
        disk.crashAfter(1)
        #expect(throws: FileError.self) { try disk.put(sectors(1), at: 0) }
        #expect(disk.unsyncedWrites == [UnsyncedWrite(range: 0..<512, isReturned: false)])
        var seen: Set<UInt8> = []
        for _ in 0..<50 { seen.insert(disk.killImage(&random).read(0..<1)[0]) }
        #expect(seen == [0, 1])
    }

    private func call(_ kind: CallKind, _ disk: SimDisk) throws {
        switch kind {
        case .read: _ = try disk.get(0..<1)
        case .write: try disk.put([1], at: 0)
        case .flush: try disk.flushAll()
        case .reserve: try disk.reserve(4096, at: 0)
        case .truncate: try disk.truncate(to: 4096)
        }
    }
}
