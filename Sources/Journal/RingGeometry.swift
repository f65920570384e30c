/// Where the next group begins, or would: absolute ring position, LSN and chain value.
public struct RingPoint: Sendable, Equatable {
    public var position: UInt64
    public var lsn: LSN
    public var prevGroupCRC: UInt32

    public init(position: UInt64, lsn: LSN, prevGroupCRC: UInt32) {
        self.position = position
        self.lsn = lsn
        self.prevGroupCRC = prevGroupCRC
    }
}

/// Fixed facts about the ring of one session.
public struct RingGeometry: Sendable {
    public var offset: Int
    public var length: Int
    public var groupBytesMax: Int
    /// Most patches there are at a time, so that carrying them all always has room (I9).
    public var patchesMax: Int
    /// Most announced uploads there are at a time, for the same reason.
    public var intentsMax: Int
    /// Most zero extents, too.
    public var extentsMax: Int
    /// What carrying all of them takes at most: each patch alone in its group, the small records
    /// together, and once a PAD before either.
    public var carryBytes: Int
    /// What records of the user leave free for records that make room.
    public var reserveBytes: Int

    /// - Parameter granuleSize: the largest single piece of data a record carries.
    public init(offset: Int, length: Int, granuleSize: Int) {
        precondition(length % RingFormat.blockSize == 0)
        self.offset = offset
        self.length = length
        let smallest = granuleSize + 2 * RingFormat.blockSize
        groupBytesMax = max(min(4 << 20, length / 16), smallest)
        let carried = granuleSize + RingFormat.blockSize
        patchesMax = max(2, length / 16 / carried)
        intentsMax = max(16, length / 64 / Self.intentBytes)
        extentsMax = max(8, min(16_384, length / 2048))
        let small = intentsMax * Self.intentBytes + extentsMax * Self.extentBytes
        let smallPerBlock = RingFormat.blockSize - RingFormat.headerSize
        carryBytes =
            patchesMax * carried + granuleSize
            + ((small + smallPerBlock - 1) / smallPerBlock + 1) * RingFormat.blockSize
        // Beside carrying: a SEAL and its PAD, and a few groups of those that make room.
        reserveBytes = max(
            length / 8, 2 * groupBytesMax, carryBytes + 6 * RingFormat.blockSize)
        precondition(length >= 4 * groupBytesMax, "ring too small for its granules")
    }

    /// Bytes of an INTENT record.
    private static let intentBytes = 104
    /// Bytes of a ZERO record.
    private static let extentBytes = 32
}
