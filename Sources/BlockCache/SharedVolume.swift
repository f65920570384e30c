import BlockStore
import FileIO

/// A disk that several hosts have mounted at a time: nothing is remembered, every access is one to
/// the store, and what is acknowledged is in it.
///
/// Part of a block is changed by reading the block and writing it back. Where the store honours
/// conditions that is one step for all hosts: if another has written meanwhile it is done again.
/// Where not, the change of another host to the same block at the same moment can be lost, as with
/// s3backer. Whole blocks are written as they are.
public final class SharedVolume: Volume {
    private let store: any BlockStore
    private let blocks: BlockRanges
    private let lane = Lane<(Step, Request)>()
    private let counts = Locked(VolumeStatistics())
    /// One call to the store for a block at a time: blocks that share a lock wait for each other.
    private let turns: [Locked<Void>] = (0..<256).map { _ in Locked(()) }

    /// How often a change of part of a block is tried while others write the same block.
    private static let attemptsMax = 100
    /// Blocks that are made zeros without asking first which of them there are.
    private static let unlistedMax = 64

    /// Starts no thread.
    public init(store: any BlockStore, blockCount: UInt64) {
        self.store = store
        blocks = BlockRanges(blockSize: store.blockSize, blockCount: blockCount)
    }

    /// Starts the threads; call once, after any fork.
    public func start(threads: Int = 20) {
        lane.start(name: "shared", threads: max(1, threads)) { [self] in carryOut($0, $1) }
    }

    /// Waits for what is under way. Call once, when no more requests come.
    public func stop() { lane.close() }

    public var statistics: VolumeStatistics { counts.withLock { $0 } }

    // MARK: Requests

    /// One step of a request, for one thread.
    private enum Step {
        case read(BlockRanges.Part, AlignedBuffer)
        case write(BlockRanges.Part, AlignedBuffer)
        /// Zeros, in part of a block and in whole ones.
        case clear(BlockRanges.Part)
        case remove(Range<UInt64>)
    }

    /// `@unchecked Sendable`: `left` and `error` are only touched under the lock of `counts`.
    private final class Request: @unchecked Sendable {
        var left: Int
        var error: VolumeError?
        let reply: @Sendable (VolumeError?) -> Void

        init(_ steps: Int, _ reply: @escaping @Sendable (VolumeError?) -> Void) {
            left = steps
            self.reply = reply
        }
    }

    public func read(
        at offset: UInt64, count: Int,
        reply: @escaping @Sendable (Result<ReadReply, VolumeError>) -> Void
    ) {
        let buffer = AlignedBuffer(count)
        let parts = blocks.parts(offset..<offset + UInt64(count))
        post(parts.map { .read($0, buffer) }) { error in
            reply(
                error.map { .failure($0) } ?? .success(ReadReply(buffer: buffer, range: 0..<count)))
        }
    }

    public func write(
        at offset: UInt64, from source: UnsafeRawBufferPointer,
        reply: @escaping @Sendable (VolumeError?) -> Void
    ) {
        let buffer = AlignedBuffer(source.count)
        buffer.mutableBytes.copyMemory(from: source)
        let parts = blocks.parts(offset..<offset + UInt64(source.count))
        post(parts.map { .write($0, buffer) }, reply)
    }

    public func trim(
        at offset: UInt64, count: UInt64, reply: @escaping @Sendable (VolumeError?) -> Void
    ) {
        let (whole, partial) = blocks.split(offset..<offset + count)
        post(partial.map { .clear($0) } + (whole.isEmpty ? [] : [.remove(whole)]), reply)
    }

    /// All that was acknowledged is in the store.
    public func sync(reply: @escaping @Sendable (VolumeError?) -> Void) { reply(nil) }

    private func post(_ steps: [Step], _ reply: @escaping @Sendable (VolumeError?) -> Void) {
        let request = Request(steps.count, reply)
        for step in steps { lane.post((step, request)) }
    }

    // MARK: Work of a thread

    private func carryOut(_ step: Step, _ request: Request) {
        var failure: VolumeError?
        do throws(StoreError) {
            switch step {
            case .read(let part, let buffer):
                try withExtendedLifetime(buffer) { () throws(StoreError) in
                    try read(part, into: buffer.mutableSlice(part.place))
                }
            case .write(let part, let buffer): try write(part, buffer, part.place)
            case .clear(let part):
                try write(part, .zeroed(part.bytes.count), 0..<part.bytes.count)
            case .remove(let range): try remove(range)
            }
        } catch {
            failure = VolumeError(.store, error.message)
        }
        let isLast = counts.withLock { counts in
            if let failure {
                counts.storeErrors += 1
                request.error = request.error ?? failure
            }
            request.left -= 1
            return request.left == 0
        }
        if isLast { request.reply(request.error) }
    }

    private func read(
        _ part: BlockRanges.Part, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) {
        try turn(part.block) { () throws(StoreError) in
            counts.withLock { $0.storeGets += 1 }
            let isWhole = part.bytes.count == store.blockSize
            let version: ObjectVersion
            if isWhole {
                version = try store.get(part.block, into: target)
            } else {
                let answer = try store.read(part.block, part.bytes, into: target, .always)
                guard case .content(let found) = answer else { return }
                version = found
            }
            guard version == .absent else { return }
            counts.withLock { $0.zeroBlocksRead += 1 }
            target.initializeMemory(as: UInt8.self, repeating: 0)
        }
    }

