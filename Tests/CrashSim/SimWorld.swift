import BlockCache
import BlockStore
import CacheFile
import FileIO
import Journal
import Simulation

/// One disk, one store, one engine, and a scheduler that decides what happens next.
///
/// `@unchecked Sendable` because replies are `@Sendable`; a world belongs to one thread.
package final class SimWorld: @unchecked Sendable {
    let plan: WorldPlan
    /// As the engine has it, which changes.
    var geometry: Geometry { engine.geometry }
    let oracle: Oracle
    var random: SeededRandom
    var coverage = Coverage()

    package internal(set) var disk: SimDisk
    var store = SimStore()
    var engine: Engine
    var pending: [PendingItem] = []
    /// Writes that the engine has, by the identity of their requests.
    var writes: [ObjectIdentifier: UserWrite] = [:]
    /// Keeps the requests alive, so that no two ever have one identity.
    var keptRequests: [WriteRequest] = []
    /// Blocks that the store has been asked to take and has not answered for.
    var underWay: Set<UInt64> = []
    var usersRunning = 0
    var writesWaiting = 0
    var now: UInt64 = 0
    var stepNumber = 0
    var isStoreDown = false
    /// Requests that nobody waits for any more and that may still arrive.
    var lateRequests: [LateRequest] = []
    /// Blocks that somebody else has changed in the store: only they may come into conflict.
    var foreign: Set<UInt64> = []
    var isStopping = false
    /// A write or flush of the cache file was made to fail.
    var hasFault = false
    /// The disk has lied: bytes may be found bad, and must be.
    var isDamaged = false
    /// What was sealed, and before that: the last that two things on the medium say.
    private var sealed: [LSN] = [0, 0]
    /// Sure to be found after one lie of the disk.
    var damagedFloor: LSN = 0
    var isMarkedPoisoned = false
    /// Ring position of the newest PAD.
    var lastPad: UInt64?
    /// And about that of the newest MOVE.
    var lastMove: UInt64?
    var lastFill: LSN = 0
    /// How many slots the file had when that was last looked at.
    var knownSlots = 0
    /// How many it is to have: asked for again by the next mount.
    var slotsWanted: Int?
    var checkpointsAtMount = 0
    /// Of the engine of this session, so far.
    var evictionsCut = 0
    var storeProbes = 0
    var writeCount: UInt64 = 0
    var lastBlock = 0
    /// R of the crash images recovered in this session with the store as it is: the same image
    /// again can break a promise only through a higher floor.
    var known: [UInt64: LSN] = [:]
    /// The last writes, whoever lived to see them.
    var recentWrites: [(bytes: [UInt8], offset: Int)] = []
    /// The first broken promise.
    package var violation: Violation?
    /// Latest events, for the report of a violation.
    private(set) var log: [String] = []
    package var keepsLog = false
    let compareBuffer: AlignedBuffer

    package init(_ plan: WorldPlan, seed: UInt64) throws {
        self.plan = plan
        random = SeededRandom(seed: seed)
        let geometry = try plan.layOut()
        oracle = Oracle(geometry)
        compareBuffer = AlignedBuffer(geometry.granuleSize)
        disk = SimDisk(size: geometry.fileSize, seed: seed)
        try Creation.format(
            disk, geometry: geometry, identity: plan.identity, info: WorldPlan.info,
            fileUUID: [UInt8](repeating: 0x5a, count: 16))
        let cache = try SessionStart.open(disk, identity: plan.identity, info: WorldPlan.info)
        engine = Engine(cache: cache, configuration: plan.engine, now: 0)
        store.hasContentTags = plan.hasContentTags
        for block in 0..<UInt64(plan.volumeBlocks) where random.chance(plan.storedPercent) {
            let bytes = content(plan.blockSize)
            _ = store.put(block, bytes, asOf: 0)
            oracle.setInitial(block, bytes)
        }
        oracle.truncate(to: engine.journal.assigned)
        attach()
    }

    /// From now on the disk has lied. What rots may be the one thing that says what is sealed.
    func becomeDamaged() {
        isDamaged = true
        damagedFloor = sealed[0]
    }

    /// Begins to serve with the engine of a session just opened.
    func attach() {
        engine.trace = { [unowned self] record, lsn in traced(record, lsn) }
        pending = []
        knownSlots = geometry.slotCount
        known = [:]
        writes = [:]
        keptRequests = []
        underWay = []
        usersRunning = 0
        writesWaiting = 0
        isStopping = false
        checkpointsAtMount = 0
        evictionsCut = 0
        storeProbes = 0
        sealed = [engine.journal.sealed, engine.journal.sealed]
        note("session \(engine.journal.session) at LSN \(engine.journal.assigned)")
        if let slotsWanted { engine.resize(slots: slotsWanted) }
        takeWork()
    }

    func note(_ text: @autoclosure () -> String) {
        guard keepsLog else { return }
        log.append("\(stepNumber): \(text())")
        if log.count > 4000 { log.removeFirst(1000) }
    }

    func broken(_ text: String) {
        if violation == nil { violation = Violation("step \(stepNumber): \(text)") }
        note("VIOLATION \(text)")
    }

    // MARK: Records

    private func traced(_ record: Record, _ lsn: LSN) {
        note("LSN \(lsn) \(record.brief)")
        if lsn != oracle.assigned + 1, lsn <= oracle.assigned {
            broken("LSN \(lsn) assigned twice")
        }
        oracle.noteRecord(lsn)
        let block: UInt64
        let granules: GranuleSet
        switch record {
        case .data(let data):
            if data.isMerge { return coverage.hit(.merged) }
            (block, granules) = (data.block, GranuleSet(data.granules))
        case .patch(let patch):
            if patch.carriedLSN != 0 { return coverage.hit(.carried) }
            coverage.hit(.patched)
            (block, granules) = (patch.block, GranuleSet(patch.granule..<patch.granule + 1))
        case .map(let map):
            if map.flags.contains(.move) {
                lastMove = engine.journal.end
                return coverage.hit(.moved)
            }
            if map.flags.contains(.fill) {
                lastFill = lsn
                return
            }
            (block, granules) = (map.block, map.granules)
        case .intent(let intent):
            coverage.hit(intent.isCarried ? .carriedIntent : .announced)
            return
        case .zero(let zero): return traced(zero, lsn)
        case .zeroRange(let zero): return traced(zero, lsn)
        case .evict(let evict):
            if engine.state.zeros.contains(evict.block) { coverage.hit(.evictedInExtent) }
            return
        case .cleanRange: return coverage.hit(.extentsCleaned)
        case .clean(let clean): return traced(clean, lsn)
        case .epoch: return
        }
        guard let write = writer(of: block) else {
            return broken("LSN \(lsn) names block \(block), which nobody writes")
        }
        if case .map(let map) = record, map.oldSlot == Record.noSlot,
            engine.state.slot(of: block) == nil, engine.state.zeros.contains(block)
        {
            coverage.hit(.writtenInExtent)
        }
        oracle.apply(write.bytes, at: write.offset, block: block, granules, lsn: lsn)
        write.lastLSN = lsn
        write.unrecorded[block] = write.unrecorded[block]?.subtracting(granules)
    }

    private func traced(_ clean: CleanRecord, _ lsn: LSN) {
        switch clean.kind {
        case .stored: break
        case .conflict:
            coverage.hit(.conflicts)
            if !foreign.contains(clean.block) {
                broken("block \(clean.block) in conflict, which nobody else has changed")
            }
        case .remote:
            coverage.hit(.tookRemote)
            let bytes = store.objects[clean.block]?.bytes
            oracle.apply(
                bytes ?? [UInt8](repeating: 0, count: plan.blockSize),
                at: Int(clean.block) * plan.blockSize, block: clean.block,
                .all(geometry.granulesPerBlock), lsn: lsn)
        }
    }

    // MARK: Steps

    /// One random step: a user comes, time passes, or some I/O gets on.
    package func step() {
        stepNumber += 1
        coverage.steps += 1
        if random.chance(10) { landLate() }
        if random.chance(10) { resolveConflicts() }
        if random.chance(5) { touch(UInt64(random.below(plan.volumeBlocks))) }
        if !isStopping, random.below(1000) < plan.resizePermille { startResize() }
        let choice = random.below(100)
        if choice < 30, usersRunning < plan.usersMax, !isStopping {
            startUser()
        } else if choice < 40 || pending.isEmpty {
            pass(UInt64(random.pick([0, 1, 10, 60, 300, 1200])))
        } else {
            advance(choose())
        }
        settle()
    }

    func pass(_ milliseconds: UInt64) {
        now += milliseconds
        lateRequests.removeAll { $0.deadline < now }
        engine.tick(now)
    }

    /// After every event: takes work until there is no more, and checks what must always hold.
    func settle() {
        takeWork()
        noteSize()
        engine.checkInvariants()
        coverage.hit(.evictionsCut, engine.statistics.evictionsCut - evictionsCut)
        evictionsCut = engine.statistics.evictionsCut
        coverage.hit(.storeProbes, engine.statistics.storeProbes - storeProbes)
        storeProbes = engine.statistics.storeProbes
        if engine.journal.sealed > sealed[1] { sealed = [sealed[1], engine.journal.sealed] }
        let journal = (engine.journal.assigned, engine.journal.written, engine.journal.durable)
        if engine.poison == nil {
            if journal.1 > oracle.written {
                broken("written \(journal.1), on disk \(oracle.written)")
            }
            if journal.2 > oracle.durable {
                broken("durable \(journal.2), on disk \(oracle.durable)")
            }
        }
        if !disk.violations.isEmpty { broken("disk: \(disk.violations)") }
    }

    /// A random item, mostly not one that this world is slow at.
    func choose() -> PendingItem {
        var item = random.pick(pending)
        for _ in 0..<4 where item.isSlow(plan.pace) { item = random.pick(pending) }
        // The checkpoint that follows a MOVE takes it out of the log.
        for _ in 0..<8 where hasMove && isKind(item, .checkpoint) { item = random.pick(pending) }
        return item
    }

    func takeWork() {
        while true {
            let work = engine.takeWork()
            if work.isEmpty { return }
            for item in work { begin(item) }
        }
    }

    private func begin(_ work: Work) {
        switch work {
        case .reply(let body): body()
        case .log(let line): note("log: \(line.text)")
        case .writeGroup(let group, let offset):
            note("group \(group.firstLSN)...\(group.lastLSN) written at \(offset)")
            if group.header?.flags.contains(.pad) ?? false { lastPad = group.position }
            issue(PendingItem(.group(group)), [(group.imagePieces, offset)])
        case .writeSlot(let write):
            note("slot \(write.slot) of block \(write.block) written: \(write.granules.runs)")
            issue(PendingItem(.slot(write)), write.writes.map { ([$0.bytes], $0.offset) })
        case .checkpoint(let writes):
            note("checkpoint: \(writes.count) writes")
            issue(PendingItem(.checkpoint), writes.map { ([$0.buffer.bytes], $0.offset) })
        case .markPoisoned(let writes):
            note("superblock says that the file failed")
            coverage.hit(.markedPoisoned)
            isMarkedPoisoned = true
            issue(
                PendingItem(.markPoisoned), writes.map { ([$0.buffer.bytes], $0.offset) },
                mayFail: true)
        case .flush(let all):
            let item = PendingItem(.flush)
            do { item.flush = try disk.beginFlush(all: all) } catch { broken("flush: \(error)") }
            note("flush begins")
            oracle.flushBegan()
            pending.append(item)
        case .read(let task): pending.append(PendingItem(.read(task)))
        case .destage(let task): pending.append(PendingItem(.destage(task)))
        case .fetch(let task): pending.append(PendingItem(.fetch(task)))
        case .survey(let task):
            note("asks for the blocks of \(task.scope)")
            pending.append(PendingItem(.survey(task)))
        case .hurry: break
        case .goOn(let trim): pending.append(PendingItem(.goOn(trim)))
        case .move(let task): pending.append(PendingItem(.move(task)))
        case .reserve(let task): pending.append(PendingItem(.reserve(task)))
        case .truncate(let size): pending.append(PendingItem(.truncate(size)))
        case .upload(let task):
            note("upload of block \(task.block) as of \(task.upload.asOf)")
            pending.append(PendingItem(.upload(task)))
        case .settle(let task):
            note("looks up block \(task.block)")
            pending.append(PendingItem(.settle(task)))
        }
    }

    private func issue(
        _ item: PendingItem, _ writes: [([UnsafeRawBufferPointer], Int)], mayFail: Bool = false
    ) {
        put(item, writes, mayFail: mayFail)
        pending.append(item)
    }

    /// Issues writes on the disk.
    func put(
        _ item: PendingItem, _ writes: [([UnsafeRawBufferPointer], Int)], mayFail: Bool = false
    ) {
        for (pieces, offset) in writes {
            do {
                item.tokens.append(try disk.issue(pieces, at: offset, .direct))
            } catch {
                if !mayFail { broken("write at \(offset): \(error)") }
            }
        }
    }
}

