import BlockStore
import CacheFile
import FileIO
import Journal

/// One write of the user, split into parts by block; answered once, when all parts are written.
package final class WriteRequest: @unchecked Sendable {
    let reply: @Sendable (VolumeError?) -> Void
    package var partsLeft: Int
    package var lsn: LSN = 0
    var error: VolumeError?
    /// Those of the parts that are done, if the store has to have them.
    var blocks: [UInt64] = []

    package init(parts: Int, reply: @escaping @Sendable (VolumeError?) -> Void) {
        partsLeft = parts
        self.reply = reply
    }
}

/// The part of a write that falls into one block.
///
/// States: queued -> (merging ->) placing -> recording -> done. Parts of one block follow each
/// other: the next begins when this one has its records.
package final class WriteOp: @unchecked Sendable {
    package let block: UInt64
    /// Granules touched.
    package let granules: Range<Int>
    /// Images of these granules; the user's bytes are in place, the rest of the first and last
    /// granule is filled in by a merge.
    let buffer: AlignedBuffer
    /// The user's bytes within `buffer`.
    package let userRange: Range<Int>
    package let request: WriteRequest
    /// One for each granule; those of partial granules are set after the merge.
    var crcs: [UInt32]

    /// Granules whose image is not complete: the user's bytes cover them in part.
    package internal(set) var unmerged: GranuleSet
    /// Granules still to be recorded, and how.
    package internal(set) var direct = GranuleSet()
    package internal(set) var journaled = GranuleSet()
    package internal(set) var newSlot: Int?
    /// Where the block was when the path was chosen, unless it gets a new slot.
    var target: (slot: Int, incarnation: UInt32)?
    /// The path has been chosen; what is merged from now on goes through the journal.
    package internal(set) var isPlaced = false
    /// See Engine+Flow.
    var hasTurn = false
    /// Of a trim: granules that become zeros as a whole. Their record needs no data.
    package private(set) var zeros = GranuleSet()
    /// Of a trim: all of the block becomes zeros, which takes one record.
    package let isWholeTrim: Bool

    package init(
        block: UInt64, granules: Range<Int>, buffer: AlignedBuffer, userRange: Range<Int>,
        request: WriteRequest, _ geometry: Geometry, _ seeds: SeedSpace
    ) {
        self.block = block
        self.granules = granules
        self.buffer = buffer
        self.userRange = userRange
        self.request = request
        isWholeTrim = false
        crcs = Array(repeating: 0, count: granules.count)
        unmerged = GranuleSet()
        if userRange.lowerBound > 0 { unmerged.insert(granules.lowerBound) }
        if userRange.upperBound < granules.count * geometry.granuleSize {
            unmerged.insert(granules.upperBound - 1)
        }
        for granule in granules where !unmerged.contains(granule) {
            setCRC(granule, geometry, seeds)
        }
    }

    /// Part of a trim: `userRange` becomes zeros.
    package convenience init(
        trimmed block: UInt64, granules: Range<Int>, userRange: Range<Int>, request: WriteRequest,
        _ geometry: Geometry, _ seeds: SeedSpace
    ) {
        self.init(
            block: block, granules: granules,
            buffer: .zeroed(granules.count * geometry.granuleSize), userRange: userRange,
            request: request, geometry, seeds)
        zeros = GranuleSet(granules).subtracting(unmerged)
    }

    /// All of a block becomes zeros.
    package init(trimmed block: UInt64, request: WriteRequest, _ geometry: Geometry) {
        self.block = block
        self.request = request
        granules = 0..<geometry.granulesPerBlock
        buffer = Self.noBytes
        userRange = 0..<geometry.blockSize
        crcs = []
        unmerged = GranuleSet()
        isWholeTrim = true
    }

    private static let noBytes = AlignedBuffer(0)

    /// Whether it belongs to a trim.
    var isTrim: Bool { isWholeTrim || !zeros.isEmpty }

    /// Byte range of a granule in `buffer`.
    func place(_ granule: Int, _ geometry: Geometry) -> Range<Int> {
        let low = (granule - granules.lowerBound) * geometry.granuleSize
        return low..<low + geometry.granuleSize
    }

    /// The user's bytes of a granule, as offsets in the granule.
    func userBytes(_ granule: Int, _ geometry: Geometry) -> Range<Int> {
        let place = place(granule, geometry)
        let bytes = userRange.clamped(to: place)
        return bytes.lowerBound - place.lowerBound..<bytes.upperBound - place.lowerBound
    }

    /// Puts the old content of a granule around the user's bytes: its image is complete.
    func complete(
        _ granule: Int, from old: UnsafeRawBufferPointer, _ geometry: Geometry, _ seeds: SeedSpace
    ) {
        let user = userBytes(granule, geometry)
        let image = buffer.mutableSlice(place(granule, geometry))
        for gap in [0..<user.lowerBound, user.upperBound..<geometry.granuleSize] where !gap.isEmpty
        {
            UnsafeMutableRawBufferPointer(rebasing: image[gap])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: old[gap]))
        }
        unmerged.remove(granule)
        setCRC(granule, geometry, seeds)
        if isPlaced { journaled.insert(granule) }
    }

    func setCRC(_ granule: Int, _ geometry: Geometry, _ seeds: SeedSpace) {
        crcs[granule - granules.lowerBound] = GranuleChecksum.of(
            buffer.slice(place(granule, geometry)), block: block, granule: granule, geometry, seeds)
    }

    func crcs(of set: GranuleSet) -> [UInt32] {
        var result: [UInt32] = []
        set.forEach { result.append(crcs[$0 - granules.lowerBound]) }
        return result
    }
}

