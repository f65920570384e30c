import BlockCache
import CacheFile
import FileIO
import Foundation
import Glibc
import Simulation
import TestSupport
import Testing

/// The cache file gets other sizes while threads write to it. Crashes are the simulation's.
@Suite("Resize", .serialized)
struct ResizeTests {
    static let block = TestVolume.blockSize

    private func content(_ value: Int, _ count: Int = block) -> [UInt8] {
        [UInt8](repeating: UInt8(truncatingIfNeeded: value % 251 + 1), count: count)
    }

    private func waitFor(_ slots: Int, _ volume: TestVolume) throws {
        try TestSupport.waitFor("\(slots) slots", seconds: 60) {
            volume.statistics.cacheSize == slots
        }
    }

    private func expectIntact(_ volume: TestVolume, _ slots: Int) throws {
        let found = try CacheFiles.inspect(volume.root + "/cache", data: .all)
        #expect(found.findings.allSatisfy { $0.severity == .info })
        #expect(found.geometry.slotCount == slots)
        let attributes = try FileManager.default.attributesOfItem(atPath: volume.root + "/cache")
        #expect(attributes[.size] as? Int == found.geometry.fileSize)
    }

    @Test("to and fro over pages and groups, with writers: every byte stays, also over a restart")
    func toAndFro() throws {
        let volume = try TestVolume("resize", blocks: 512, slots: 200)
        try volume.start()
        let access = try volume.access()
        let cell = Self.block / 4
        let cells = volume.size / cell
        let writers = 4
        let failures = Failures()
        let group = DispatchGroup()
        let isOver = Flag()
        // Each writer has cells of its own, and the blocks are everybody's.
        var known = [[Int]](repeating: [], count: writers)
        let results = (0..<writers).map { _ in Results(cells / writers) }
        for writer in 0..<writers {
            DispatchQueue.global().async(group: group) {
                var random = SeededRandom(seed: testSeed &+ UInt64(writer))
                var number = 0
                while !isOver.isSet {
                    number += 1
                    let index = random.below(cells / writers)
                    let bytes = [UInt8](repeating: UInt8(number % 251 + 1), count: cell)
                    do {
                        try access.write(bytes, at: (index * writers + writer) * cell)
                        results[writer].set(index, number % 251 + 1)
                        if random.chance(5) { try access.sync() }
                        let other = random.below(cells / writers)
                        let read = try access.read(
                            at: (other * writers + writer) * cell, count: cell)
                        if read.contains(where: { Int($0) != results[writer].get(other) }) {
                            failures.add("cell \(other) of writer \(writer)")
                        }
                    } catch { failures.add("\(error)") }
                }
            }
        }
        for slots in [70, 64, 900, 130, 8, 190, 1000, 63] {
            volume.resize(slots: slots)
            try waitFor(slots, volume)
        }
        isOver.set()
        group.wait()
        #expect(failures.all.isEmpty)
        known = results.map(\.all)
        _ = try volume.stop()
        try expectIntact(volume, 63)
        try volume.start()
        let after = try volume.access()
        for writer in 0..<writers {
            for (index, value) in known[writer].enumerated() {
                let read = try after.read(at: (index * writers + writer) * cell, count: cell)
                #expect(read.allSatisfy { Int($0) == value }, "cell \(index) of \(writer)")
            }
        }
        _ = try volume.stop()
    }

    @Test("no space to grow: one error, the old size, and all goes on")
    func noSpace() throws {
        let volume = try TestVolume("resize-space", blocks: 64, slots: 64)
        try volume.start()
        let access = try volume.access()
        for block in 0..<32 { try access.write(content(block), at: block * Self.block) }
        try #require(volume.file).fail(.reserve, number: 1, errno: ENOSPC)
        volume.resize(slots: 200)
        try TestSupport.waitFor("the refusal") {
            volume.file?.hasFailed.load(ordering: .relaxed) ?? false
        }
        for block in 0..<64 { try access.write(content(block + 7), at: block * Self.block) }
        try access.sync()
        #expect(volume.statistics.cacheSize == 64)
        #expect(!volume.statistics.isPoisoned)
        // Its disk has room again.
        volume.resize(slots: 200)
        try waitFor(200, volume)
        _ = try volume.stop()
        try expectIntact(volume, 200)
    }

    @Test(
        "dirty blocks that fit nowhere hold the shrinking up, and nothing else, until they may go")
    func dirty() throws {
        let volume = try TestVolume("resize-dirty", blocks: 64, slots: 64)
        try volume.start()
        let access = try volume.access()
        for block in 0..<30 { try access.write(content(block), at: block * Self.block) }
        try TestSupport.waitFor("uploads") { volume.statistics.dirtyBlocks == 0 }
        volume.store.set { $0.failsWrites = true }
        for block in 30..<58 { try access.write(content(block), at: block * Self.block) }
        volume.resize(slots: 20)
        // Those that fit are moved, in the place of clean ones; the others stay.
        try TestSupport.waitFor("moves") { volume.statistics.moves > 10 }
        for block in 30..<38 { try access.write(content(block + 100), at: block * Self.block) }
        for block in 38..<58 {
            #expect(try access.read(at: block * Self.block, count: Self.block) == content(block))
        }
        #expect(volume.statistics.cacheSize == 64)
        #expect(volume.statistics.dirtyBlocks == 28)
        // A process that ends now leaves all of it to the next one, which goes on.
        _ = try volume.stop(timeoutMs: 0)
        try expectIntact(volume, 64)
        try volume.start()
        volume.resize(slots: 20)
        volume.store.set { $0.failsWrites = false }
        try waitFor(20, volume)
        let after = try volume.access()
        for block in 0..<58 {
            let expected = content((30..<38).contains(block) ? block + 100 : block)
            #expect(try after.read(at: block * Self.block, count: Self.block) == expected)
        }
        _ = try volume.stop()
        try expectIntact(volume, 20)
    }
}

/// What threads have found wrong.
private final class Failures: Sendable {
    private let found = Locked<[String]>([])
    func add(_ text: String) { found.withLock { $0.append(text) } }
    var all: [String] { found.withLock { $0 } }
}

private final class Flag: Sendable {
    private let value = Locked(false)
    func set() { value.withLock { $0 = true } }
    var isSet: Bool { value.withLock { $0 } }
}

/// Values of the cells of one writer.
private final class Results: Sendable {
    private let values: Locked<[Int]>
    init(_ count: Int) { values = Locked([Int](repeating: 0, count: count)) }
    func set(_ index: Int, _ value: Int) { values.withLock { $0[index] = value } }
    func get(_ index: Int) -> Int { values.withLock { $0[index] } }
    var all: [Int] { values.withLock { $0 } }
}
