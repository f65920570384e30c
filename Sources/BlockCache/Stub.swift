import BlockStore
import CacheFile
import FileIO
import Glibc
import Logging
import Synchronization

public struct VolumeError: Error, Sendable, CustomStringConvertible {
    public enum Kind: Sendable { case io, damaged, stopped, poisoned, store }
    public let kind: Kind
    public let message: String
    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }
    public var description: String { message }
}

public struct ReadReply: Sendable {
    public let buffer: AlignedBuffer
    public let range: Range<Int>
    public var bytes: UnsafeRawBufferPointer { buffer.slice(range) }
}

public struct VolumeConfiguration: Sendable {
    public var writeDelayMs = 250
    public var uploadThreads = 20
    public var fetchThreads = 8
    public var isReadOnly = false
    public var phaseFile: String?
    public init() {}
}

public struct StopReport: Sendable {
    public let dirtyBlocksLeft: Int
    public let error: VolumeError?
}

public struct VolumeStatistics: Sendable {
    public var currentSize = 0, initialSize = 0, dirtyBlocks = 0, dirtyBytes = 0
    public var readHits = 0, readMisses = 0, writeHits = 0, writeMisses = 0
    public var verified = 0, mismatch = 0
    public var storeGets = 0, storePuts = 0, storeDeletes = 0
    public var zeroBlocksRead = 0, zeroBlocksWritten = 0, storeErrors = 0
    public var groups = 0, flushes = 0, checkpoints = 0, destagedGranules = 0, evictions = 0
    public var ringBytesUsed = 0, ringBytes = 0
    public var isPoisoned = false
}

/// Stand-in: everything in memory, replies from a new thread each time.
public final class VolumeCache: Sendable {
    private struct State {
        var blocks: [UInt64: [UInt8]] = [:]
        var dirty: Set<UInt64> = []
        var statistics = VolumeStatistics()
        var cache: OpenedCache?
    }
    private let state: Mutex<State>
    private let store: any BlockStore

    public init(
        cache: OpenedCache, store: any BlockStore, configuration: VolumeConfiguration,
        logger: Logger
    ) {
        state = Mutex(State(cache: cache))
        self.store = store
    }

    public func start() {}

    private func load(_ block: UInt64, _ state: inout State) throws(VolumeError) {
        if state.blocks[block] != nil {
            state.statistics.readHits += 1
            return
        }
        state.statistics.readMisses += 1
        state.statistics.currentSize += 1
        var bytes = [UInt8](repeating: 0, count: store.blockSize)
        var failure: VolumeError?
        bytes.withUnsafeMutableBytes { target in
            do throws(StoreError) {
                _ = try store.get(block, into: target)
            } catch {
                failure = VolumeError(error.kind == .damaged ? .damaged : .store, error.message)
            }
        }
        if let failure { throw failure }
        state.blocks[block] = bytes
    }

    private final class Job: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    private func later(_ body: @escaping @Sendable () -> Void) {
        var thread = pthread_t()
        let job = Unmanaged.passRetained(Job(body)).toOpaque()
        pthread_create(&thread, nil, stubThread, job)
        pthread_detach(thread)
    }

    static func run(_ raw: UnsafeMutableRawPointer?) {
        Unmanaged<Job>.fromOpaque(raw!).takeRetainedValue().body()
    }

    private func each(
        _ offset: UInt64, _ count: Int, _ body: (UInt64, Range<Int>, Int) throws(VolumeError) -> Void
    ) throws(VolumeError) {
        let size = store.blockSize
        var done = 0
        while done < count {
            let at = offset + UInt64(done)
            let inside = Int(at % UInt64(size))
            let part = min(size - inside, count - done)
            try body(at / UInt64(size), inside..<inside + part, done)
            done += part
        }
    }

    public func read(
        at offset: UInt64, count: Int,
        reply: @escaping @Sendable (Result<ReadReply, VolumeError>) -> Void
    ) {
        later { [self] in
            let buffer = AlignedBuffer(count)
            let result = state.withLock { state -> VolumeError? in
                do throws(VolumeError) {
                    try each(offset, count) { (block, range, done) throws(VolumeError) in
                        try load(block, &state)
                        buffer.mutableSlice(done..<done + range.count)
                            .copyBytes(from: state.blocks[block]![range])
                    }
                    return nil
                } catch { return error }
            }
            if let result { reply(.failure(result)) } else {
                reply(.success(ReadReply(buffer: buffer, range: 0..<count)))
            }
        }
    }

    public func write(
        at offset: UInt64, from source: UnsafeRawBufferPointer,
        reply: @escaping @Sendable (VolumeError?) -> Void
    ) {
        let copy = Array(source)
        later { [self] in
            let result = state.withLock { state -> VolumeError? in
                do throws(VolumeError) {
                    try each(offset, copy.count) { (block, range, done) throws(VolumeError) in
                        try load(block, &state)
                        state.blocks[block]!.replaceSubrange(
                            range, with: copy[done..<done + range.count])
                        state.dirty.insert(block)
                    }
                    return nil
                } catch { return error }
            }
            reply(result)
        }
    }

    public func sync(reply: @escaping @Sendable (VolumeError?) -> Void) { later { reply(nil) } }

    public func stop(timeoutMs: Int?, progress: (Int) -> Void) -> StopReport {
        state.withLock { state in
            var left = state.dirty.count
            var failure: VolumeError?
            for block in state.dirty.sorted() {
                progress(left)
                let bytes = state.blocks[block]!
                bytes.withUnsafeBytes { source in
                    do throws(StoreError) {
                        if source.allSatisfy({ $0 == 0 }) {
                            try store.delete(block)
                        } else {
                            _ = try store.put(block, source)
                        }
                        left -= 1
                    } catch { failure = VolumeError(.store, error.message) }
                }
            }
            state.cache = nil
            return StopReport(dirtyBlocksLeft: left, error: failure)
        }
    }

    public var statistics: VolumeStatistics {
        state.withLock {
            var statistics = $0.statistics
            statistics.dirtyBlocks = $0.dirty.count
            return statistics
        }
    }
}

private func stubThread(_ raw: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    VolumeCache.run(raw)
    return nil
}