/// A range of bytes to be trimmed: whole blocks, and at most two parts of blocks.
package struct TrimParts {
    package struct Partial {
        package let block: UInt64
        package let granules: Range<Int>
        /// The bytes, counted from the first granule.
        package let userRange: Range<Int>
    }

    package private(set) var partial: [Partial] = []
    package let whole: Range<UInt64>

    package init(_ range: Range<UInt64>, _ geometry: Geometry) {
        let size = UInt64(geometry.blockSize)
        let first = (range.lowerBound + size - 1) / size
        whole = first..<max(first, range.upperBound / size)
        let head = range.lowerBound..<min(range.upperBound, first * size)
        let tail = min(whole.upperBound * size, range.upperBound)..<range.upperBound
        for bytes in [head, tail] where !bytes.isEmpty {
            let start = bytes.lowerBound / size * size
            let granule = geometry.granuleSize
            let (low, high) = (Int(bytes.lowerBound - start), Int(bytes.upperBound - start))
            let granules = low / granule..<(high - 1) / granule + 1
            let from = granules.lowerBound * granule
            partial.append(
                Partial(
                    block: start / size, granules: granules, userRange: low - from..<high - from))
        }
    }

    /// Parts of the request.
    package var count: Int { partial.count + (whole.isEmpty ? 0 : 1) }
}

/// Bytes for the one who asked: a range of a buffer.
public struct ReadReply: Sendable {
    public let buffer: AlignedBuffer
    public let range: Range<Int>
    public var bytes: UnsafeRawBufferPointer { buffer.slice(range) }

    package init(buffer: AlignedBuffer, range: Range<Int>) {
        self.buffer = buffer
        self.range = range
    }
}

/// One read of the user, split into parts by block.
package final class ReadRequest: @unchecked Sendable {
    let reply: @Sendable (Result<ReadReply, VolumeError>) -> Void
    let buffer: AlignedBuffer
    let range: Range<Int>
    var partsLeft: Int
    var error: VolumeError?

    package init(
        buffer: AlignedBuffer, range: Range<Int>, parts: Int,
        reply: @escaping @Sendable (Result<ReadReply, VolumeError>) -> Void
    ) {
        self.buffer = buffer
        self.range = range
        partsLeft = parts
        self.reply = reply
    }
}

/// The part of a read that falls into one block.
package final class ReadPart: @unchecked Sendable {
    let block: UInt64
    let granules: Range<Int>
    /// Where the first granule goes in the request's buffer.
    let targetOffset: Int
    let request: ReadRequest
    var wasMiss = false
    var roundsLeft = 3

    package init(block: UInt64, granules: Range<Int>, targetOffset: Int, request: ReadRequest) {
        self.block = block
        self.granules = granules
        self.targetOffset = targetOffset
        self.request = request
    }
}

/// A question to the store under way, and who waits for the answer.
final class Fetch {
    let task: FetchTask
    /// Of the most urgent who wait.
    var urgency: FetchUrgency
    /// Of the block's entry when the question was asked.
    let base: Base?
    var readers: [ReadPart] = []
    var writer: WriteOp?
    var upload: Upload?
    /// Granules that records named since the question was asked: the answer is older than they.
    var overtaken = GranuleSet()

    init(_ task: FetchTask, base: Base?) {
        self.task = task
        urgency = task.urgency
        self.base = base
    }
}

/// One block on its way to the store.
///
/// States: (settling: asking what the store has, where that is not sure ->) gathering the content,
/// with help of the store where granules are missing -> announced: its INTENT has to become durable
/// -> ready -> sending -> settled by CLEAN, or tried again.
package final class Upload: @unchecked Sendable {
    let block: UInt64
    /// u: the content sent is that of this user write.
    package var asOf: LSN = 0
    package var intentLSN: LSN = 0
    /// What the store was seen to have, and this upload is to replace.
    var seen: ObjectVersion?
    /// Deletes a trimmed block that is in no slot.
    package let isOfExtent: Bool
    /// Since when the block waits to be sent.
    let sinceMs: UInt64
    /// It has been handed to the store.
    package var isSending = false
    /// Set: a write has come since, and the request is not worth its bytes any more.
    package let overtaken = CancelFlag()

    init(block: UInt64, sinceMs: UInt64, isOfExtent: Bool = false) {
        self.block = block
        self.sinceMs = sinceMs
        self.isOfExtent = isOfExtent
    }
}

/// Intents recorded since a flush was last asked for: they share the next one.
struct IntentWave {
    /// Intents above this LSN belong to it.
    let after: LSN
    var count = 0
    /// When the first of them was recorded.
    var sinceMs: UInt64 = 0

    init(after: LSN) { self.after = after }
}

/// What is going on with one block; exists only while something is.
package final class BlockActivity {
    package var writer: WriteOp?
    var queuedWrites: Fifo<WriteOp> = Fifo()
    /// Granules with a slot write of the user in flight, or returned and not yet recorded.
    var directBusy = GranuleSet()
    var fetch: Fetch?
    /// Granules with a slot write of a fill in flight, and those of them that a record has touched
    /// since: the fill's own record must not name them (I4).
    var fillBusy = GranuleSet()
    var fillOvertaken = GranuleSet()
    var isFilling = false
    /// What the fill puts into the slot.
    var fillAnswer: Fetched?
    var upload: Upload?
    var isDestaging = false

    var busy: GranuleSet { directBusy.union(fillBusy) }

    var isIdle: Bool {
        writer == nil && queuedWrites.isEmpty && fetch == nil && !isFilling && upload == nil
            && !isDestaging
    }
}
