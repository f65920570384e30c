import BlockCache
import CacheFile
import Foundation
import Simulation
import TestSupport
import Testing

/// Trims on a volume with threads, a cache file and a directory store.
@Suite("Trims", .serialized)
struct TrimTests {
    private static let block = TestVolume.blockSize

    private func bytes(_ count: Int, _ value: UInt8) -> [UInt8] {
        [UInt8](repeating: value, count: count)
    }

    @Test(
        "trimmed bytes are zeros, all others stay, and no object of a trimmed block is left",
        arguments: [1, 7, 1000])
    func model(deletedTogether: Int) throws {
        let volume = try TestVolume("trim-model", slots: 24, deletedTogether: deletedTogether)
        var random = SeededRandom(seed: 21)
        var model = bytes(volume.size, 0)
        for round in 0..<4 {
            try volume.start()
            let access = try volume.access()
            for number in 0..<120 {
                let count = 1 + random.below(random.below(3) == 0 ? 40 * Self.block : 9000)
                let from = random.below(model.count)
                let range = from..<min(model.count, from + count)
                switch random.below(5) {
                case 0:
                    try access.trim(at: range.lowerBound, count: range.count)
                    model.replaceSubrange(range, with: bytes(range.count, 0))
                case 1, 2:
                    let short = range.prefix(70_000)
                    let data = bytes(short.count, UInt8(truncatingIfNeeded: number) | 1)
                    try access.write(data, at: short.lowerBound)
                    model.replaceSubrange(short.lowerBound..<short.upperBound, with: data)
                case 3: try access.sync()
                default:
                    let found = try access.read(at: range.lowerBound, count: range.count)
                    #expect(found == Array(model[range]), "round \(round), operation \(number)")
                }
            }
            // Every other time with dirty blocks and extents left in the file.
            volume.store.set { $0.failsWrites = round % 2 == 0 }
            _ = try volume.stop(timeoutMs: round % 2 == 0 ? 0 : 60_000)
            volume.store.set { $0.failsWrites = false }
        }
        for block in 0..<volume.blocks {
            let expected = Array(model[block * Self.block..<(block + 1) * Self.block])
            let isZero = expected.allSatisfy { $0 == 0 }
            #expect(volume.stored(block) == (isZero ? nil : expected), "block \(block)")
        }
    }

    @Test("the objects of a trim are deleted together, those that fail again")
    func together() throws {
        let volume = try TestVolume("trim-together", deletedTogether: 20)
        try volume.start()
        var access = try volume.access()
        for block in 0..<64 { try access.write(bytes(Self.block, 7), at: block * Self.block) }
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        // A cache of its own, so that nothing is cached.
        try volume.startEmpty()
        access = try volume.access()
        volume.store.set { $0.failsWrites = true }
        try access.trim(at: Self.block, count: 60 * Self.block)
        try waitFor("failures") { volume.store.failures.load(ordering: .relaxed) >= 40 }
        volume.store.set { $0.failsWrites = false }
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        for block in 0..<64 {
            #expect((volume.stored(block) == nil) == (1...60).contains(block), "block \(block)")
        }
        let calls = volume.store.bulkDeletes.withLock { $0 }
        #expect(calls.max() == 20 && calls.reduce(0, +) >= 60, "\(calls)")
    }

    @Test("a trim does not wait for the store; what was trimmed reads as zeros without it")
    func storeAway() throws {
        let volume = try TestVolume("trim-away")
        try volume.start()
        var access = try volume.access()
        for block in 0..<32 { try access.write(bytes(Self.block, 7), at: block * Self.block) }
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        volume.store.set {
            $0.failsReads = true
            $0.failsWrites = true
        }
        // A cache of its own, so that nothing is cached.
        try volume.startEmpty()
        access = try volume.access()
        try access.trim(at: 3 * Self.block, count: 20 * Self.block)
        #expect(try access.read(at: 3 * Self.block, count: 20 * Self.block).allSatisfy { $0 == 0 })
        // Part of a trimmed block, written without its old content.
        try access.write(bytes(100, 9), at: 5 * Self.block + 5000)
        try access.sync()
        #expect(volume.statistics.zeroBlocks == 20)
        #expect(try volume.stop(timeoutMs: 0).dirtyBlocksLeft == 21)
        try volume.start()
        access = try volume.access()
        #expect(volume.statistics.zeroBlocks == 20)
        #expect(try access.read(at: 4 * Self.block, count: Self.block).allSatisfy { $0 == 0 })
        var expected = bytes(Self.block, 0)
        expected.replaceSubrange(5000..<5100, with: bytes(100, 9))
        #expect(try access.read(at: 5 * Self.block, count: Self.block) == expected)
        volume.store.set {
            $0.failsReads = false
            $0.failsWrites = false
        }
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        for block in 0..<32 {
            let isTrimmed = (3..<23).contains(block)
            let content = block == 5 ? expected : isTrimmed ? nil : bytes(Self.block, 7)
            #expect(volume.stored(block) == content, "block \(block)")
        }
    }

    @Test("a trim of terabytes is a few records, and what is known to be absent needs none")
    func terabytes() throws {
        let blocks = 1 << 28
        let volume = try TestVolume("trim-long", blocks: blocks)
        try volume.start { $0.writeDelayMs = 1 << 30 }
        let access = try volume.access()
        let last = (blocks - 1) * Self.block
        try access.write(bytes(100, 3), at: last)
        try access.write(bytes(100, 3), at: blocks / 2 * Self.block)
        let before = volume.statistics
        try access.trim(at: 0, count: volume.size)
        let after = volume.statistics
        // 65536 regions at a time.
        #expect(after.groups - before.groups < 200)
        // All but those in slots, at most.
        #expect((blocks - 2...blocks).contains(after.zeroBlocks))
        #expect(try access.read(at: last, count: 100).allSatisfy { $0 == 0 })
        #expect(try access.read(at: 12345, count: 100).allSatisfy { $0 == 0 })
        // Now nothing is new.
        try access.sync()
        let quiet = volume.statistics.ringBytesUsed
        try access.trim(at: 0, count: volume.size)
        #expect(volume.statistics.ringBytesUsed <= quiet + 4096)
        _ = try volume.stop(timeoutMs: 0)
    }

    @Test("too many ranges wait for the store, and other writers go on")
    func bound() throws {
        let volume = try TestVolume("trim-bound", blocks: 1 << 14)
        volume.store.set { $0.failsWrites = true }
        try volume.start()
        let access = try volume.access()
        var answers: [() throws -> VolumeError?] = []
        let most = (2 << 20) / 2048 / 2
        for number in 0..<most { try access.trim(at: 2 * number * Self.block, count: Self.block) }
        for number in most..<most + 3 {
            answers.append(access.beginTrim(at: 2 * number * Self.block, count: Self.block))
        }
        try access.write(bytes(100, 1), at: (2 * most + 9) * Self.block)
        try access.sync()
        #expect(volume.statistics.zeroBlocks == most)
        volume.store.set { $0.failsWrites = false }
        for answer in answers { #expect(try answer() == nil) }
        #expect(try volume.stop().dirtyBlocksLeft == 0)
    }
}
