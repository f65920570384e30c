import BlockCache
import BlockStore
import CacheFile
import FileIO
import Journal
import Simulation

/// One piece of work that the engine asked for and has not heard of again.
final class PendingItem {
    enum Kind {
        case group(JournalGroup)
        case flush
        case slot(SlotWrite)
        case read(PlanTask)
        case hit(UserHit)
        case destage(DestageTask)
        case checkpoint
        case markPoisoned
        case fetch(FetchTask)
        case upload(UploadTask)
        case settle(SettleTask)
        case survey(SurveyTask)
        case goOn(Trim)
        case move(MoveTask)
        case reserve(ReserveTask)
        case truncate(Int)
    }

    let kind: Kind
    /// Writes on the disk that have been issued and have not returned.
    var tokens: [SimDisk.WriteToken] = []
    var flush: SimDisk.FlushToken?
    /// The first part is done: a plan has run, or the store has been asked.
    var isPerformed = false
    /// Of a hit: what it read is what was written.
    var isGood = false
    var fetched: Result<Fetched, StoreError>?
    var uploaded: Result<StoreOutcome, StoreError>?
    var settled: Result<Settled, StoreError>?
    /// What the store said that has not been told yet.
    var listing: Result<ListedRange, StoreError>?
    /// First error of its writes.
    var error: FileError?

    init(_ kind: Kind) { self.kind = kind }

    /// Whether a world of this pace keeps it waiting.
    func isSlow(_ pace: WorldPlan.Pace) -> Bool {
        switch (kind, pace) {
        case (.slot, .slowSlots), (.destage, .slowSlots), (.move, .slowSlots), (.flush, .slowFlush),
            (.group, .slowGroups), (.fetch, .slowStore), (.upload, .slowStore),
            (.settle, .slowStore), (.survey, .slowStore),
            (.checkpoint, .slowCheckpoint), (.markPoisoned, .slowCheckpoint),
            (.reserve, .slowCheckpoint), (.truncate, .slowCheckpoint):
            true
        case (.upload(let task), .slowDeletes): task.upload.isOfExtent
        default: false
        }
    }

    var mark: Mark? {
        switch kind {
        case .group(let group):
            guard let flags = group.header?.flags else { return .crashGroupWrite }
            return flags.contains(.seal)
                ? .crashSealWrite
                : flags.contains(.pad) ? .crashPadWrite : .crashGroupWrite
        case .flush: return .crashFlush
        case .slot(let write):
            if case .fill = write.purpose { return .crashFill }
            return .crashUserSlotWrite
        case .destage: return isPerformed ? .crashDestage : nil
        case .upload: return isPerformed ? .crashUploadLanded : .crashUploadSent
        case .goOn: return .crashLongTrim
        case .move: return isPerformed ? .crashMove : nil
        case .reserve: return .crashReserving
        case .truncate: return .crashTruncating
        case .read, .hit, .checkpoint, .markPoisoned, .fetch, .settle, .survey: return nil
        }
    }
}

/// One read of the user that found all it wants in one slot.
struct UserHit {
    let hit: SlotHit
    let block: UInt64
    let buffer: AlignedBuffer
    /// In the volume.
    let range: Range<Int>
    /// The same in the buffer.
    let place: Range<Int>
    /// Last LSN assigned when it began.
    let since: LSN
}

/// One write of the user. `@unchecked Sendable` as its world is: one thread.
final class UserWrite: @unchecked Sendable {
    let offset: Int
    let bytes: [UInt8]
    /// The bytes are zeros, and no data has to be written for them.
    let isTrim: Bool
    /// Last LSN assigned when it began.
    let since: LSN
    /// Granules of each block that no record has named yet.
    var unrecorded: [UInt64: GranuleSet] = [:]
    var lastLSN: LSN = 0
    var isDone = false

    var range: Range<Int> { offset..<offset + bytes.count }

    init(offset: Int, bytes: [UInt8], isTrim: Bool = false, since: LSN = 0) {
        self.offset = offset
        self.bytes = bytes
        self.isTrim = isTrim
        self.since = since
    }
}
