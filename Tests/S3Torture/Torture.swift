import BlockStore
import FileIO
import Foundation
import Logging
import S3IO
import S3TestServers
import Simulation
import Synchronization

/// Threads that write, delete and read blocks of a bucket, through a proxy that spoils a share of all
/// requests and replies, and know what each block holds.
final class Torture: Sendable {
    struct Settings: Sendable {
        var operations = 10_000
        var threads = 32
        var keys = 64
        var seed: UInt64 = 1
        var rate = 0.2
        static let blockSize = 4096
        static let timeoutMs = 1000
    }

    private struct Counts {
        var reads = 0, writes = 0, deletes = 0, failed = 0
        /// Blocks whose last change is known to have happened, at the end.
        var exact = 0
        var problems: [String] = []
    }

    private let settings: Settings
    private let store: any BlockStore
    private let counts = Locked(Counts())
    private let left: Atomic<Int>

    init(_ settings: Settings, _ store: any BlockStore) {
        self.settings = settings
        self.store = store
        left = Atomic(settings.operations)
    }

    // MARK: Load

    /// Blocks until all operations are done.
    func run() {
        let threads = (0..<settings.threads).map { number in
            let done = DispatchSemaphore(value: 0)
            Thread.detachNewThread {
                self.work(number)
                done.signal()
            }
            return done
        }
        for thread in threads { thread.wait() }
    }

    private func work(_ number: Int) {
        var random = SeededRandom(seed: settings.seed << 16 | UInt64(number))
        // Every block belongs to one thread.
        var oracles = stride(from: number, to: settings.keys, by: settings.threads).map {
            KeyOracle(block: UInt64($0))
        }
        while left.subtract(1, ordering: .relaxed).oldValue > 0 {
            let index = random.below(oracles.count)
            switch random.below(100) {
            case ..<45: write(&oracles[index], UInt32.random(in: 1...UInt32.max, using: &random))
            case ..<60: write(&oracles[index], nil)
            default: read(oracles[index])
            }
        }
        // What was reported as stored is there.
        for oracle in oracles { read(oracle, isLast: true) }
    }

    private func write(_ oracle: inout KeyOracle, _ content: KeyOracle.Content) {
        oracle.willSend(content)
        var isDone = true
        do throws(StoreError) {
            if let content {
                let bytes = KeyOracle.bytes(content, oracle.block, count: Settings.blockSize)
                try put(oracle.block, bytes)
            } else {
                try store.delete(oracle.block)
            }
        } catch {
            isDone = false
        }
        oracle.changed(content, isDone: isDone)
        counts.withLock {
            if content == nil { $0.deletes += 1 } else { $0.writes += 1 }
            if !isDone { $0.failed += 1 }
        }
    }

    private func put(_ block: UInt64, _ bytes: [UInt8]) throws(StoreError) {
        let result = bytes.withUnsafeBytes { bytes -> Result<ObjectVersion, StoreError> in
            do throws(StoreError) {
                return .success(try store.put(block, bytes))
            } catch {
                return .failure(error)
            }
        }
        _ = try result.get()
    }

    private func read(_ oracle: KeyOracle, isLast: Bool = false) {
        var target = [UInt8](repeating: 0xee, count: Settings.blockSize)
        let answer = target.withUnsafeMutableBytes { target -> ObjectVersion? in
            try? store.get(oracle.block, into: target)
        }
        let problem = answer.flatMap { oracle.problem($0 == .absent ? nil : target) }
        counts.withLock {
            $0.reads += 1
            if answer == nil { $0.failed += 1 }
            if isLast, case .exactly = oracle.known, answer != nil { $0.exact += 1 }
            if let problem { $0.problems.append("block \(oracle.block): \(problem)") }
        }
    }

    // MARK: Report

    func report(_ faults: [FaultProxy.Kind: Int], grown: Int) -> (line: String, problems: [String])
    {
        let counts = counts.withLock { $0 }
        let kinds = faults.keys.map { "\($0)=\(faults[$0] ?? 0)" }.sorted().joined(separator: " ")
        let line =
            "TORTURE operations=\(counts.reads + counts.writes + counts.deletes) "
            + "threads=\(settings.threads) keys=\(settings.keys) writes=\(counts.writes) "
            + "deletes=\(counts.deletes) reads=\(counts.reads) failed=\(counts.failed) "
            + "exact=\(counts.exact) faults=\(faults.values.reduce(0, +)) "
            + "kinds=\(faults.count) grown_mib=\(grown >> 20) wrong=\(counts.problems.count)\n"
            + "FAULTS \(kinds)"
        return (line, counts.problems)
    }
}
