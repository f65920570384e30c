import BlockStore
import CacheFile
import FileIO
import Journal

/// I/O that the engine wants done. Whoever carries it out reports back with the engine event that
/// each case names. Carrying it out needs no lock.
package enum Work {
    /// Write the group at the file offset, then `groupWritten`.
    case writeGroup(JournalGroup, offset: Int)
    /// `fdatasync`, or where the size of the file counts `fsync`, then `flushed`. One at a time: an
    /// error is told to one caller only.
    case flush(all: Bool)
    /// Write granules into a slot, then `slotWritten`.
    case writeSlot(SlotWrite)
    /// Run the plan, then `planDone`.
    case read(PlanTask)
    /// Copy journaled granules into their slot, then `destaged`.
    case destage(DestageTask)
    /// Copy a block from one slot to another, then `moved`.
    case move(MoveTask)
    /// Reserve space for new slots, then `reserved`.
    case reserve(ReserveTask)
    /// Cut the file off at this size, then `truncated`.
    case truncate(Int)
    /// Write in any order, then `checkpointWritten`.
    case checkpoint([PlacedWrite])
    /// Write the superblock that says that the file failed, and flush; nobody waits for it.
    case markPoisoned([PlacedWrite])
    /// Ask the store, then `fetched`.
    case fetch(FetchTask)
    /// Somebody more urgent waits for this question, if it has not been asked yet.
    case hurry(FetchTask, FetchUrgency)
    /// Send a block or its deletion, then `uploaded`.
    case upload(UploadTask)
    /// Ask the store what it has of a block that is to be sent, then `settled`.
    case settle(SettleTask)
    /// Ask the store which blocks it has.
    case survey(SurveyTask)
    /// Nothing: `goOn`, which looks at the next blocks of a long trim.
    case goOn(Trim)
    /// Call it.
    case reply(@Sendable () -> Void)
    /// Tell the log.
    case log(LogLine)
}

package struct LogLine: Sendable {
    package enum Level: Sendable { case info, warning, error }
    package let level: Level
    package let text: String
}

/// Granules on their way into a slot: a user write or a fill. The granules are marked busy.
package final class SlotWrite: @unchecked Sendable {
    package let block: UInt64
    package let slot: Int
    package let granules: GranuleSet
    /// Holds the images of the granules from `firstGranule` on.
    package let buffer: AlignedBuffer
    let firstGranule: Int
    private let slotOffset: Int
    private let granuleSize: Int
    package let purpose: Purpose
    /// Incarnation of the slot when the write began.
    let incarnation: UInt32

    package enum Purpose {
        case user(WriteOp)
        case fill(Fetched)
    }

    init(
        block: UInt64, slot: Int, granules: GranuleSet, buffer: AlignedBuffer, firstGranule: Int,
        purpose: Purpose, incarnation: UInt32, _ geometry: Geometry
    ) {
        slotOffset = geometry.slotOffset(slot)
        granuleSize = geometry.granuleSize
        self.block = block
        self.slot = slot
        self.granules = granules
        self.buffer = buffer
        self.firstGranule = firstGranule
        self.purpose = purpose
        self.incarnation = incarnation
    }

    /// What to write where.
    package var writes: [(bytes: UnsafeRawBufferPointer, offset: Int)] {
        let size = granuleSize
        return granules.runs.map { run in
            let from = (run.lowerBound - firstGranule) * size
            return (
                buffer.slice(from..<from + run.count * size), slotOffset + run.lowerBound * size
            )
        }
    }
}

/// A plan and what happens with its outcome.
package final class PlanTask: @unchecked Sendable {
    package let plan: ReadPlan
    package let purpose: Purpose

    package enum Purpose {
        case userRead(ReadPart)
        case merge(WriteOp, GranuleSet)
        case snapshot(Upload)
    }

    init(_ plan: ReadPlan, _ purpose: Purpose) {
        self.plan = plan
        self.purpose = purpose
    }
}

