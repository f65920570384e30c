import FileIO

/// A group that recovery accepted, with its records.
public struct ScannedGroup: Sendable {
    public let header: GroupHeader
    public let records: [RawRecord]

    public func lsn(of index: Int) -> LSN { header.firstLSN + LSN(index) }
}

/// How the log ends. docs/format.md, "Recovery", decision table.
public enum RingVerdict: Sendable, Equatable {
    /// Nothing valid behind the last accepted group.
    case endOfLog
    /// Groups of an older session lie behind: dead, never come alive (JRN_OLD_SESSION).
    case deadGroups
    /// The last, not durable groups are damaged or missing; cut (JRN_TORN_TAIL).
    case tornTail
    /// Durable groups are damaged or missing: acknowledged data lost (JRN_HOLE).
    case hole
    /// Groups of a later session than the superblock's: its newest copies are lost (SB_STALE).
    case staleSuperblock
}

/// What a walk over the ring found.
public struct RingScan: Sendable {
    public var accepted: [ScannedGroup]
    /// Behind the last accepted group.
    public var end: RingPoint
    /// D: highest LSN that anything in the window or the superblock knows durable.
    public var durable: LSN
    public var verdict: RingVerdict
    /// Groups behind `end` that are valid but not accepted.
    public var later: [GroupHeader]
    public var laterGroups: Int { later.count }
}

/// Facts from the superblock that a scan starts from.
public struct RingScanStart: Sendable {
    public var tail: RingPoint
    public var session: UInt64
    public var recoveredLSN: LSN
    public var recoveredPosition: UInt64
    public var checkpointLSN: LSN
    /// The last session ended cleanly: nothing was written behind `recoveredPosition` unless the
    /// superblock is stale, and then the later session's first group lies right there.
    public var isClean: Bool
    /// The group at this position has no right payload; nil: see for yourself.
    public var payloadEnd: UInt64?

    public init(
        tail: RingPoint, session: UInt64, recoveredLSN: LSN, recoveredPosition: UInt64,
        checkpointLSN: LSN, isClean: Bool = false, payloadEnd: UInt64? = nil
    ) {
        self.payloadEnd = payloadEnd
        self.isClean = isClean
        self.tail = tail
        self.session = session
        self.recoveredLSN = recoveredLSN
        self.recoveredPosition = recoveredPosition
        self.checkpointLSN = checkpointLSN
    }
}

/// Reads the ring and judges it. Same code for mounting and for cachecheck; writes nothing.
public struct RingScanner {
    private let reader: WindowedReader
    private let offset: Int
    private let length: Int
    private let seeds: SeedSpace
    private let start: RingScanStart
    /// Checks what only the owner of the record types can: that records parse, and their payload.
    private let isPayloadIntact: (RawRecord, UnsafeRawBufferPointer) -> Bool

    public init(
        file: any FileIO, offset: Int, length: Int, seeds: SeedSpace, start: RingScanStart,
        isPayloadIntact: @escaping (RawRecord, UnsafeRawBufferPointer) -> Bool
    ) throws(FileError) {
        reader = try WindowedReader(file)
        self.offset = offset
        self.length = length
        self.seeds = seeds
        self.start = start
        self.isPayloadIntact = isPayloadIntact
    }

    /// Walks, scans and judges. Blocks: reads the whole ring once.
    public func scan() throws(FileError) -> RingScan {
        var accepted: [ScannedGroup] = []
        var point = start.tail
        var lastSession: UInt64 = 0
        while point.position - start.tail.position < UInt64(length) {
            guard let group = try acceptable(at: point, lastSession: lastSession) else { break }
            accepted.append(group)
            lastSession = group.header.session
            point = RingPoint(
                position: group.header.position + UInt64(group.header.byteCount),
                lsn: group.header.lastLSN + 1, prevGroupCRC: group.header.headerCRC)
        }
        let later = try scanWindow(from: point.position)
        return judge(accepted, end: point, later: later)
    }

    /// A group of which the window has a header, with its records, whatever comes before it; nil when
    /// its payload is damaged.
    public func group(_ header: GroupHeader) throws(FileError) -> ScannedGroup? {
        try acceptable(
            at: RingPoint(
                position: header.position, lsn: header.firstLSN, prevGroupCRC: header.prevGroupCRC),
            lastSession: 0, anySession: true)
    }

    // MARK: Walk

    private func acceptable(
        at point: RingPoint, lastSession: UInt64, anySession: Bool = false
    ) throws(FileError) -> ScannedGroup? {
        if let end = start.payloadEnd, point.position >= end { return nil }
        guard let (header, blocks) = try intactHeader(at: point.position) else { return nil }
        guard header.firstLSN == point.lsn else { return nil }
        guard header.prevGroupCRC == point.prevGroupCRC else { return nil }
        guard anySession || isSessionRight(header, after: lastSession) else { return nil }
        guard header.position + UInt64(header.byteCount) <= start.tail.position + UInt64(length)
        else { return nil }
        guard let records = RawRecord.decodeAll(blocks.bytes, count: header.recordCount) else {
            return nil
        }
        if header.recordCount > 0 {
            let data = AlignedBuffer(max(1, header.dataBlocks * RingFormat.blockSize))
            if header.dataBlocks > 0 {
                try read(into: data.mutableBytes, at: header.dataPosition)
            }
            let bytes =
                header.dataBlocks > 0
                ? data.bytes : UnsafeRawBufferPointer(rebasing: data.bytes[..<0])
            for record in records where !isPayloadIntact(record, bytes) { return nil }
        }
        return ScannedGroup(header: header, records: records)
    }

