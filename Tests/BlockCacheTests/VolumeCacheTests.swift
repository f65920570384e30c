import BlockCache
import Foundation
import Simulation
import Synchronization
import TestSupport
import Testing

@Suite("VolumeCacheTests", .serialized)
struct VolumeCacheTests {
    /// Each thread knows what its own bytes are; the regions do not respect blocks or granules, so
    /// neighbours meet in the same ones.
    private final class Region: @unchecked Sendable {
        // Touched by its own thread, and by the test when no thread runs.
        let start: Int
        var model: [UInt8]
        var problem: String?

        init(start: Int, count: Int) {
            self.start = start
            model = [UInt8](repeating: 0, count: count)
        }

        func run(_ access: VolumeAccess, operations: Int, seed: UInt64) {
            var random = SeededRandom(seed: seed)
            for number in 0..<operations {
                let count = 1 + random.below(random.below(4) == 0 ? 200_000 : 6000)
                let from = random.below(max(1, model.count - count))
                let length = min(count, model.count - from)
                do {
                    switch random.below(16) {
                    case 0: try access.sync()
                    case 1...8:
                        let bytes =
                            random.below(8) == 0
                            ? [UInt8](repeating: 0, count: length)
                            : [UInt8](
                                repeating: UInt8(truncatingIfNeeded: random.next()), count: length)
                        try access.write(bytes, at: start + from)
                        model.replaceSubrange(from..<from + length, with: bytes)
                    default:
                        let found = try access.read(at: start + from, count: length)
                        if found != Array(model[from..<from + length]) {
                            problem =
                                "seed \(seed), operation \(number): wrong bytes at \(start + from)"
                            return
                        }
                    }
                } catch {
                    problem = "seed \(seed), operation \(number): \(error)"
                    return
                }
            }
        }

        func check(_ access: VolumeAccess) throws -> Bool {
            try access.read(at: start, count: model.count) == model
        }
    }

