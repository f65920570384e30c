import FileIO

/// A piece of memory that becomes data blocks of a group.
public struct DataPiece: Sendable {
    public let buffer: AlignedBuffer
    public let range: Range<Int>

    /// `range` has a length that is a multiple of 4096.
    public init(_ buffer: AlignedBuffer, _ range: Range<Int>) {
        precondition(range.count % RingFormat.blockSize == 0)
        self.buffer = buffer
        self.range = range
    }
}

/// One group: gathered while open, then closed, written, and from then on only a place in the ring.
///
/// Not thread-safe: it belongs to the engine lock, but for `header` and `data`, which no longer
/// change once the group is closed and may be read by the thread that writes it.
public final class JournalGroup: @unchecked Sendable {
    /// Absolute ring position of the first header block; fixed when the group is opened.
    public let position: UInt64
    public let firstLSN: LSN
    public let prevGroupCRC: UInt32
    public internal(set) var lastLSN: LSN
    /// Known once closed.
    public internal(set) var header: GroupHeader?
    public internal(set) var isWritten = false

    var recordBytes: [UInt8] = []
    var recordCount = 0
    var dataBlocks = 0
    private(set) var pieces: [DataPiece] = []
    private var pieceStarts: [Int] = []
    private var headerBuffer: AlignedBuffer?

    init(position: UInt64, firstLSN: LSN, prevGroupCRC: UInt32) {
        self.position = position
        self.firstLSN = firstLSN
        self.prevGroupCRC = prevGroupCRC
        lastLSN = firstLSN
    }

    /// A group found in the ring by recovery.
    public init(recovered header: GroupHeader) {
        position = header.position
        firstLSN = header.firstLSN
        prevGroupCRC = header.prevGroupCRC
        lastLSN = header.lastLSN
        self.header = header
        recordCount = header.recordCount
        dataBlocks = header.dataBlocks
        isWritten = true
    }

    var byteCount: Int {
        let headerBlocks = RingFormat.headerBlocks(recordBytes: recordBytes.count)
        return (headerBlocks + dataBlocks) * RingFormat.blockSize
    }

    func append(_ record: RawRecord, _ newPieces: [DataPiece]) {
        if recordCount > 0 { lastLSN += 1 }
        recordCount += 1
        record.append(to: &recordBytes)
        for piece in newPieces {
            pieceStarts.append(dataBlocks)
            pieces.append(piece)
            dataBlocks += piece.range.count / RingFormat.blockSize
        }
    }

    /// Fixes the header. Returns its CRC, the chain value of the next group.
    func close(
        flags: RingFormat.Flags, session: UInt64, durableLSN: LSN, epoch: UInt64, seeds: SeedSpace
    ) -> UInt32 {
        precondition(header == nil)
        let headerBlocks = RingFormat.headerBlocks(recordBytes: recordBytes.count)
        var header = GroupHeader(
            flags: flags, prevGroupCRC: prevGroupCRC, session: session, position: position,
            firstLSN: firstLSN, lastLSN: lastLSN, durableLSN: durableLSN, epoch: epoch,
            headerBlocks: headerBlocks, recordCount: recordCount, dataBlocks: dataBlocks)
        let buffer = AlignedBuffer.zeroed(headerBlocks * RingFormat.blockSize)
        buffer.mutableBytes.setBytes(RingFormat.headerSize, recordBytes)
        header.headerCRC = header.encode(into: buffer.mutableBytes, seeds: seeds)
        self.header = header
        headerBuffer = buffer
        recordBytes = []
        return header.headerCRC
    }

    /// What to write at `position`: header blocks, then data. Only when closed and not yet written.
    public var imagePieces: [UnsafeRawBufferPointer] {
        guard let headerBuffer else { preconditionFailure("group is not closed") }
        return [headerBuffer.bytes] + pieces.map { $0.buffer.slice($0.range) }
    }

    func finishWrite() {
        isWritten = true
        headerBuffer = nil
        pieces = []
        pieceStarts = []
    }

    /// Absolute ring position of data block `index`. Only when closed.
    public func dataPosition(_ index: Int) -> UInt64 {
        guard let header else { preconditionFailure("group is not closed") }
        return header.dataPosition + UInt64(index * RingFormat.blockSize)
    }

    /// The memory of data block `index` while the group is not written yet.
    public func memory(_ index: Int) -> DataPiece? {
        guard !isWritten else { return nil }
        var low = 0
        var high = pieces.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if pieceStarts[middle] <= index { low = middle } else { high = middle }
        }
        let piece = pieces[low]
        let start = piece.range.lowerBound + (index - pieceStarts[low]) * RingFormat.blockSize
        return DataPiece(piece.buffer, start..<piece.range.upperBound)
    }
}