    /// - Parameter place: where in `source` the bytes are.
    private func write(
        _ part: BlockRanges.Part, _ source: AlignedBuffer, _ place: Range<Int>
    ) throws(StoreError) {
        try turn(part.block) { () throws(StoreError) in
            if part.bytes.count == store.blockSize {
                return try replace(part.block, source, place, replacing: nil)
            }
            for attempt in 1... {
                do throws(StoreError) {
                    return try change(part, source, place)
                } catch {
                    guard error.kind == .conflict, attempt < Self.attemptsMax else { throw error }
                }
            }
        }
    }

    private func change(
        _ part: BlockRanges.Part, _ source: AlignedBuffer, _ place: Range<Int>
    ) throws(StoreError) {
        let buffer = AlignedBuffer.zeroed(store.blockSize)
        counts.withLock { $0.storeGets += 1 }
        let version = try withExtendedLifetime(buffer) { () throws(StoreError) in
            try store.get(part.block, into: buffer.mutableBytes)
        }
        let isNothing = withExtendedLifetime(source) {
            version == .absent && source.slice(place).isAllZero
        }
        if isNothing { return }
        withExtendedLifetime((buffer, source)) {
            buffer.mutableSlice(part.bytes).copyMemory(from: source.slice(place))
        }
        try replace(
            part.block, buffer, 0..<store.blockSize,
            replacing: store.honorsConditions ? version : nil)
    }

    /// A block that is written as zeros has no object. One that has become zeros by a change of a part
    /// is written under the condition, which services may ignore when they delete.
    private func replace(
        _ block: UInt64, _ source: AlignedBuffer, _ place: Range<Int>,
        replacing version: ObjectVersion?
    ) throws(StoreError) {
        try withExtendedLifetime(source) { () throws(StoreError) in
            let bytes = source.slice(place)
            let isZero = bytes.isAllZero
            let isDeleted = isZero && version == nil
            counts.withLock {
                $0.storePuts += isDeleted ? 0 : 1
                $0.storeDeletes += isDeleted ? 1 : 0
                $0.zeroBlocksWritten += isZero ? 1 : 0
            }
            if isDeleted {
                _ = try store.delete(block, replacing: nil)
            } else {
                _ = try store.put(block, bytes, replacing: version)
            }
        }
    }

    /// Whole blocks become zeros; of many only those that there are.
    private func remove(_ range: Range<UInt64>) throws(StoreError) {
        var next = range.lowerBound
        while next < range.upperBound {
            var found = Array(next..<min(range.upperBound, next + UInt64(Self.unlistedMax)))
            var end = next + UInt64(found.count)
            if store.listsInOrder, range.upperBound - next > UInt64(Self.unlistedMax) {
                counts.withLock { $0.storeLists += 1 }
                let listed = try store.listed(next..<range.upperBound)
                found = listed.blocks.map(\.block)
                end = min(listed.end, range.upperBound)
            }
            try remove(found)
            next = end
        }
    }

    private func remove(_ blocks: [UInt64]) throws(StoreError) {
        let most = max(1, store.deletedTogether)
        for start in stride(from: 0, to: blocks.count, by: most) {
            let some = Array(blocks[start..<min(blocks.count, start + most)])
            counts.withLock {
                $0.storeDeletes += some.count
                $0.zeroBlocksWritten += some.count
            }
            let results = takeTurns(Array(Set(some.map(place)).sorted())[...]) {
                store.delete(some)
            }
            for result in results { _ = try result.get() }
        }
    }

    // MARK: Turns

    private func place(_ block: UInt64) -> Int { Int(block % UInt64(turns.count)) }

    private func turn(
        _ block: UInt64, _ body: () throws(StoreError) -> Void
    ) throws(StoreError) {
        try turns[place(block)].withLock { _ throws(StoreError) in try body() }
    }

    /// In ascending order, so that two who take several never wait for each other.
    private func takeTurns<Result>(_ places: ArraySlice<Int>, _ body: () -> Result) -> Result {
        guard let first = places.first else { return body() }
        return turns[first].withLock { _ in takeTurns(places.dropFirst(), body) }
    }
}

/// Bytes of a disk by block.
struct BlockRanges: Sendable {
    struct Part: Sendable {
        let block: UInt64
        /// Within the block.
        let bytes: Range<Int>
        /// Within the request.
        let place: Range<Int>
    }

    let blockSize: Int
    let blockCount: UInt64

    /// Every block that bytes lie in, with those that do. Not for ranges without bytes.
    func parts(_ range: Range<UInt64>) -> [Part] {
        precondition(!range.isEmpty && range.upperBound <= blockCount * UInt64(blockSize))
        let size = UInt64(blockSize)
        return (range.lowerBound / size...(range.upperBound - 1) / size).map { block in
            let bytes = range.clamped(to: block * size..<(block + 1) * size)
            let low = Int(bytes.lowerBound - block * size)
            let place = Int(bytes.lowerBound - range.lowerBound)
            return Part(
                block: block, bytes: low..<low + bytes.count, place: place..<place + bytes.count)
        }
    }

    /// Blocks that a range covers, and what it has of others.
    func split(_ range: Range<UInt64>) -> (whole: Range<UInt64>, partial: [Part]) {
        let size = UInt64(blockSize)
        let first = (range.lowerBound + size - 1) / size
        let end = range.upperBound / size
        guard first < end else { return (0..<0, parts(range)) }
        var partial: [Part] = []
        if range.lowerBound < first * size { partial += parts(range.lowerBound..<first * size) }
        if end * size < range.upperBound { partial += parts(end * size..<range.upperBound) }
        return (first..<end, partial)
    }
}
