import BlockCache
import Foundation
import Simulation
import TestSupport
import Testing

/// Who waits for whom when the store is asked.
@Suite("FetchTests", .serialized)
struct FetchTests {
    private static let size = TestVolume.blockSize

    /// A volume whose blocks are all in the store, and none in the cache; with their content.
    private func stored(_ name: String, blocks: Int) throws -> (TestVolume, [UInt8]) {
        let volume = try TestVolume(name, blocks: blocks)
        try volume.start()
        var random = SeededRandom(seed: testSeed)
        let bytes = random.bytes(volume.size)
        try volume.access().write(bytes, at: 0)
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        return (volume, bytes)
    }

    @Test("reads of the user never wait for what completes uploads, however much that is")
    func readsPassCompletions() throws {
        let (volume, bytes) = try stored("lanes", blocks: 64)
        try volume.startEmpty()
        let access = try volume.access()
        // More than are asked for at a time; none of them is answered.
        volume.store.set { $0.held = Set(0..<16) }
        defer { volume.store.set { $0.held = [] } }
        for block in 0..<16 { try access.write([1], at: block * Self.size + 5) }
        try waitFor("a read that is held") { volume.store.reads.withLock { $0.count >= 4 } }
        for block in 16..<40 {
            let at = block * Self.size + 4096
            #expect(try access.read(at: at, count: 4096) == Array(bytes[at..<at + 4096]))
        }
        // One of them is waited for now, and asked although the others are in front of it.
        volume.store.set { $0.held.remove(15) }
        let at = 15 * Self.size + 4096
        #expect(try access.read(at: at, count: 4096) == Array(bytes[at..<at + 4096]))
        volume.store.set { $0.held = [] }
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        var changed = Array(bytes[0..<Self.size])
        changed[5] = 1
        #expect(volume.stored(0) == changed)
    }

    @Test("of a block of which little is missing only that is asked for")
    func parts() throws {
        let (volume, bytes) = try stored("parts", blocks: 4)
        try volume.startEmpty()
        let access = try volume.access()
        volume.store.reads.withLock { $0 = [] }
        let most = [UInt8](repeating: 7, count: Self.size - 8192)
        try access.write(most, at: 0)
        try access.write(Array(most.prefix(8192)), at: Self.size)
        try waitFor("the uploads") { volume.statistics.dirtyBlocks == 0 }
        let whole: [UInt8] = most + Array(bytes[Self.size - 8192..<Self.size])
        #expect(volume.stored(0) == whole)
        let other: [UInt8] =
            Array(most.prefix(8192)) + Array(bytes[Self.size + 8192..<2 * Self.size])
        #expect(volume.stored(1) == other)
        let reads = volume.store.reads.withLock { $0.sorted { $0.block < $1.block } }
        let part = FaultyStore.Read(block: 0, range: Self.size - 8192..<Self.size)
        #expect(reads == [part, FaultyStore.Read(block: 1)])
        // It is all here now.
        #expect(try access.read(at: 0, count: Self.size) == whole)
        #expect(volume.store.reads.withLock { $0.count } == 2)
        #expect(try volume.stop().error == nil)
    }
}