    @Test(
        "threads that read, write and sync always see their own bytes, also after a restart",
        arguments: [24, 128])
    func model(slots: Int) throws {
        let volume = try TestVolume("model", slots: slots)
        let threads = 6
        let share = volume.size / threads - 13
        let regions = (0..<threads).map { Region(start: $0 * share, count: share) }
        for round in 0..<3 {
            try volume.start()
            let access = try volume.access()
            let finished = DispatchGroup()
            for (number, region) in regions.enumerated() {
                finished.enter()
                let seed = testSeed &* 1000 &+ UInt64(round * 100 + number)
                Thread {
                    region.run(access, operations: 250, seed: seed)
                    finished.leave()
                }.start()
            }
            finished.wait()
            for region in regions { #expect(region.problem == nil) }
            for region in regions { #expect(try region.check(access)) }
            let report = try volume.stop()
            #expect(report.error == nil)
            #expect(report.dirtyBlocksLeft == 0)
        }
        // Everything was uploaded: the store alone has it all.
        var image: [UInt8] = []
        for block in 0..<volume.blocks {
            image += volume.stored(block) ?? [UInt8](repeating: 0, count: TestVolume.blockSize)
        }
        for region in regions {
            #expect(Array(image[region.start..<region.start + region.model.count]) == region.model)
        }
    }

    @Test("a store that fails for a while costs no writer an error, and the uploads go on after")
    func storeFailsForAWhile() throws {
        let volume = try TestVolume("outage")
        try volume.start()
        let access = try volume.access()
        volume.store.set { $0.failsWrites = true }
        var random = SeededRandom(seed: testSeed)
        let bytes = random.bytes(TestVolume.blockSize)
        for block in 0..<20 { try access.write(bytes, at: block * TestVolume.blockSize) }
        try access.sync()
        try waitFor("a failed upload") { volume.store.failures.load(ordering: .relaxed) > 0 }
        #expect(volume.statistics.dirtyBlocks == 20)
        #expect(volume.stored(3) == nil)
        volume.store.set { $0.failsWrites = false }
        try waitFor("the uploads") { volume.statistics.dirtyBlocks == 0 }
        #expect(volume.stored(3) == bytes)
        #expect(try volume.stop().error == nil)
    }

    @Test("a write that finds the cache full of dirty blocks waits for the store, without an error")
    func fullCacheWaits() throws {
        let volume = try TestVolume("full", slots: 8)
        try volume.start()
        let access = try volume.access()
        volume.store.set { $0.failsWrites = true }
        let bytes = [UInt8](repeating: 5, count: TestVolume.blockSize)
        let answers = (0..<12).map { access.beginWrite(bytes, at: $0 * TestVolume.blockSize) }
        try waitFor("a full cache") { volume.statistics.dirtyBlocks == 8 }
        volume.store.set { $0.failsWrites = false }
        for answer in answers { #expect(try answer() == nil) }
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        for block in 0..<12 { #expect(volume.stored(block) == bytes) }
    }

    @Test("stopping ends although a write waits for room that will never come")
    func stopWithWaitingWrite() throws {
        let volume = try TestVolume("parked", slots: 8)
        try volume.start()
        let access = try volume.access()
        volume.store.set { $0.failsWrites = true }
        let bytes = [UInt8](repeating: 5, count: TestVolume.blockSize)
        let answers = (0..<12).map { access.beginWrite(bytes, at: $0 * TestVolume.blockSize) }
        // Two in a row on one block: the second waits behind the first.
        let behind = access.beginWrite([1, 2, 3], at: 11 * TestVolume.blockSize)
        try waitFor("a full cache") { volume.statistics.dirtyBlocks == 8 }
        let report = try volume.stop(timeoutMs: 200)
        #expect(report.error == nil)
        #expect(report.dirtyBlocksLeft == 8)
        let errors = try answers.map { try $0() }
        #expect(errors.count { $0 == nil } == 8)
        #expect(errors.compactMap { $0?.kind } == Array(repeating: .stopped, count: 4))
        #expect(try behind()?.kind == .stopped)
        // What was acknowledged is still there.
        volume.store.set { $0.failsWrites = false }
        try volume.start()
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        #expect((0..<12).count { volume.stored($0) == bytes } == 8)
    }

    @Test("a read that the store fails is an error; the next one succeeds")
    func readError() throws {
        let volume = try TestVolume("read-error")
        try volume.start()
        var access = try volume.access()
        var random = SeededRandom(seed: testSeed)
        let bytes = random.bytes(TestVolume.blockSize)
        try access.write(bytes, at: 0)
        try access.write(bytes, at: 5 * TestVolume.blockSize)
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        volume.store.set { $0.failsReads = true }
        try volume.start()
        access = try volume.access()
        // Reloaded, so not served before the store has confirmed it.
        let early = #expect(throws: VolumeError.self) { try access.read(at: 100, count: 5000) }
        #expect(early?.kind == .store)
        // Never cached.
        let absent = #expect(throws: VolumeError.self) {
            try access.read(at: 40 * TestVolume.blockSize, count: 1)
        }
        #expect(absent?.kind == .store)
        volume.store.set { $0.failsReads = false }
        #expect(try access.read(at: 100, count: 5000) == Array(bytes[100..<5100]))
        #expect(try access.read(at: 40 * TestVolume.blockSize, count: 1) == [0])
        #expect(volume.statistics.verified == 1)
        #expect(volume.statistics.storeErrors == 2)
        #expect(try volume.stop().error == nil)
    }

    @Test("part of a block is written, synced and read back while the store fails every read")
    func partialWriteWithoutStore() throws {
        let volume = try TestVolume("partial")
        volume.store.set { $0.failsReads = true }
        try volume.start()
        let access = try volume.access()
        let bytes = [UInt8](repeating: 9, count: 4096)
        try access.write(bytes, at: 8192)
        try access.sync()
        #expect(try access.read(at: 8192, count: 4096) == bytes)
        volume.store.set { $0.failsReads = false }
        #expect(try access.read(at: 0, count: 8192) == [UInt8](repeating: 0, count: 8192))
        #expect(try volume.stop().dirtyBlocksLeft == 0)
    }

    @Test("a stop gives up at its time limit, and the next start uploads what is left")
    func stopTimeout() throws {
        let volume = try TestVolume("timeout")
        try volume.start { $0.writeDelayMs = 60_000 }
        let access = try volume.access()
        let bytes = [UInt8](repeating: 3, count: TestVolume.blockSize)
        for block in 0..<40 { try access.write(bytes, at: block * TestVolume.blockSize) }
        volume.store.set { $0.failsWrites = true }
        let begun = Date()
        let report = try volume.stop(timeoutMs: 300)
        #expect(report.dirtyBlocksLeft == 40)
        #expect(report.error == nil)
        #expect(-begun.timeIntervalSinceNow < 20)
        volume.store.set { $0.failsWrites = false }
        try volume.start()
        try waitFor("the uploads") { volume.statistics.dirtyBlocks == 0 }
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        for block in 0..<40 { #expect(volume.stored(block) == bytes) }
    }

    @Test("statistics count hits, misses, uploads and deletions, and start again after a reset")
    func statistics() throws {
        let volume = try TestVolume("statistics")
        try volume.start { $0.writeDelayMs = 0 }
        let access = try volume.access()
        let bytes = [UInt8](repeating: 3, count: TestVolume.blockSize)
        try access.write(bytes, at: 0)
        try waitFor("the upload") { volume.statistics.dirtyBlocks == 0 }
        _ = try access.read(at: 0, count: 100)
        _ = try access.read(at: 9 * TestVolume.blockSize, count: 100)
        try access.write([UInt8](repeating: 0, count: TestVolume.blockSize), at: 0)
        try waitFor("the deletion") { volume.statistics.dirtyBlocks == 0 }
        let found = volume.statistics
        #expect(found.storePuts == 1)
        #expect(found.storeDeletes == 1)
        #expect(found.zeroBlocksWritten == 1)
        #expect(found.readHits == 1)
        #expect(found.readMisses == 1)
        #expect(found.storeGets == 1)
        #expect(found.zeroBlocksRead == 1)
        #expect(found.currentSize == 1)
        #expect(!found.isPoisoned)
        #expect(volume.stored(0) == nil)
        volume.resetStatistics()
        let fresh = volume.statistics
        #expect(fresh.storePuts == 0 && fresh.readHits == 0)
        #expect(fresh.currentSize == 1)
        #expect(try volume.stop().error == nil)
    }

    @Test(
        "nothing gives way where there is a slot for every block and one more",
        arguments: [0, 1, 4])
    func roomy(spare: Int) throws {
        let blocks = 32
        let volume = try TestVolume("roomy-\(spare)", blocks: blocks, slots: blocks + spare)
        try volume.start { $0.readAhead = 0 }
        let access = try volume.access()
        func block(_ number: Int, _ round: Int) -> [UInt8] {
            [UInt8](repeating: UInt8(number + 40 * round + 1), count: TestVolume.blockSize)
        }
        for round in 0..<4 {
            // Whole blocks go to other slots than those that they have.
            let writes = (0..<blocks).map {
                access.beginWrite(block($0, round), at: $0 * TestVolume.blockSize)
            }
            for write in writes { #expect(try write() == nil) }
            try waitFor("the uploads") { volume.statistics.dirtyBlocks == 0 }
        }
        for number in 0..<blocks {
            let found = try access.read(
                at: number * TestVolume.blockSize, count: TestVolume.blockSize)
            #expect(found == block(number, 3))
        }
        let statistics = volume.statistics
        #expect((statistics.evictions > 0) == (spare == 0))
        if spare > 0 { #expect(statistics.readMisses == 0 && statistics.storeGets == 0) }
        #expect(try volume.stop().error == nil)
    }
}
