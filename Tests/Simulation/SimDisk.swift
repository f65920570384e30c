import FileIO
import Glibc

/// A disk in memory that behaves as badly as a real one may: what no flush has covered can be lost,
/// reordered or torn by a crash.
///
/// It holds the `durable` image, the `cache` image that reads see, and the writes no flush covered
/// yet: *issued* (the call runs; invisible to reads) or *returned*. Set-up and recovery code uses
/// the calls of `FileIO`, each of which runs to its end at once. A scheduler uses `issue`,
/// `complete`, `beginFlush` and `endFlush`, and so decides what is under way when it takes a crash
/// image (`afterKill`, `afterPowerCut`). Taking one leaves this disk as it was.
///
/// Rules:
/// - D1: a returned write is visible to every later read, and survives a kill.
/// - D2: a write that returned before a flush began is durable once that flush has returned.
/// - D3: any other write may reach the medium not at all, whole, or in part by 512-byte sectors, in
///   any order; a sector never goes back behind what is durable.
/// - D4: size gained by `reserve` is durable after `flushAll`, or with a durable write beyond it.
/// - D5: after a failed flush each covered sector is durable or never will be; reads still see it.
/// - D6: `truncate` is visible at once and durable after `flushAll`; until then a crash may bring
///   back the old size with the old bytes.
///
/// `@unchecked Sendable`: a simulation runs on one thread, which is the only user of its disk.
package final class SimDisk: FileIO, @unchecked Sendable {
    package internal(set) var durable: DiskImage
    package internal(set) var cache: DiskImage
    /// In the order of returning.
    var returned: [PendingWrite] = []
    /// In the order of issuing.
    var issued: [PendingWrite] = []
    var faults = FaultPlan()
    /// What callers did that no correct program does, such as a misaligned direct transfer. The
    /// call threw `.io` with `EINVAL`; a test should find this empty.
    package internal(set) var violations: [String] = []

    private var nextID = 1
    private var returnedCount = 0
    private var openFlushes: Set<Int> = []
    /// The smallest size since the last `flushAll`, if that was below the durable one.
    var cutSize: Int?
    /// Decides which sectors survive a failed flush.
    private var random: SeededRandom

    /// A disk whose durable content is `image`.
    package init(_ image: DiskImage, seed: UInt64 = 0) {
        durable = image
        cache = image
        random = SeededRandom(seed: seed)
    }

    /// A disk of zeros.
    package convenience init(size: Int, seed: UInt64 = 0) {
        self.init(DiskImage(size: size), seed: seed)
    }

    /// The same disk again, with the writes under way but without faults, counts and open flushes.
    package func copy() -> SimDisk {
        let copy = SimDisk(durable)
        copy.cache = cache
        copy.returned = returned
        copy.issued = issued
        copy.cutSize = cutSize
        copy.nextID = nextID
        copy.returnedCount = returnedCount
        copy.random = random
        return copy
    }

    // MARK: Split calls

    package struct WriteToken: Hashable, Sendable {
        let id: Int
    }

    package struct FlushToken: Sendable {
        let id: Int
        /// Covers the writes up to this `returnOrder`.
        let through: Int
        /// The size to make durable; nil where only data counts.
        let size: Int?
        /// And before that the size to cut it to.
        let cutSize: Int?
        let failure: FileError?
        let isLost: Bool
    }

    /// Starts a write. The bytes are taken now; an injected fault shows when it completes.
    package func issue(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath = .cached
    ) throws(FileError) -> WriteToken {
        try faults.checkAlive()
        var count = pieces.reduce(0) { $0 + $1.count }
        try check(pieces, at: offset, count: count, path)
        if offset + count > cache.size { throw violation("write beyond the size at \(offset)") }
        var position = offset
        var failure: FileError?
        let isCrash = faults.countWriteSide()
        switch faults.next(.write) {
        case nil: break
        case .fail(let kind):
            count = 0
            failure = FaultPlan.error(kind, "write at \(offset)")
        case .short(let bytes, let kind):
            count = min(bytes, count)
            failure = FaultPlan.error(kind, "write at \(offset) after \(count) bytes")
        case .lose: count = 0
        case .misdirect(let target):
            precondition(target >= 0 && target + count <= cache.size)
            position = target
        }
        let token = WriteToken(id: nextID)
        nextID += 1
        issued.append(
            PendingWrite(id: token.id, pieces, at: position, count: count, failure: failure))
        if isCrash { throw FaultPlan.crash }
        return token
    }

    /// Ends a write: its bytes become visible to reads, and flushes that begin later cover it.
    package func complete(_ token: WriteToken) throws(FileError) {
        try faults.checkAlive()
        guard let index = issued.firstIndex(where: { $0.id == token.id }) else {
            preconditionFailure("a write completes once")
        }
        var write = issued.remove(at: index)
        write.merge(into: &cache)
        addReturned(write)
        if let failure = write.failure { throw failure }
    }

    /// Starts a flush, which covers the writes that have returned by now.
    ///
    /// - Parameter all: Whether it is `flushAll`, which makes the size durable as well.
    package func beginFlush(all: Bool = false) throws(FileError) -> FlushToken {
        try faults.checkAlive()
        if faults.countWriteSide() { throw FaultPlan.crash }
        var failure: FileError?
        var isLost = false
        switch faults.next(.flush) {
        case nil: break
        case .fail(let kind): failure = FaultPlan.error(kind, "flush")
        case .lose: isLost = true
        case .short, .misdirect: preconditionFailure("a flush is neither short nor misdirected")
        }
        let id = nextID
        nextID += 1
        openFlushes.insert(id)
        return FlushToken(
            id: id, through: returnedCount, size: all ? cache.size : nil,
            cutSize: all ? cutSize : nil, failure: failure,
            isLost: isLost)
    }

    /// Ends a flush: what it covers is durable.
    package func endFlush(_ token: FlushToken) throws(FileError) {
        try faults.checkAlive()
        precondition(openFlushes.remove(token.id) != nil, "a flush ends once")
        if token.isLost { return }
        let covered = returned.prefix { $0.returnOrder <= token.through }
        let end = covered.map(\.range.upperBound).max() ?? 0
        if token.failure == nil || random.chance(50) {
            if let cut = token.cutSize {
                durable.shrink(to: min(cut, durable.size))
                if cutSize == cut { cutSize = nil }
            }
            durable.grow(to: max(durable.size, token.size ?? 0, end))
        }
        for write in covered {
            for var patch in write.patches {
                if token.failure != nil {
                    patch.mask.bits &= UInt8(truncatingIfNeeded: random.next())
                }
                durable.apply(patch)
            }
        }
        returned.removeFirst(covered.count)
        if let failure = token.failure { throw failure }
    }

    // MARK: FileIO

    package func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        try faults.checkAlive()
        try check([UnsafeRawBufferPointer(target)], at: offset, count: target.count, path)
        switch faults.next(.read) {
        case nil: break
        case .fail(let kind): throw FaultPlan.error(kind, "read at \(offset)")
        case .misdirect(let other):
            precondition(other >= 0 && other + target.count <= cache.size)
            return cache.read(into: target, at: other)
        case .short, .lose: preconditionFailure("a read is neither short nor lost")
        }
        if offset + target.count > cache.size {
            throw FileError(.shortFile, "simulated disk ends before \(offset + target.count)")
        }
        cache.read(into: target, at: offset)
    }

    package func write(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath
    ) throws(FileError) {
        try complete(issue(pieces, at: offset, path))
    }

    package func flush() throws(FileError) { try endFlush(beginFlush()) }

    package func flushAll() throws(FileError) { try endFlush(beginFlush(all: true)) }

    package func reserve(_ length: Int, at offset: Int) throws(FileError) {
        try faults.checkAlive()
        if length <= 0 || offset < 0 { throw violation("reserve \(length) bytes at \(offset)") }
        if faults.countWriteSide() { throw FaultPlan.crash }
        switch faults.next(.reserve) {
        case nil: break
        case .fail(let kind): throw FaultPlan.error(kind, "reserve at \(offset)")
        default: preconditionFailure("a reservation works or fails")
        }
        cache.grow(to: max(cache.size, offset + length))
    }

    package func truncate(to size: Int) throws(FileError) {
        try faults.checkAlive()
        if size < 0 || size > cache.size { throw violation("cut off at \(size)") }
        if issued.contains(where: { $0.range.upperBound > size }) {
            throw violation("cut off at \(size) under a write")
        }
        if faults.countWriteSide() { throw FaultPlan.crash }
        if case .fail(let kind)? = faults.next(.truncate) {
            throw FaultPlan.error(kind, "truncate to \(size)")
        }
        cache.shrink(to: size)
        returned.removeAll { $0.range.upperBound > size }
        if size < durable.size { cutSize = min(size, cutSize ?? size) }
    }

    package func size() throws(FileError) -> Int {
        try faults.checkAlive()
        return cache.size
    }

    // MARK: Parts

    /// Puts a write that is merged into the cache image behind those that returned before.
    func addReturned(_ write: PendingWrite) {
        if write.range.isEmpty { return }
        returnedCount += 1
        returned.append(write)
        returned[returned.count - 1].returnOrder = returnedCount
    }

    func reseed(_ seed: UInt64) { random = SeededRandom(seed: seed) }

    private func check(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, count: Int, _ path: IOPath
    ) throws(FileError) {
        if offset < 0 { throw violation("negative offset \(offset)") }
        if path == .cached { return }
        let alignment = AlignedBuffer.alignment
        let isAligned = pieces.allSatisfy {
            $0.count % alignment == 0 && UInt(bitPattern: $0.baseAddress) % UInt(alignment) == 0
        }
        if offset % alignment != 0 || !isAligned {
            throw violation("misaligned direct transfer of \(count) bytes at \(offset)")
        }
    }

    private func violation(_ what: String) -> FileError {
        violations.append(what)
        return FileError(.io, "simulated disk: \(what)", errno: EINVAL)
    }
}
