import FileIO
import Journal
import Simulation
import Testing

@Suite("Journal")
struct JournalTests {
    @Test("the four horizons move as the ladder says")
    func ladder() throws {
        let world = RingWorld()
        _ = world.journal.append(RingWorld.record(1))
        _ = world.journal.append(RingWorld.record(2))
        #expect(world.journal.assigned == 2)
        #expect(world.journal.written == 0)
        try world.write()
        #expect(world.journal.written == 2)
        // A flush that began before a write returned does not cover it.
        let target = world.journal.beginFlush()
        #expect(target == 2)
        try world.put(3)
        #expect(world.journal.written == 3)
        try world.disk.flush()
        world.journal.flushReturned()
        #expect(world.journal.durable == 2)
        #expect(world.journal.sealed == 0)
        // The group of LSN 3 was closed before, so it knows of nothing durable.
        try world.flush()
        #expect(world.journal.durable == 3)
        #expect(world.journal.sealed == 0)
        try world.put(4)
        #expect(world.journal.sealed == 0)
        try world.flush()
        #expect(world.journal.sealed == 3)
        #expect(world.journal.pendingSeal == 3)
        #expect(world.appendSeal())
        #expect(!world.appendSeal())
        try world.write()
        try world.flush()
        #expect(world.journal.sealed == 4)
        #expect(world.journal.durable == 5)
        #expect(world.journal.lastRecordLSN == 4)
        world.journal.checkInvariants()
    }

    @Test("I3: one group is written at a time, in order")
    func oneWrite() throws {
        let world = RingWorld()
        _ = world.journal.append(RingWorld.record(1))
        world.journal.closeOpen()
        _ = world.journal.append(RingWorld.record(2))
        let first = try #require(world.nextWrite())
        #expect(world.nextWrite() == nil)
        world.journal.writeReturned(first)
        #expect(world.journal.written == 1)
        #expect(world.nextWrite()?.firstLSN == 2)
    }

    @Test("a superblock seals what it vouches for")
    func superblockSeals() throws {
        let world = RingWorld()
        try world.put(1)
        try world.flush()
        world.journal.superblockDurable(vouchingFor: 1)
        #expect(world.journal.sealed == 1)
        #expect(!world.appendSeal())
    }

    @Test("a group that does not fit before the end of the ring begins at its start")
    func wrap() throws {
        let world = RingWorld()
        for block in UInt64(1)...7 { try world.put(block, withData: true) }
        try world.put(8)
        #expect(world.journal.end == 60 << 10)
        world.journal.setLimit(32 << 10)
        let group = try world.put(9, withData: true)
        #expect(group.position == 64 << 10)
        #expect(group.firstLSN == 10)
        let tail = try #require(world.point(at: 32 << 10))
        let scan = try world.scan(tail: tail)
        #expect(scan.verdict == .endOfLog)
        #expect(scan.accepted.map { $0.header.firstLSN } == [5, 6, 7, 8, 9, 10])
        #expect(scan.accepted[4].header.flags == .pad)
        #expect(scan.end == world.nextPoint)
    }

    /// Random appends under random limits: no byte that must stay is overwritten, and a scan finds
    /// exactly the groups that were written.
    @Test("space accounting", arguments: UInt64(0)..<60)
    func spaceModel(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let world = RingWorld()
        var groups: [GroupHeader] = []
        var block: UInt64 = 0
        for step in 0..<400 {
            let records = 24 + 8 * random.below(100)
            let dataBlocks = random.chance(60) ? random.below(2) : 0
            let reserved = random.chance(30)
            if random.chance(70) {
                guard
                    world.hasRoom(records, data: dataBlocks * 4096, reserved: reserved)
                else {
                    if !groups.isEmpty {
                        world.journal.setLimit(groups[random.below(groups.count)].position)
                    }
                    groups.removeAll { $0.position < world.journal.tail }
                    continue
                }
                block += 1
                let record = RingWorld.record(
                    block, body: records - 24, withData: dataBlocks > 0)
                let index = world.journal.nextDataIndex(
                    recordBytes: records, dataBytes: dataBlocks * 4096)
                let used = world.journal.usedBytes
                let (_, group, dataIndex) = world.journal.append(
                    record, data: dataBlocks > 0 ? [RingWorld.data(block)] : [])
                #expect(dataIndex == Int(index))
                #expect(group.position >= world.journal.tail)
                #expect(world.journal.usedBytes <= RingWorld.length)
                #expect(world.journal.usedBytes >= used)
            } else if random.chance(50) {
                world.journal.closeOpen()
            }
            while random.chance(60), let group = world.nextWrite() {
                let header = try #require(group.header)
                let offset = world.journal.offset(of: group)
                #expect(offset + header.byteCount <= RingWorld.length)
                // A PAD writes only its header.
                try world.disk.write(group.imagePieces, at: offset, .direct)
                world.journal.writeReturned(group)
                groups.append(header)
            }
            if random.chance(20) {
                try world.flush()
                if random.chance(50) { _ = world.appendSeal() }
            }
            world.journal.checkInvariants()
            if step % 20 == 19, let first = groups.first {
                let tail = try #require(world.point(at: first.position))
                let scan = try world.scan(tail: tail)
                let isSame = scan.accepted.map(\.header) == groups
                #expect(isSame, "seed \(seed), step \(step)")
                #expect(scan.verdict == .endOfLog, "seed \(seed), step \(step)")
            }
        }
    }

    @Test("user records leave the reserve alone, records that make room may use it")
    func reserve() throws {
        let world = RingWorld()
        while world.hasRoom(24, data: 4096, reserved: false) {
            try world.put(1, withData: true)
        }
        let atStop = world.journal.usedBytes
        #expect(atStop + world.journal.geometry.reserveBytes <= RingWorld.length)
        #expect(world.hasRoom(24, data: 0, reserved: true))
        while world.hasRoom(24, data: 0, reserved: true) {
            try world.put(1)
        }
        try world.flush()
        #expect(world.journal.usedBytes + 4096 <= RingWorld.length)
        #expect(world.appendSeal())
        try world.write()
        try world.flush()
        #expect(try world.scan().verdict == .endOfLog)
    }
}
