import Foundation
import Glibc
import Simulation
import Synchronization
import Testing

/// Writers on a mounted file who know, sector by sector, what was acknowledged to them.
///
/// Each writer has a region of its own. A sector holds its number and the number of the write,
/// repeated, so that a mixed or misplaced sector shows.
package final class KillWorkload: @unchecked Sendable {
    static let sectorSize = 512

    let sectors: Int
    private let writers: Int
    /// Per sector: the last acknowledged write, and the one under way (0: none). Each is touched
    /// by the sector's own writer only, and by the checker when no writer runs.
    private let acknowledged: UnsafeMutablePointer<UInt64>
    private let pending: UnsafeMutablePointer<UInt64>
    private var threads: [Thread] = []
    private let finished = DispatchGroup()
    private let mustStop = Atomic<Bool>(false)
    package let writes = Atomic<Int>(0)
    package let syncs = Atomic<Int>(0)
    private var nextSequence: [UInt64]

    package init(bytes: Int, writers: Int) {
        sectors = bytes / Self.sectorSize
        self.writers = writers
        acknowledged = .allocate(capacity: sectors)
        acknowledged.initialize(repeating: 0, count: sectors)
        pending = .allocate(capacity: sectors)
        pending.initialize(repeating: 0, count: sectors)
        nextSequence = (0..<writers).map { UInt64($0 + 1) << 40 }
    }

    deinit {
        acknowledged.deallocate()
        pending.deallocate()
    }

    // MARK: Writing

    package func begin(_ path: String, seed: UInt64) {
        mustStop.store(false, ordering: .relaxed)
        writes.store(0, ordering: .relaxed)
        for writer in 0..<writers {
            finished.enter()
            let thread = Thread { [self] in
                write(path, writer, seed: seed &* 31 &+ UInt64(writer))
                finished.leave()
            }
            thread.start()
        }
    }

    /// Waits until every writer has ended: after `stop()`, or because the mount is dead.
    package func stop() {
        mustStop.store(true, ordering: .relaxed)
        finished.wait()
    }

    private func write(_ path: String, _ writer: Int, seed: UInt64) {
        let fd = open(path, O_RDWR)
        guard fd >= 0 else { return }
        defer { close(fd) }
        var random = SeededRandom(seed: seed)
        let region = sectors / writers
        let first = region * writer
        var buffer = [UInt8](repeating: 0, count: 512 * Self.sectorSize)
        while !mustStop.load(ordering: .relaxed) {
            let (start, count) = Self.pick(&random, first: first, region: region)
            nextSequence[writer] += 1
            let sequence = nextSequence[writer]
            for sector in start..<start + count {
                pending[sector] = sequence
                Self.stamp(&buffer, (sector - start) * Self.sectorSize, sector, sequence)
            }
            let bytes = count * Self.sectorSize
            let done = pwrite(fd, buffer, bytes, start * Self.sectorSize)
            guard done == bytes else { return }
            for sector in start..<start + count {
                acknowledged[sector] = sequence
                pending[sector] = 0
            }
            writes.add(1, ordering: .relaxed)
            if random.next() % 16 == 0 {
                guard fdatasync(fd) == 0 else { return }
                syncs.add(1, ordering: .relaxed)
            }
        }
    }

    /// Small and large, aligned and not, often at the same places.
    private static func pick(
        _ random: inout SeededRandom, first: Int, region: Int
    ) -> (start: Int, count: Int) {
        var count = 1
        switch random.next() % 8 {
        case 0: count = 1 + Int(random.next() % 7)
        case 1...4: count = 8 * (1 + Int(random.next() % 4))
        case 5, 6: count = 128
        default: count = 128 + Int(random.next() % 384)
        }
        let hot = random.next() % 4 == 0 ? region : region / 8
        var start = Int(random.next() % UInt64(max(1, hot - count)))
        if random.next() % 4 != 0 { start = start / 8 * 8 }
        return (first + start, count)
    }

    private static func stamp(_ buffer: inout [UInt8], _ at: Int, _ sector: Int, _ sequence: UInt64)
    {
        buffer.withUnsafeMutableBytes { bytes in
            for offset in stride(from: at, to: at + sectorSize, by: 16) {
                bytes.storeBytes(of: UInt64(sector), toByteOffset: offset, as: UInt64.self)
                bytes.storeBytes(of: sequence, toByteOffset: offset + 8, as: UInt64.self)
            }
        }
    }

    // MARK: Checking

    /// Reads everything back. Each sector must hold the last acknowledged write, or the one that
    /// was under way when the daemon died. What is found is what counts from then on.
    /// - Returns: sectors that hold anything else.
    package func check(_ path: String) throws -> [String] {
        let fd = open(path, O_RDONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        var lost: [String] = []
        let chunk = 2048
        var buffer = [UInt8](repeating: 0, count: chunk * Self.sectorSize)
        for base in stride(from: 0, to: sectors, by: chunk) {
            let count = min(chunk, sectors - base)
            let bytes = count * Self.sectorSize
            try #require(pread(fd, &buffer, bytes, base * Self.sectorSize) == bytes)
            for sector in base..<base + count {
                let found = Self.read(buffer, (sector - base) * Self.sectorSize, sector)
                if let found,
                    found == acknowledged[sector] || (found != 0 && found == pending[sector])
                {
                    acknowledged[sector] = found
                    pending[sector] = 0
                } else {
                    let what = found.map { String($0, radix: 16) } ?? "mixed bytes"
                    lost.append(
                        "sector \(sector): \(what), acknowledged \(String(acknowledged[sector], radix: 16))"
                    )
                }
            }
        }
        return lost
    }

    /// The write a sector belongs to, 0 for a sector of zeros, nil for anything mixed.
    private static func read(_ buffer: [UInt8], _ at: Int, _ sector: Int) -> UInt64? {
        buffer.withUnsafeBytes { bytes in
            let number = bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            let sequence = bytes.loadUnaligned(fromByteOffset: at + 8, as: UInt64.self)
            for offset in stride(from: at, to: at + sectorSize, by: 16) {
                guard bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self) == number,
                    bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self) == sequence
                else { return nil }
            }
            if sequence == 0 { return number == 0 ? 0 : nil }
            return number == UInt64(sector) ? sequence : nil
        }
    }
}