/// Granules from the journal into their slot.
package final class DestageTask: @unchecked Sendable {
    package let plan: ReadPlan
    package let slot: Int
    let incarnation: UInt32
    let items: [Overlay]
    private let slotOffset: Int
    private let granuleSize: Int

    init(
        plan: ReadPlan, slot: Int, incarnation: UInt32, items: [Overlay], _ geometry: Geometry
    ) {
        slotOffset = geometry.slotOffset(slot)
        granuleSize = geometry.granuleSize
        self.plan = plan
        self.slot = slot
        self.incarnation = incarnation
        self.items = items
    }

    /// What to write where, once the plan has run: item k lies at k * granuleSize of the target.
    package var writes: [(bytes: UnsafeRawBufferPointer, offset: Int)] {
        let size = granuleSize
        return items.enumerated().map { number, item in
            (
                plan.target.slice(number * size..<(number + 1) * size),
                slotOffset + item.granule * size
            )
        }
    }
}

/// A block from one slot into another.
package final class MoveTask: @unchecked Sendable {
    package let plan: ReadPlan
    package let from: Int
    package let to: Int
    /// Of the entry when it began.
    let lsn: LSN
    package let granules: GranuleSet
    private let targetOffset: Int

    init(
        plan: ReadPlan, from: Int, to: Int, lsn: LSN, granules: GranuleSet, targetOffset: Int
    ) {
        self.plan = plan
        self.from = from
        self.to = to
        self.lsn = lsn
        self.granules = granules
        self.targetOffset = targetOffset
    }

    package var isReadable: Bool { plan.error == nil && plan.badGranules.isEmpty }

    /// What to write where, once the plan has run.
    package var writes: [(bytes: UnsafeRawBufferPointer, offset: Int)] {
        guard !granules.isEmpty else { return [] }
        let size = plan.target.count / granules.count
        var from = 0
        return granules.runs.map { run in
            defer { from += run.count * size }
            return (
                plan.target.slice(from..<from + run.count * size),
                targetOffset + run.lowerBound * size
            )
        }
    }
}

/// Space for new slots, in the file and in memory.
package final class ReserveTask: @unchecked Sendable {
    private let old: Geometry
    private let next: Geometry
    /// Why there is none.
    package private(set) var refusal: FileError?
    private(set) var pages: [GroupPages] = []

    init(from old: Geometry, to next: Geometry) {
        self.old = old
        self.next = next
    }

    /// Blocks: on the file system.
    package func carryOut(_ file: any FileIO) {
        do throws(FileError) {
            try file.reserve(next.fileSize - old.fileSize, at: old.fileSize)
            pages = (old.zones.count..<next.zones.count).map { _ in GroupPages(next) }
        } catch {
            refusal = error
        }
    }
}

/// A block as of one user write, for the store. Zeros are sent as a deletion.
package final class UploadTask: @unchecked Sendable {
    package let upload: Upload
    package let block: UInt64
    package let buffer: AlignedBuffer
    /// SHA-256 of the content; nil: it is all zeros.
    package let digest: [UInt8]?
    package var isZero: Bool { digest == nil }
    /// Only if the store still has this version; nil: whatever it has.
    package let replacing: ObjectVersion?

    init(
        upload: Upload, block: UInt64, buffer: AlignedBuffer, digest: [UInt8]?,
        replacing: ObjectVersion?
    ) {
        self.replacing = replacing
        self.upload = upload
        self.block = block
        self.buffer = buffer
        self.digest = digest
    }
}

/// A question to the store before a block is sent.
package final class SettleTask: @unchecked Sendable {
    package let upload: Upload
    package var block: UInt64 { upload.block }
    /// The digest of the content as well, to know one's own uploads again.
    package let wantsContent: Bool

    init(upload: Upload, wantsContent: Bool) {
        self.upload = upload
        self.wantsContent = wantsContent
    }
}

/// What the store has of a block.
package struct Settled: Sendable {
    let version: ObjectVersion
    /// SHA-256 of the block; nil when absent or not asked for.
    let digest: [UInt8]?

    package init(version: ObjectVersion, content: UnsafeRawBufferPointer?) {
        self.version = version
        digest = content.map { Digest.sha256($0) }
    }
}
