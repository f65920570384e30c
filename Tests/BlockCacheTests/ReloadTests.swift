import BlockCache
import Foundation
import TestSupport
import Testing

/// Blocks of an earlier session, and a store that does not answer.
@Suite("ReloadTests", .serialized)
struct ReloadTests {
    private static let size = TestVolume.blockSize

    private func block(_ byte: UInt8) -> [UInt8] { [UInt8](repeating: byte, count: Self.size) }

    /// A session has ended, and left one clean block.
    private func volume(_ name: String) throws -> TestVolume {
        let volume = try TestVolume(name)
        try volume.start()
        try volume.access().write(block(1), at: 0)
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        return volume
    }

    @Test("while the store is down, blocks are served unverified if nobody else was there")
    func storeDown() throws {
        let volume = try volume("unverified")
        for isUnbroken in [true, false] {
            volume.store.set { $0.failsReads = true }
            try volume.start {
                $0.servesUnverified = isUnbroken
                $0.storeMayHaveChanged = !isUnbroken
            }
            let access = try volume.access()
            if isUnbroken {
                #expect(try access.read(at: 0, count: Self.size) == block(1))
                #expect(try access.read(at: 4096, count: 4096) == Array(block(1)[..<4096]))
                #expect(volume.statistics.servedUnverified >= 2)
                #expect(volume.statistics.verified == 0)
                // What is not cached cannot be had.
                #expect(throws: VolumeError.self) {
                    try access.read(at: Self.size, count: Self.size)
                }
            } else {
                #expect(throws: VolumeError.self) { try access.read(at: 0, count: Self.size) }
                #expect(volume.statistics.servedUnverified == 0)
            }
            // It is compared as soon as the store answers.
            volume.store.set { $0.failsReads = false }
            #expect(try access.read(at: 2 * Self.size, count: Self.size) == block(0))
            #expect(try access.read(at: 0, count: Self.size) == block(1))
            #expect(volume.statistics.verified == 1)
            _ = try volume.stop()
        }
    }

    @Test("a trusted cache is not compared")
    func trusted() throws {
        let volume = try volume("trusted")
        volume.store.set { $0.failsReads = true }
        try volume.start { $0.trustsCache = true }
        #expect(try volume.access().read(at: 0, count: Self.size) == block(1))
        #expect(volume.statistics.servedUnverified == 0)
        volume.store.set { $0.failsReads = false }
        _ = try volume.stop()
    }

    @Test("a store without an order is listed whole: what it lacks is not asked for")
    func listedWhole() throws {
        let volume = try volume("whole")
        try volume.start { $0.survey = .all }
        try waitFor("the list") { volume.statistics.storeLists > 0 }
        let access = try volume.access()
        try waitFor("what is absent") {
            let gets = volume.store.gets.load(ordering: .relaxed)
            #expect((try? access.read(at: 5 * Self.size, count: Self.size)) == block(0))
            return volume.store.gets.load(ordering: .relaxed) == gets
        }
        #expect(try access.read(at: 0, count: Self.size) == block(1))
        _ = try volume.stop()
    }
}
