import BlockCache
import Foundation
import Simulation
import TestSupport
import Testing

/// What is asked of the store ahead of sequential reads.
@Suite("ReadAheadTests", .serialized)
struct ReadAheadTests {
    private static let size = TestVolume.blockSize

    /// A volume whose blocks are all in the store, and none in the cache; with their content.
    private func stored(
        _ name: String, blocks: Int = 64, slots: Int = 128, all: Bool = true
    ) throws -> (TestVolume, [UInt8]) {
        let volume = try TestVolume(name, blocks: blocks, slots: slots)
        try volume.start()
        var random = SeededRandom(seed: testSeed)
        var bytes = random.bytes(volume.size)
        if !all {
            // Every other block is absent.
            for block in stride(from: 1, to: blocks, by: 2) {
                let range = block * Self.size..<(block + 1) * Self.size
                bytes.replaceSubrange(range, with: [UInt8](repeating: 0, count: Self.size))
            }
        }
        let access = try volume.access()
        for block in 0..<blocks {
            let range = block * Self.size..<(block + 1) * Self.size
            try access.write(Array(bytes[range]), at: range.lowerBound)
        }
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        volume.store.reads.withLock { $0 = [] }
        return (volume, bytes)
    }

    private func check(
        _ access: VolumeAccess, _ bytes: [UInt8], _ blocks: Range<Int>, step: Int = 16 << 10
    ) throws {
        let range = blocks.lowerBound * Self.size..<blocks.upperBound * Self.size
        for at in stride(from: range.lowerBound, to: range.upperBound, by: step) {
            let found = try access.read(at: at, count: step)
            try #require(found == Array(bytes[at..<at + step]), "wrong bytes at \(at)")
        }
    }

    private func read(_ volume: TestVolume) -> [UInt64] {
        volume.store.reads.withLock { $0.map(\.block) }
    }

    @Test("the blocks after two in a row are asked for before somebody waits, each once")
    func ahead() throws {
        let (volume, bytes) = try stored("ahead")
        try volume.startEmpty()
        let access = try volume.access()
        try check(access, bytes, 0..<1)
        #expect(read(volume) == [0])
        try check(access, bytes, 1..<2)
        try waitFor("four blocks") { read(volume).count == 6 }
        #expect(read(volume).sorted() == [0, 1, 2, 3, 4, 5])
        try check(access, bytes, 2..<64)
        #expect(read(volume).sorted() == Array(0..<64), "never beyond the end, none twice")
        #expect(volume.statistics.readAheadBlocks == 62)
        #expect(volume.statistics.readAheadDropped == 0)
        #expect(try volume.stop().error == nil)
    }

    @Test("a read waits only for its own block, though more are on their way before it")
    func urgent() throws {
        let (volume, bytes) = try stored("ahead-urgent")
        try volume.startEmpty()
        let access = try volume.access()
        volume.store.set { $0.held = Set(2..<30) }
        defer { volume.store.set { $0.held = [] } }
        try check(access, bytes, 0..<2)
        try waitFor("four blocks") { read(volume).count == 6 }
        try check(access, bytes, 40..<42)
        #expect(try volume.access().read(at: 50 * Self.size, count: 1) == [bytes[50 * Self.size]])
        volume.store.set { $0.held = [] }
        try check(access, bytes, 2..<64)
        #expect(try volume.stop().error == nil)
    }

    @Test("--readAhead=0 and --readAheadTrigger=0 ask for nothing ahead", arguments: [0, 1])
    func off(_ which: Int) throws {
        let (volume, bytes) = try stored("ahead-off", blocks: 16)
        try volume.startEmpty {
            if which == 0 { $0.readAhead = 0 } else { $0.readAheadTrigger = 0 }
        }
        let access = try volume.access()
        volume.store.reads.withLock { $0 = [] }
        for block in 0..<16 {
            try check(access, bytes, block..<block + 1)
            #expect(read(volume) == Array(0...UInt64(block)))
        }
        #expect(volume.statistics.readAheadBlocks == 0)
        #expect(try volume.stop().error == nil)
    }

    @Test("what is cached, dirty or known to be absent is passed")
    func passes() throws {
        let (volume, bytes) = try stored("ahead-passes", all: false)
        var expected = bytes
        try volume.startEmpty { $0.writeDelayMs = 1 << 30 }
        let access = try volume.access()
        try check(access, bytes, 0..<64)
        #expect(read(volume).sorted() == Array(0..<64))
        // The second time nothing is asked for: half is cached, half is known to be absent.
        let fresh = [UInt8](repeating: 3, count: 4096)
        for block in [8, 9, 30, 31] {
            try access.write(fresh, at: block * Self.size)
            expected.replaceSubrange(block * Self.size..<block * Self.size + 4096, with: fresh)
        }
        try check(access, expected, 0..<64)
        #expect(read(volume).count == 64)
        #expect(try volume.stop().dirtyBlocksLeft == 0)
    }

    @Test("a stream longer than the cache finds slots, and dirty blocks keep theirs")
    func long() throws {
        let (volume, bytes) = try stored("ahead-long", blocks: 256, slots: 40)
        try volume.startEmpty { $0.writeDelayMs = 1 << 30 }
        let access = try volume.access()
        var expected = bytes
        let fresh = [UInt8](repeating: 3, count: Self.size)
        for block in 0..<8 {
            try access.write(fresh, at: block * 32 * Self.size)
            expected.replaceSubrange(
                block * 32 * Self.size..<(block * 32 + 1) * Self.size, with: fresh)
        }
        try check(access, expected, 0..<256)
        let found = volume.statistics
        #expect(found.dirtyBlocks == 8)
        #expect(found.readAheadBlocks > 100, "most of them were asked for in time")
        #expect(found.readAheadDropped * 10 < found.readAheadBlocks, "and room was made in time")
        try check(access, expected, 0..<256)
        #expect(try volume.stop().dirtyBlocksLeft == 0)
    }

    @Test("blocks of an earlier mount are verified ahead; an error ahead is nobody's")
    func verified() throws {
        let (volume, bytes) = try stored("ahead-verified")
        try volume.start()
        var access = try volume.access()
        try check(access, bytes, 0..<64)
        #expect(volume.statistics.verified == 64)
        #expect(volume.statistics.readAheadBlocks == 62)
        #expect(read(volume) == [])
        _ = try volume.stop()
        try volume.startEmpty()
        access = try volume.access()
        try check(access, bytes, 0..<1)
        volume.store.set { $0.failing = Set(2..<64) }
        try check(access, bytes, 1..<2)
        try waitFor("failures ahead") { volume.statistics.storeErrors >= 4 }
        volume.store.set { $0.failing = [] }
        try check(access, bytes, 0..<64)
        #expect(try volume.stop().error == nil)
    }
}
