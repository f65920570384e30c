import FileIO

/// The journal of one session: a state machine that gathers records into groups, says what to write
/// and flush, and keeps the four horizons (docs/format.md, "The LSN ladder").
///
/// Owned by the engine lock. It does no I/O: `nextWrite` and `beginFlush` hand out work, and
/// `writeReturned` and `flushReturned` take the outcome. It keeps I3: at most one group write is
/// under way, so the written prefix is contiguous.
public struct Journal: ~Copyable {
    public let geometry: RingGeometry
    public let session: UInt64
    public let seeds: SeedSpace

    // MARK: Horizons: assigned >= written >= durable >= sealed

    public private(set) var assigned: LSN
    public private(set) var written: LSN
    public private(set) var durable: LSN
    public private(set) var sealed: LSN
    /// The last LSN that belongs to a record (SEAL and PAD groups have none).
    public private(set) var lastRecordLSN: LSN

    // MARK: Ring

    /// Position behind the last closed group.
    private var head: UInt64
    private var chain: UInt32
    /// First byte that must not be overwritten.
    private var limitBase: UInt64
    private var open: JournalGroup?
    private var closed: Fifo<JournalGroup> = Fifo()
    private var writing: JournalGroup?
    private var flushTarget: LSN?
    /// Groups whose durableLSN becomes sealed once they are durable themselves.
    private var seals: Fifo<(lastLSN: LSN, durableLSN: LSN)> = Fifo()
    private var starts: Fifo<RingPoint> = Fifo()

    /// The epoch that groups closed from now on carry.
    public var epoch: UInt64

    /// - Parameters:
    ///   - end: where recovery says the log ends; the first group goes there.
    ///   - tail: the superblock's tail, the oldest byte that is still needed.
    ///   - starts: the groups recovery accepted, oldest first.
    public init(
        geometry: RingGeometry, session: UInt64, seeds: SeedSpace, epoch: UInt64,
        end: RingPoint, tail: UInt64, starts: [RingPoint]
    ) {
        self.geometry = geometry
        self.session = session
        self.seeds = seeds
        self.epoch = epoch
        let last = end.lsn - 1
        assigned = last
        written = last
        durable = last
        sealed = last
        lastRecordLSN = last
        head = end.position
        chain = end.prevGroupCRC
        limitBase = tail
        for start in starts { self.starts.append(start) }
    }

    // MARK: Space

    /// Position behind everything gathered so far.
    public var end: UInt64 { open.map { $0.position + UInt64($0.byteCount) } ?? head }
    public var usedBytes: Int { Int(end - limitBase) }
    public var tail: UInt64 { limitBase }

    /// Bytes a record would take now, and whether it joins the open group.
    private func cost(recordBytes: Int, dataBytes: Int) -> (bytes: Int, joins: Bool) {
        if let open {
            let blocks = RingFormat.headerBlocks(recordBytes: open.recordBytes.count + recordBytes)
            let bytes = (blocks + open.dataBlocks) * RingFormat.blockSize + dataBytes
            let fits = bytes <= capacity(at: open.position)
            let countable =
                open.recordCount < RingFormat.recordCountMax
                && open.pieces.count < RingFormat.dataPiecesMax
            if fits && countable { return (bytes - open.byteCount, true) }
        }
        let alone = Self.groupBytes(recordBytes: recordBytes, dataBytes: dataBytes)
        precondition(alone <= geometry.groupBytesMax, "record larger than a group")
        let rest = contiguous(at: end)
        return ((alone > rest ? rest : 0) + alone, false)
    }

    private static func groupBytes(recordBytes: Int, dataBytes: Int) -> Int {
        RingFormat.headerBlocks(recordBytes: recordBytes) * RingFormat.blockSize + dataBytes
    }

    private func contiguous(at position: UInt64) -> Int {
        geometry.length - Int(position % UInt64(geometry.length))
    }

