import FileIO
import Journal

/// A granule whose newest content is in the journal and not, or not yet for good, in its slot.
public struct Overlay {
    public let granule: Int
    public let lsn: LSN
    /// nil: of zeros, which need none in the journal.
    public let crc: UInt32?
    let group: JournalGroup
    /// First data block of the granule in the group.
    let dataIndex: Int
    /// The slot holds the same bytes; the overlay stays until a checkpoint carries their CRC (R5).
    public internal(set) var isDestaged = false

    init(granule: Int, lsn: LSN, crc: UInt32, group: JournalGroup, dataIndex: Int) {
        self.granule = granule
        self.lsn = lsn
        self.crc = crc
        self.group = group
        self.dataIndex = dataIndex
    }

    /// Zeros, by a record in this group.
    init(granule: Int, lsn: LSN, zerosIn group: JournalGroup) {
        self.granule = granule
        self.lsn = lsn
        crc = nil
        self.group = group
        dataIndex = 0
    }

    /// Where the bytes are.
    public enum Place {
        case memory(DataPiece)
        /// Absolute ring position, and the checksum of the bytes there.
        case ring(UInt64, crc: UInt32)
        /// There are no bytes.
        case zeros
    }

    public var place: Place {
        guard let crc else { return .zeros }
        if let piece = group.memory(dataIndex) { return .memory(piece) }
        return .ring(group.dataPosition(dataIndex), crc: crc)
    }
}

/// The overlays of one block, at most one for each granule.
struct BlockOverlays {
    private(set) var items: [Overlay] = []

    subscript(granule: Int) -> Overlay? { items.first { $0.granule == granule } }

    /// Granules covered.
    var granules: GranuleSet {
        var set = GranuleSet()
        for item in items { set.insert(item.granule) }
        return set
    }

    var isEmpty: Bool { items.isEmpty }

    mutating func put(_ overlay: Overlay) {
        if let at = items.firstIndex(where: { $0.granule == overlay.granule }) {
            items[at] = overlay
        } else {
            items.append(overlay)
        }
    }

    mutating func remove(_ granules: GranuleSet) {
        items.removeAll { granules.contains($0.granule) }
    }

    mutating func removeDestaged(upTo lsn: LSN) {
        items.removeAll { $0.isDestaged && $0.lsn <= lsn }
    }

    mutating func setDestaged(_ granule: Int, lsn: LSN) -> Bool {
        guard let at = items.firstIndex(where: { $0.granule == granule && $0.lsn == lsn }) else {
            return false
        }
        items[at].isDestaged = true
        return true
    }
}

/// Points at an overlay, in LSN order: what the tail of the ring waits for.
struct OverlayMark {
    let position: UInt64
    let block: UInt64
    let granule: Int
    let lsn: LSN
}
