import BlockCache
import Foundation
import Glibc
import Simulation
import TestSupport
import Testing

/// The cache file's disk fails once; from then on nothing may be acknowledged.
@Suite("PoisonTests", .serialized)
struct PoisonTests {
    struct Fault: CustomTestStringConvertible, Sendable {
        var operation: FaultyFile.Operation
        var number: Int
        var errno: Int32
        var testDescription: String {
            "\(operation) \(number): \(String(cString: strerror(errno)))"
        }
    }

    static let faults: [Fault] =
        [1, 2, 3, 10, 100].flatMap { number in
            [
                Fault(operation: .write, number: number, errno: EIO),
                Fault(operation: .write, number: number, errno: ENOSPC),
            ]
        }
        + [1, 2, 5].flatMap { number in
            [
                Fault(operation: .writeBack, number: number, errno: EIO),
                Fault(operation: .flush, number: number, errno: EIO),
                Fault(operation: .flush, number: number, errno: ENOSPC),
            ]
        }

    @Test(
        "after the first failure nothing is acknowledged; what was, is there when reopened",
        arguments: faults)
    func poison(_ fault: Fault) throws {
        let volume = try TestVolume("poison", blocks: 32, slots: 64)
        try volume.start()
        var access = try volume.access()
        let cells = 256
        let cell = volume.size / cells
        // Per cell: what was acknowledged last, and what was tried after.
        var known = [UInt8](repeating: 0, count: cells)
        var tried = [Set<UInt8>](repeating: [], count: cells)
        var random = SeededRandom(seed: testSeed &+ UInt64(fault.number))
        for index in 0..<cells / 2 {
            try access.write([UInt8](repeating: 1, count: cell), at: index * cell)
            known[index] = 1
        }
        try access.sync()
        try #require(volume.file).fail(fault.operation, number: fault.number, errno: fault.errno)
        var firstError: VolumeError?
        for number in 0..<5000 where firstError == nil {
            let index = random.below(cells)
            let value = UInt8(2 + number % 250)
            tried[index].insert(value)
            do {
                try access.write([UInt8](repeating: value, count: cell), at: index * cell)
                known[index] = value
                tried[index] = []
                if number % 4 == 0 { try access.sync() }
            } catch let error as VolumeError {
                firstError = error
            }
        }
        #expect(firstError?.kind == .poisoned)
        #expect(volume.file?.hasFailed.load(ordering: .relaxed) == true)
        for index in [0, 7, 100] {
            let write = #expect(throws: VolumeError.self) {
                try access.write([1], at: index * cell)
            }
            #expect(write?.kind == .poisoned)
        }
        let sync = #expect(throws: VolumeError.self) { try access.sync() }
        #expect(sync?.kind == .poisoned)
        #expect(volume.statistics.isPoisoned)
        // Reads of what is here still work.
        try check(access, cell, known, tried)
        #expect(try volume.stop(timeoutMs: 1000).error?.kind == .poisoned)
        try volume.start()
        access = try volume.access()
        try check(access, cell, known, tried)
        #expect(try volume.stop().error == nil)
    }

    private func check(
        _ access: VolumeAccess, _ cell: Int, _ known: [UInt8], _ tried: [Set<UInt8>]
    ) throws {
        for index in known.indices {
            let found = try access.read(at: index * cell, count: cell)
            let allowed = tried[index].union([known[index]])
            #expect(
                found.allSatisfy { allowed.contains($0) },
                "cell \(index): \(Set(found)), acknowledged \(known[index])")
        }
    }

    @Test(
        "a reloaded block that the store has changed is an error, not stale, once the file failed")
    func mismatchAfterFailure() throws {
        let volume = try TestVolume("poison-mismatch")
        try volume.start()
        var access = try volume.access()
        try access.write([UInt8](repeating: 1, count: TestVolume.blockSize), at: 0)
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        try Data(repeating: 2, count: TestVolume.blockSize)
            .write(to: URL(fileURLWithPath: volume.root + "/store/00000000"))
        try volume.start()
        access = try volume.access()
        try #require(volume.file).fail(.write, number: 1, errno: EIO)
        #expect(throws: VolumeError.self) {
            try access.write([UInt8](repeating: 3, count: 4096), at: 4 * TestVolume.blockSize)
        }
        let read = #expect(throws: VolumeError.self) { try access.read(at: 0, count: 4096) }
        #expect(read?.kind == .poisoned)
        _ = try volume.stop(timeoutMs: 1000)
    }
}
