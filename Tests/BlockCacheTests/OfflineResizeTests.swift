import BlockCache
import CacheFile
import FileIO
import Logging
import Simulation
import TestSupport
import Testing

/// A cache file gets another size without a mount and without a store.
@Suite("Offline resize", .serialized)
struct OfflineResizeTests {
    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func open(_ disk: any FileIO) throws -> OpenedCache {
        try SessionStart.open(disk, identity: nil, info: SmallWorld.info(mounter: "resize"))
    }

    private func kept(_ file: any FileIO) throws -> (lines: [String], slots: Int) {
        let recovered = try Recovery.run(file)
        // It reads ahead in a thread of its own.
        let data = try CacheFiles.inspect(SharedDisk(file), data: .dirty)
        #expect(data.data?.damagedDirtyBlocks == 0)
        return (ScatteredWorld.kept(recovered.state), recovered.geometry.slotCount)
    }

    @Test("shrinks and grows, and every dirty granule stays", arguments: [9, 8, 200, 24])
    func resizes(slots: Int) throws {
        let file = MemoryFile(try ScatteredWorld.make())
        let before = try kept(file)
        #expect(before.lines.count > 7)
        let token = try SuperblockSet.read(file).current.mountToken
        let outcome = OfflineResize.run(
            try open(SharedDisk(file)), slots: slots, logger: Self.logger)
        #expect(outcome.obstacle == nil)
        #expect(outcome.slots == slots)
        if slots < 10 { #expect(outcome.moved > 0 && outcome.dropped > 0) }
        let after = try kept(file)
        #expect(after.lines == before.lines)
        #expect(after.slots == slots)
        let sb = try SuperblockSet.read(file).current
        #expect(sb.state == Superblock.State.clean.rawValue && sb.mountToken == token)
        #expect(file.bytes.count == (try Recovery.run(file)).geometry.fileSize)
    }

    @Test("dirty blocks that do not fit keep the old size")
    func tooMany() throws {
        let file = try SmallWorld.make(slots: 24)
        let session = try TestSession(file)
        for block: UInt64 in 0..<9 { try session.map(block, version: 1) }
        try session.commit()
        try session.seal()
        let before = try kept(file)
        let outcome = OfflineResize.run(try open(SharedDisk(file)), slots: 8, logger: Self.logger)
        #expect(outcome.obstacle == "9 dirty blocks do not fit into 8")
        #expect(outcome.slots == 24)
        #expect(try kept(file).lines == before.lines)
    }

    @Test("damaged bytes of a dirty block that would have to move keep the old size")
    func damaged() throws {
        let file = MemoryFile(try ScatteredWorld.make())
        let recovered = try Recovery.run(file)
        let slot = try #require(
            (10..<24).first {
                recovered.state.slots.state($0) == .dirty
                    && recovered.state.inSlot($0).contains(0)
            })
        file.bytes[recovered.geometry.slotOffset(slot) + 5] ^= 1
        let outcome = OfflineResize.run(try open(SharedDisk(file)), slots: 8, logger: Self.logger)
        #expect(outcome.obstacle != nil)
        #expect(try Recovery.run(file).geometry.slotCount == 24)
    }

    @Test(
        "ended at any write, flush, reservation: old size or new, all dirty blocks",
        arguments: [9, 60])
    func killed(slots: Int) throws {
        let image = DiskImage(try ScatteredWorld.make())
        let before = try kept(SimDisk(image))
        var random = SeededRandom(seed: testSeed)
        var sizes: [Int: Int] = [:]
        // Threads make more or fewer calls each time: the steps go on until nothing ends early.
        var step = 0
        var wholeRuns = 0
        while wholeRuns < 4, step < 1000 {
            step += 1
            let disk = SimDisk(image)
            disk.crashAfter(step)
            if let cache = try? open(SharedDisk(disk)) {
                _ = OfflineResize.run(cache, slots: slots, logger: Self.logger)
            }
            #expect(disk.violations.isEmpty)
            wholeRuns = disk.writeSideCallCount < step ? wholeRuns + 1 : 0
            disk.clearFaults()
            var after = [disk.afterKill(&random)]
            for mode in PowerCut.allCases { after.append(disk.afterPowerCut(mode, &random)) }
            for disk in after {
                let found = try kept(disk)
                #expect(found.lines == before.lines, "step \(step)")
                #expect([24, slots].contains(found.slots))
                sizes[found.slots, default: 0] += 1
            }
        }
        print("crashes of an offline resize to \(slots): \(sizes), \(step) steps")
        #expect(wholeRuns == 4)
        #expect(sizes[24, default: 0] > 50 && sizes[slots, default: 0] > 20)
    }
}

/// A disk that is meant for one thread, for several.
private final class SharedDisk: FileIO, @unchecked Sendable {
    private let disk: Locked<any FileIO>

    init(_ disk: any FileIO) { self.disk = Locked(disk) }

    private func locked<Result>(
        _ body: (any FileIO) throws(FileError) -> Result
    ) throws(FileError) -> Result {
        try disk.withLock { (disk) throws(FileError) in try body(disk) }
    }

    func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        try locked { (disk) throws(FileError) in try disk.read(into: target, at: offset, path) }
    }

    func write(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath
    ) throws(FileError) {
        try locked { (disk) throws(FileError) in try disk.write(pieces, at: offset, path) }
    }

    func flush() throws(FileError) { try locked { (disk) throws(FileError) in try disk.flush() } }

    func flushAll() throws(FileError) {
        try locked { (disk) throws(FileError) in try disk.flushAll() }
    }

    func reserve(_ length: Int, at offset: Int) throws(FileError) {
        try locked { (disk) throws(FileError) in try disk.reserve(length, at: offset) }
    }

    func truncate(to size: Int) throws(FileError) {
        try locked { (disk) throws(FileError) in try disk.truncate(to: size) }
    }

    func size() throws(FileError) -> Int {
        try locked { (disk) throws(FileError) in try disk.size() }
    }
}