    private func capacity(at position: UInt64) -> Int {
        min(geometry.groupBytesMax, contiguous(at: position))
    }

    /// Data bytes a record of `recordBytes` may carry at most.
    public func dataBytesMax(recordBytes: Int) -> Int {
        let header = RingFormat.headerBlocks(recordBytes: recordBytes) * RingFormat.blockSize
        return geometry.groupBytesMax - header
    }

    /// Whether a record fits without touching what must stay. User records leave the reserve alone;
    /// records that make room (`reserved`) may use it, but for what carrying takes: without that the
    /// tail could not move any more.
    public func hasRoom(recordBytes: Int, dataBytes: Int, reserved: Bool) -> Bool {
        let kept = reserved ? geometry.carryBytes + Self.sealBytes : geometry.reserveBytes
        return hasRoom(recordBytes, dataBytes, keeping: kept)
    }

    /// Whether a patch or a zero extent can be logged again; only a SEAL has a better claim.
    public func hasRoomToCarry(recordBytes: Int, dataBytes: Int) -> Bool {
        hasRoom(recordBytes, dataBytes, keeping: Self.sealBytes)
    }

    /// One block for the SEAL, and one that its PAD may take.
    private static let sealBytes = 2 * RingFormat.blockSize

    private func hasRoom(_ recordBytes: Int, _ dataBytes: Int, keeping kept: Int) -> Bool {
        let needed = cost(recordBytes: recordBytes, dataBytes: dataBytes).bytes
        return usedBytes + needed + kept <= geometry.length
    }

    /// Records never overwrite bytes from `position` on. It only moves forward.
    public mutating func setLimit(_ position: UInt64) {
        precondition(position >= limitBase && position <= end)
        limitBase = position
        while let first = starts.first, first.position < position { starts.removeFirst() }
    }

    /// The group that begins at `position`, or the end of the log.
    public func point(at position: UInt64) -> RingPoint? {
        if let found = starts.first(where: { $0.position == position }) { return found }
        return position == end ? nextPoint : nil
    }

    /// Where the next group will begin. Only when no group is open.
    public var nextPoint: RingPoint {
        precondition(open == nil)
        return RingPoint(position: head, lsn: assigned + 1, prevGroupCRC: chain)
    }

    // MARK: Records

    /// Where the first data block of a record would lie if `append` were called now.
    public func nextDataIndex(recordBytes: Int, dataBytes: Int) -> UInt32 {
        let joins = cost(recordBytes: recordBytes, dataBytes: dataBytes).joins
        return joins ? UInt32(open?.dataBlocks ?? 0) : 0
    }

    /// Gives a record its LSN and its place. The caller has checked `hasRoom`, and every slot write
    /// the record names has returned (I2).
    /// - Returns: the LSN, the group and the index of the first data block in it.
    public mutating func append(
        _ record: RawRecord, data: [DataPiece] = []
    ) -> (lsn: LSN, group: JournalGroup, dataIndex: Int) {
        let dataBytes = data.reduce(0) { $0 + $1.range.count }
        if !cost(recordBytes: record.encodedSize, dataBytes: dataBytes).joins {
            closeOpen()
            let alone = Self.groupBytes(recordBytes: record.encodedSize, dataBytes: dataBytes)
            if alone > contiguous(at: head) { appendPad() }
            open = JournalGroup(position: head, firstLSN: assigned + 1, prevGroupCRC: chain)
        }
        guard let open else { preconditionFailure("no open group") }
        let dataIndex = open.dataBlocks
        open.append(record, data)
        assigned += 1
        lastRecordLSN = assigned
        precondition(open.lastLSN == assigned)
        precondition(usedBytes <= geometry.length, "journal ran over its tail")
        return (assigned, open, dataIndex)
    }

