import FileIO
import Journal
import Simulation
import Testing

/// The decision table of recovery, row by row, with real groups.
@Suite("How the log ends")
struct ScanVerdictTests {
    @Test("an empty ring and a whole log: end of log")
    func endOfLog() throws {
        #expect(try RingWorld().scan().verdict == .endOfLog)
        let world = RingWorld()
        for block in UInt64(1)...4 {
            try world.put(block, withData: block % 2 == 0)
            try world.flush()
        }
        let scan = try world.scan()
        #expect(scan.verdict == .endOfLog)
        #expect(scan.durable == 3)
        #expect(scan.end == world.nextPoint)
        #expect(scan.laterGroups == 0)
    }

    @Test(
        "a damaged last group that nothing knows durable: torn tail",
        arguments: [0, 4, 24, 26, 40, 64, 200, 4000, 4100])
    func tornTail(byte: Int) throws {
        let world = RingWorld()
        try world.put(1)
        try world.flush()
        let last = try world.put(2, withData: true)
        try world.damage(last.position, byte: byte)
        let scan = try world.scan()
        #expect(scan.verdict == .tornTail)
        #expect(scan.accepted.count == 1)
        #expect(scan.end.lsn == 2)
    }

    @Test("valid groups behind an unsynced bad one: torn tail, all dropped")
    func laterDropped() throws {
        let world = RingWorld()
        try world.put(1)
        let second = try world.put(2)
        try world.put(3)
        try world.damage(second.position, byte: 0)
        let scan = try world.scan()
        #expect(scan.verdict == .tornTail)
        #expect(scan.end.lsn == 2)
        #expect(scan.laterGroups == 1)
    }

    @Test("a damaged group that a later one knows durable: hole", arguments: [0, 12, 300, 4100])
    func hole(byte: Int) throws {
        let world = RingWorld()
        try world.put(1)
        let second = try world.put(2, withData: true)
        try world.flush()
        try world.put(3)
        try world.damage(second.position, byte: byte)
        let scan = try world.scan()
        #expect(scan.verdict == .hole)
        #expect(scan.end.lsn == 2)
        #expect(scan.durable == 2)
    }

    @Test("a hole is seen by a SEAL alone")
    func holeBySeal() throws {
        let world = RingWorld()
        let first = try world.put(1)
        try world.flush()
        #expect(world.appendSeal())
        try world.write()
        try world.damage(first.position)
        #expect(try world.scan().verdict == .hole)
    }

    @Test("what the superblock vouches for is durable: hole", arguments: [true, false])
    func holeBySuperblock(byRecovered: Bool) throws {
        let world = RingWorld()
        try world.put(1)
        let second = try world.put(2)
        try world.damage(second.position)
        let scan = try world.scan(
            recoveredLSN: byRecovered ? 2 : 0, recoveredPosition: byRecovered ? 8192 : 0,
            checkpointLSN: byRecovered ? 0 : 2)
        #expect(scan.verdict == .hole)
    }

    @Test("groups of an older session behind the end of recovery: dead, for ever")
    func deadGroups() throws {
        let world = RingWorld()
        try world.put(1)
        let second = try world.put(2)
        try world.put(3)
        // Recovery cut at the second group; session 2 has written nothing yet.
        let end = RingPoint(
            position: second.position, lsn: second.firstLSN, prevGroupCRC: second.prevGroupCRC)
        let scan = try world.scan(session: 2, recoveredLSN: 1, recoveredPosition: second.position)
        #expect(scan.verdict == .deadGroups)
        #expect(scan.end == end)
        #expect(scan.accepted.count == 1)
        #expect(scan.laterGroups == 2)
        // And one group of session 2 later, which has the same LSN and place.
        let next = RingWorld(session: 2, end: end)
        try next.put(22)
        let image = next.disk.cache.read(Int(second.position)..<Int(second.position) + 4096)
        try image.withUnsafeBytes { try world.disk.write([$0], at: Int(second.position), .cached) }
        let again = try world.scan(session: 2, recoveredLSN: 1, recoveredPosition: second.position)
        #expect(again.accepted.map { $0.records[0].block } == [1, 22])
        #expect(again.verdict == .deadGroups)
        #expect(again.end.lsn == 3)
    }

    @Test("I5: before the end of recovery a session may be older, but never go down")
    func sessionsNeverDecrease() throws {
        let world = RingWorld(session: 2)
        let first = try world.put(1)
        let end = RingPoint(
            position: 4096, lsn: 2, prevGroupCRC: try #require(first.header).headerCRC)
        let older = RingWorld(session: 1, end: end)
        try older.put(2)
        let image = older.disk.cache.read(4096..<8192)
        try image.withUnsafeBytes { try world.disk.write([$0], at: 4096, .cached) }
        #expect(try world.scan(session: 3, recoveredPosition: 8192).accepted.count == 1)
    }

    @Test(
        "a group of a later session anywhere: the superblock is stale", arguments: [0, 8192, 40960])
    func stale(offset: Int) throws {
        let world = RingWorld()
        try world.put(1)
        let later = RingWorld(
            session: 2, end: RingPoint(position: UInt64(offset), lsn: 9, prevGroupCRC: 5))
        try later.put(9)
        let image = later.disk.cache.read(offset..<offset + 4096)
        try image.withUnsafeBytes { try world.disk.write([$0], at: offset, .cached) }
        #expect(try world.scan().verdict == .staleSuperblock)
    }

    @Test("old laps and groups of another file are nothing")
    func oldLaps() throws {
        let world = RingWorld()
        for block in UInt64(1)...8 {
            try world.put(block, withData: true)
            world.journal.setLimit(world.journal.end)
        }
        // The second lap: everything behind its first group is an old lap.
        let tail = world.nextPoint
        try world.put(9)
        let scan = try world.scan(tail: tail)
        #expect(scan.verdict == .endOfLog)
        #expect(scan.accepted.count == 1)
    }
}