    /// Groups before recoveredPosition: sessions never decrease and never exceed the superblock's;
    /// from there on exactly the superblock's (I5).
    private func isSessionRight(_ header: GroupHeader, after lastSession: UInt64) -> Bool {
        if header.position < start.recoveredPosition {
            return header.session >= lastSession && header.session <= start.session
        }
        return header.session == start.session
    }

    private func intactHeader(
        at position: UInt64
    ) throws(FileError) -> (GroupHeader, AlignedBuffer)? {
        let first = AlignedBuffer(RingFormat.blockSize)
        try read(into: first.mutableBytes, at: position)
        guard let header = GroupHeader.decode(first.bytes, ringLength: length) else { return nil }
        guard header.position == position else { return nil }
        if header.headerBlocks == 1 {
            return header.isIntact(first.mutableBytes, seeds: seeds) ? (header, first) : nil
        }
        let blocks = AlignedBuffer(header.headerBlocks * RingFormat.blockSize)
        try read(into: blocks.mutableBytes, at: position)
        return header.isIntact(blocks.mutableBytes, seeds: seeds) ? (header, blocks) : nil
    }

    private func read(
        into target: UnsafeMutableRawBufferPointer, at position: UInt64
    ) throws(FileError) {
        try reader.read(into: target, at: offset + Int(position % UInt64(length)))
    }

    // MARK: Window

    private struct Later {
        var groups: [GroupHeader] = []
        var hasTornHead = false
    }

    /// What is looked at behind the end of a log that was closed.
    private static let cleanWindow: UInt64 = 1 << 20

    /// Every valid group header from `position` to one ring length behind the tail.
    private func scanWindow(from position: UInt64) throws(FileError) -> Later {
        var later = Later()
        var next = position
        var windowEnd = start.tail.position + UInt64(length)
        // Where the log ends is known; a look at what follows tells whether that is still true.
        if start.isClean { windowEnd = min(windowEnd, position + Self.cleanWindow) }
        let chunk = AlignedBuffer(min(1 << 20, length))
        while next < windowEnd {
            let contiguous = UInt64(length) - next % UInt64(length)
            let count = Int(min(UInt64(chunk.count), contiguous, windowEnd - next))
            try read(into: chunk.mutableSlice(0..<count), at: next)
            for at in stride(from: 0, to: count, by: RingFormat.blockSize) {
                let block = UnsafeRawBufferPointer(
                    rebasing: chunk.bytes[at..<at + RingFormat.blockSize])
                let header = GroupHeader.decode(block, ringLength: length)
                if let header, header.position == next + UInt64(at),
                    let (intact, _) = try intactHeader(at: header.position)
                {
                    later.groups.append(intact)
                } else if next + UInt64(at) == position {
                    later.hasTornHead = try isTornHead(block, header, at: position)
                }
            }
            next += UInt64(count)
        }
        return later
    }

    /// Whether a block that is no valid group here was to become one: it still claims this position
    /// or has the mark of a group, without being a whole group of an older lap.
    private func isTornHead(
        _ block: UnsafeRawBufferPointer, _ header: GroupHeader?, at position: UInt64
    ) throws(FileError) -> Bool {
        if block.field(24, UInt64.self) == position { return block.contains { $0 != 0 } }
        guard block.field(0, UInt32.self) == RingFormat.magic else { return false }
        guard let header, header.position % UInt64(length) == position % UInt64(length) else {
            return true
        }
        return try intactHeader(at: header.position) == nil
    }

    // MARK: Verdict

    private func judge(_ accepted: [ScannedGroup], end: RingPoint, later: Later) -> RingScan {
        var durable = max(start.recoveredLSN, start.checkpointLSN)
        for group in accepted { durable = max(durable, group.header.durableLSN) }
        for header in later.groups { durable = max(durable, header.durableLSN) }
        var scan = RingScan(
            accepted: accepted, end: end, durable: durable, verdict: .endOfLog,
            later: later.groups)
        let ownLater = later.groups.contains {
            $0.session == start.session && $0.firstLSN >= end.lsn
        }
        if later.groups.contains(where: { $0.session > start.session }) {
            scan.verdict = .staleSuperblock
        } else if durable >= end.lsn {
            scan.verdict = .hole
        } else if end.position >= start.recoveredPosition,
            let first = later.groups.first, first.position == end.position,
            first.session < start.session
        {
            scan.verdict = .deadGroups
        } else if later.hasTornHead || ownLater {
            scan.verdict = .tornTail
        } else if !later.groups.isEmpty {
            scan.verdict = .deadGroups
        }
        return scan
    }
}