    /// Closes the open group; it will be written next in order.
    public mutating func closeOpen(flags: RingFormat.Flags = []) {
        guard let group = open else { return }
        open = nil
        starts.append(
            RingPoint(
                position: group.position, lsn: group.firstLSN, prevGroupCRC: group.prevGroupCRC))
        chain = group.close(
            flags: flags, session: session, durableLSN: durable, epoch: epoch, seeds: seeds)
        head += UInt64(group.header.map { $0.byteCount } ?? 0)
        closed.append(group)
    }

    private mutating func appendEmpty(_ flags: RingFormat.Flags, dataBlocks: Int) {
        precondition(open == nil)
        assigned += 1
        let group = JournalGroup(position: head, firstLSN: assigned, prevGroupCRC: chain)
        group.dataBlocks = dataBlocks
        open = group
        closeOpen(flags: flags)
    }

    private mutating func appendPad() {
        let blocks = contiguous(at: head) / RingFormat.blockSize
        appendEmpty(.pad, dataBlocks: blocks - 1)
    }

    /// Adds an empty group that carries `durable` to the medium, if that would seal anything.
    /// Returns whether it did. docs/format.md, "SEAL".
    public mutating func appendSeal() -> Bool {
        guard durable > sealed else { return false }
        if let last = seals.last, last.durableLSN >= durable { return false }
        guard open == nil, closed.isEmpty, writing == nil else { return false }
        guard usedBytes + RingFormat.blockSize <= geometry.length else { return false }
        appendEmpty(.seal, dataBlocks: 0)
        return true
    }

    /// What the groups written and not yet durable will seal once they are.
    public var pendingSeal: LSN { max(sealed, seals.last?.durableLSN ?? 0) }

    // MARK: Writes and flushes

    public var isWriting: Bool { writing != nil }
    public var isFlushing: Bool { flushTarget != nil }
    public var hasUnwritten: Bool { open != nil || !closed.isEmpty || writing != nil }

    /// Whether a group gathers records.
    public var hasOpen: Bool { open != nil }

    /// Whether a group waits to be written that no record can join any more.
    public var hasClosed: Bool { !closed.isEmpty }

    /// The next group to write, if none is under way. The caller writes `imagePieces` at
    /// `offset(of:)` and then calls `writeReturned`.
    public mutating func nextWrite() -> JournalGroup? {
        guard writing == nil else { return nil }
        if closed.isEmpty { closeOpen() }
        writing = closed.popFirst()
        return writing
    }

    public func offset(of group: JournalGroup) -> Int {
        geometry.offset + Int(group.position % UInt64(geometry.length))
    }

    /// Offset in the file of an absolute ring position.
    public func fileOffset(_ position: UInt64) -> Int {
        geometry.offset + Int(position % UInt64(geometry.length))
    }

    public mutating func writeReturned(_ group: JournalGroup) {
        precondition(writing === group)
        writing = nil
        group.finishWrite()
        precondition(group.firstLSN == written + 1)
        written = group.lastLSN
        if let header = group.header {
            seals.append((lastLSN: group.lastLSN, durableLSN: header.durableLSN))
        }
    }

    /// Starts a flush: what is written now becomes durable when it returns.
    public mutating func beginFlush() -> LSN {
        precondition(flushTarget == nil)
        flushTarget = written
        return written
    }

    public mutating func flushReturned() {
        guard let target = flushTarget else { preconditionFailure("no flush under way") }
        flushTarget = nil
        durable = max(durable, target)
        while let first = seals.first, first.lastLSN <= target {
            sealed = max(sealed, first.durableLSN)
            seals.removeFirst()
        }
    }

    /// A superblock that vouches for `lsn` (checkpointLSN or recoveredLSN) is durable.
    public mutating func superblockDurable(vouchingFor lsn: LSN) {
        precondition(lsn <= durable)
        sealed = max(sealed, lsn)
    }

    public func checkInvariants() {
        precondition(assigned >= written)
        precondition(written >= durable)
        precondition(durable >= sealed)
        precondition(end >= limitBase)
        precondition(usedBytes <= geometry.length)
    }
}