extension Record {
    /// A few words for the log.
    var brief: String {
        switch self {
        case .data(let data): "DATA \(data.block) slot \(data.slot) \(data.granules)"
        case .patch(let patch):
            "PATCH \(patch.block) slot \(patch.slot) granule \(patch.granule) \(patch.ranges) "
                + "carried \(patch.carriedLSN)"
        case .map(let map):
            "MAP \(map.block) slot \(map.slot) from \(Int32(bitPattern: map.oldSlot)) "
                + "\(map.granules.runs) flags \(map.flags.rawValue)"
        case .clean(let clean):
            "CLEAN \(clean.kind) \(clean.block) slot \(clean.slot) as of \(clean.asOf)"
        case .intent(let intent):
            "INTENT \(intent.block) slot \(intent.slot) as of \(intent.asOf) "
                + "carried \(intent.isCarried) delete \(intent.isDelete)"
        case .evict(let evict):
            "EVICT \(evict.block) slot \(evict.slot) \(evict.granules?.runs ?? [])"
        case .epoch(let epoch): "EPOCH \(epoch)"
        case .zero(let zero): "ZERO \(zero.block) slot \(zero.slot) \(zero.granules ?? 0..<0)"
        case .zeroRange(let zero): "ZERO blocks \(zero.blocks) carried \(zero.carriedLSN)"
        case .cleanRange(let clean): "CLEAN blocks \(clean.blocks) as of \(clean.asOf)"
        }
    }
}
