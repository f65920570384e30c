import FileIO
import Glibc
import Synchronization

/// Bytes that are not zeros, so that uploads are no deletions.
func filled(_ count: Int) -> AlignedBuffer {
    let buffer = AlignedBuffer(count)
    memset(buffer.base, 0x5a, count)
    return buffer
}

/// Flushes that a stream of whole blocks causes when nobody calls fsync.
enum FlushBench {
    static let blocks = 10_000

    static func run(_ directory: String) throws {
        let held = try stream(directory, slots: blocks + 240)
        let small = try stream(directory, slots: 1000)
        print(
            "FLUSHES blocks=\(blocks) held_flushes=\(held.flushes)"
                + " small_flushes=\(small.flushes)"
                + " small_reclaimed=\(small.reclaimed)"
                + " small_flushes_per_64=\(short(Double(small.flushes * 64) / Double(small.reclaimed)))"
        )
    }

    private static func stream(
        _ directory: String, slots: Int
    ) throws -> (flushes: Int, reclaimed: Int) {
        let volume = try BenchVolume(directory, blocks: blocks, slots: slots, latencyMs: 2)
        defer { volume.remove() }
        let buffer = filled(volume.blockSize)
        for block in 0..<blocks { volume.write(buffer.bytes, at: block * volume.blockSize) }
        let deadline = seconds() + 60
        while volume.statistics.dirtyBlocks > 0 {
            if seconds() > deadline { fatalError("uploads do not end") }
            usleep(10_000)
        }
        let numbers = volume.statistics
        return (numbers.flushes, numbers.evictions)
    }
}

/// Group commit: writers that call fsync after each write share flushes.
enum CommitBench {
    static func run(_ directory: String) throws {
        let volume = try BenchVolume(directory, blocks: 1024, slots: 2048, writeDelayMs: 3_600_000)
        defer { volume.remove() }
        var one: [Double] = []
        var many: [Double] = []
        for _ in 0..<5 {
            one.append(rate(volume, threads: 1))
            many.append(rate(volume, threads: 16))
        }
        print(
            "COMMIT one=\(Int(median(one))) sixteen=\(Int(median(many)))"
                + " ratio=\(short(median(many) / median(one)))")
    }

    /// Commits a second.
    private static func rate(_ volume: BenchVolume, threads: Int) -> Double {
        let commits = Atomic<Int>(0)
        let begun = seconds()
        withExtendedLifetime(commits) {
            inThreads(threads) { number in
                let buffer = filled(4096)
                var place = number * 7919
                while seconds() < begun + 0.5 {
                    place = (place &* 1_103_515_245 &+ 12345) & 0xffff
                    volume.write(buffer.bytes, at: place % 16384 * 4096)
                    volume.sync()
                    commits.add(1, ordering: .relaxed)
                }
            }
        }
        return Double(commits.load(ordering: .relaxed)) / (seconds() - begun)
    }
}

/// How long a writer waits that finds every slot dirty.
enum ReleaseBench {
    static let latencyMs = 100

    static func run(_ directory: String) throws {
        let volume = try BenchVolume(
            directory, blocks: 4096, slots: 256, latencyMs: latencyMs, writeDelayMs: 3_600_000)
        defer { volume.remove() }
        let buffer = filled(volume.blockSize)
        var waits: [Double] = []
        for block in 0..<1500 {
            let begun = seconds()
            volume.write(buffer.bytes, at: block * volume.blockSize)
            waits.append(seconds() - begun)
        }
        let trip = Double(latencyMs) / 1000
        let full = waits[256...]
        print(
            "RELEASE writes=\(full.count) median_trips=\(short(median(Array(full)) / trip))"
                + " worst_trips=\(short((full.max() ?? 0) / trip))")
    }
}

/// Runs a body in threads of its own and waits for all.
func inThreads(_ threads: Int, _ body: @escaping @Sendable (Int) -> Void) {
    final class Start {
        let number: Int
        let body: @Sendable (Int) -> Void
        init(_ number: Int, _ body: @escaping @Sendable (Int) -> Void) {
            self.number = number
            self.body = body
        }
    }
    var all: [pthread_t] = []
    for number in 0..<threads {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(Start(number, body)).toOpaque()
        pthread_create(
            &thread, nil,
            { raw in
                if let raw {
                    let start = Unmanaged<Start>.fromOpaque(raw).takeRetainedValue()
                    start.body(start.number)
                }
                return nil
            }, context)
        all.append(thread)
    }
    for thread in all { pthread_join(thread, nil) }
}
