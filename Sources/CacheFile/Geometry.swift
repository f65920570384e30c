import FileIO
import Journal

/// One allocation group: two copies of its directory pages, then its slots.
public struct Zone: Sendable, Equatable {
    public var slotsOffset: Int
    public var slots: Int
    public var hotOffsets: [Int]
    public var coldOffsets: [Int]
}

/// Where everything lies in one cache file. docs/format.md, "File map".
public struct Geometry: Sendable, Equatable {
    public static let pageSize = 4096
    public static let pageHeaderSize = 64
    public static let hotEntrySize = 64
    public static let hotPerPage = (pageSize - pageHeaderSize) / hotEntrySize
    public static let blockSizes = 4096...(64 << 20)
    public static let slotsMin = 8
    public static let slotsMax = Int(UInt32.max) - 2
    public static let superblockStride = 64 << 10
    public static let zoneTableOffset = 128 << 10
    public static let zoneTableBytes = 64 << 10
    public static let zonesMax = (zoneTableBytes - 64) / 64

    public let blockSize: Int
    public let granuleSize: Int
    public let granulesPerBlock: Int
    public let volumeBlocks: UInt64
    public let ringOffset: Int
    public let ringLength: Int
    public let rootOffsets: [Int]
    public let rootCapacity: Int
    public let zones: [Zone]
    public let slotCount: Int

    // MARK: Derived

    /// Bytes of the validity bitmap in a cold entry.
    public let bitmapBytes: Int
    public let coldEntrySize: Int
    public let coldPerPage: Int
    /// Of a full one, which all but the last are. Fixed when the file is made.
    public let slotsPerZone: Int
    public let hotPagesPerZone: Int
    public let pagesPerZone: Int
    public let pageCount: Int

    public init(
        blockSize: Int, volumeBlocks: UInt64, ringOffset: Int, ringLength: Int,
        rootOffsets: [Int], rootCapacity: Int, slotsPerZone: Int, zones: [Zone]
    ) {
        precondition(!zones.isEmpty && rootOffsets.count == 2)
        self.blockSize = blockSize
        self.volumeBlocks = volumeBlocks
        self.ringOffset = ringOffset
        self.ringLength = ringLength
        self.rootOffsets = rootOffsets
        self.rootCapacity = rootCapacity
        self.zones = zones
        granuleSize = Self.granuleSize(blockSize: blockSize)
        granulesPerBlock = blockSize / granuleSize
        let cold = Self.coldEntry(granules: granulesPerBlock)
        bitmapBytes = cold.bitmap
        coldEntrySize = cold.size
        coldPerPage = (Self.pageSize - Self.pageHeaderSize) / cold.size
        slotCount = zones.reduce(0) { $0 + $1.slots }
        self.slotsPerZone = slotsPerZone
        hotPagesPerZone = Self.pages(slotsPerZone, Self.hotPerPage)
        pagesPerZone = hotPagesPerZone + Self.pages(slotsPerZone, coldPerPage)
        pageCount = zones.count * pagesPerZone
    }

    public static func granuleSize(blockSize: Int) -> Int { max(4096, blockSize / 256) }

    package static func coldEntry(granules: Int) -> (bitmap: Int, size: Int) {
        let bitmap = (granules + 63) / 64 * 8
        return (bitmap, (bitmap + 4 * granules + 7) & ~7)
    }

    package static func pages(_ slots: Int, _ perPage: Int) -> Int {
        (slots + perPage - 1) / perPage
    }

    // MARK: Places

    public func superblockOffset(_ copy: Int) -> Int {
        copy < 2
            ? copy * Self.superblockStride
            : ringOffset + ringLength + (copy - 2) * Self.superblockStride
    }

    public func slotOffset(_ slot: Int) -> Int {
        let zone = zones[slot / slotsPerZone]
        return zone.slotsOffset + slot % slotsPerZone * blockSize
    }

    /// Page that holds the hot entry of a slot, and the entry's byte offset in it.
    @inline(__always)
    public func hotPlace(_ slot: Int) -> (page: Int, offset: Int) {
        let (zone, inZone) = slot.quotientAndRemainder(dividingBy: slotsPerZone)
        let (page, index) = inZone.quotientAndRemainder(dividingBy: Self.hotPerPage)
        return (zone * pagesPerZone + page, Self.pageHeaderSize + index * Self.hotEntrySize)
    }

    @inline(__always)
    public func coldPlace(_ slot: Int) -> (page: Int, offset: Int) {
        let (zone, inZone) = slot.quotientAndRemainder(dividingBy: slotsPerZone)
        let (page, index) = inZone.quotientAndRemainder(dividingBy: coldPerPage)
        return (
            zone * pagesPerZone + hotPagesPerZone + page,
            Self.pageHeaderSize + index * coldEntrySize
        )
    }

    public func isHot(_ page: Int) -> Bool { page % pagesPerZone < hotPagesPerZone }

    /// Allocation group and number within its hot or cold page array.
    public func pageIdentity(_ page: Int) -> (zone: Int, number: Int) {
        let inZone = page % pagesPerZone
        return (page / pagesPerZone, isHot(page) ? inZone : inZone - hotPagesPerZone)
    }

    public func pageOffset(_ page: Int, copy: Int) -> Int {
        let (zone, number) = pageIdentity(page)
        let offsets = isHot(page) ? zones[zone].hotOffsets : zones[zone].coldOffsets
        return offsets[copy] + number * Self.pageSize
    }

    /// Slots whose hot entries lie in a page.
    public func slots(inHotPage page: Int) -> Range<Int> {
        let (zone, number) = pageIdentity(page)
        let first = zone * slotsPerZone
        let end = first + zones[zone].slots
        let low = min(first + number * Self.hotPerPage, end)
        return low..<min(low + Self.hotPerPage, end)
    }

    /// Slots whose cold entries lie in a page.
    public func slots(inColdPage page: Int) -> Range<Int> {
        let (zone, number) = pageIdentity(page)
        let first = zone * slotsPerZone
        let end = first + zones[zone].slots
        let low = min(first + number * coldPerPage, end)
        return low..<min(low + coldPerPage, end)
    }

    /// Whether a page has entries of slots: the last group has pages for as many as a full one.
    func isUsed(_ page: Int) -> Bool {
        let (zone, number) = pageIdentity(page)
        let perPage = isHot(page) ? Self.hotPerPage : coldPerPage
        return number * perPage < zones[zone].slots
    }

    /// Every area of the file, slots included; none shares bytes with another.
    package var regions: [Range<Int>] {
        let stride = Self.superblockStride
        var found = [
            0..<2 * stride, Self.zoneTableOffset..<Self.zoneTableOffset + 2 * Self.zoneTableBytes,
            ringOffset..<ringOffset + ringLength + 2 * stride,
        ]
        for offset in rootOffsets { found.append(offset..<offset + rootCapacity) }
        for zone in zones {
            let hot = hotPagesPerZone * Self.pageSize
            let cold = (pagesPerZone - hotPagesPerZone) * Self.pageSize
            for offset in zone.hotOffsets { found.append(offset..<offset + hot) }
            for offset in zone.coldOffsets { found.append(offset..<offset + cold) }
            found.append(zone.slotsOffset..<zone.slotsOffset + zone.slots * blockSize)
        }
        return found
    }

    public var fileSize: Int {
        zones.reduce(0) { max($0, $1.slotsOffset + $1.slots * blockSize) }
    }

    public var ring: RingGeometry {
        RingGeometry(offset: ringOffset, length: ringLength, granuleSize: granuleSize)
    }

    @inline(__always)
    public func granuleSeedIndex(block: UInt64, granule: Int) -> UInt64 {
        block << 8 | UInt64(granule)
    }
}

/// The wishes a new file is laid out by.
public struct LayoutRequest: Sendable {
    public var blockSize: Int
    public var volumeBlocks: UInt64
    public var slots: Int
    /// Nil: 1/64 of the capacity, within 64 MiB and 2 GiB, at most 1/4 of the capacity.
    public var ringBytes: Int?
    /// Slots of one allocation group. Nil: 64 GiB of them, or 1/512 of the capacity if more.
    public var slotsPerZone: Int?
    /// Tests lay small worlds out without the room a real file leaves.
    public var ringOffset = 1 << 20
    public var slotAlignment: Int?

    public init(blockSize: Int, volumeBlocks: UInt64, slots: Int, ringBytes: Int? = nil) {
        self.blockSize = blockSize
        self.volumeBlocks = volumeBlocks
        self.slots = slots
        self.ringBytes = ringBytes
    }

    /// Lays the file out. Throws `.invalid` for sizes the format cannot hold.
    public func layOut() throws(CacheFileError) -> Geometry {
        guard Geometry.blockSizes.contains(blockSize), blockSize & (blockSize - 1) == 0 else {
            throw CacheFileError(
                .invalid, "block size \(blockSize) is not a power of two from 4k to 64m")
        }
        guard (Geometry.slotsMin...Geometry.slotsMax).contains(slots) else {
            throw CacheFileError(
                .invalid,
                "\(slots) cache blocks; a cache file holds \(Geometry.slotsMin) to \(Geometry.slotsMax)"
            )
        }
        let (capacity, overflow) = slots.multipliedReportingOverflow(by: blockSize)
        guard !overflow, capacity < 1 << 60 else {
            throw CacheFileError(
                .invalid, "\(slots) cache blocks of \(blockSize) bytes are too large")
        }
        let ring = try ringLength(capacity: capacity)
        let perZone = min(
            slots, slotsPerZone ?? max((64 << 30) / blockSize, capacity / 512 / blockSize))
        let zoneCount = (slots + perZone - 1) / perZone
        guard zoneCount <= Geometry.zonesMax else {
            throw CacheFileError(.invalid, "\(zoneCount) allocation groups are too many")
        }
        let granules = blockSize / Geometry.granuleSize(blockSize: blockSize)
        let coldPerPage =
            (Geometry.pageSize - Geometry.pageHeaderSize)
            / Geometry.coldEntry(granules: granules).size
        let hotPages = Geometry.pages(perZone, Geometry.hotPerPage)
        let coldPages = Geometry.pages(perZone, coldPerPage)
        let rootBytes = Self.round(zoneCount * (hotPages + coldPages) * 8, Geometry.pageSize)
        var next = ringOffset + ring + 2 * Geometry.superblockStride
        let rootOffsets = [next, next + rootBytes]
        next += 2 * rootBytes
        var zones: [Zone] = []
        for index in 0..<zoneCount {
            let count = min(perZone, slots - index * perZone)
            let hot = hotPages * Geometry.pageSize
            let cold = coldPages * Geometry.pageSize
            let slotsOffset = Self.round(next + 2 * hot + 2 * cold, slotAlignment ?? 1 << 20)
            zones.append(
                Zone(
                    slotsOffset: slotsOffset, slots: count, hotOffsets: [next, next + hot],
                    coldOffsets: [next + 2 * hot, next + 2 * hot + cold]))
            next = slotsOffset + count * blockSize
        }
        return Geometry(
            blockSize: blockSize, volumeBlocks: volumeBlocks, ringOffset: ringOffset,
            ringLength: ring, rootOffsets: rootOffsets, rootCapacity: rootBytes,
            slotsPerZone: perZone, zones: zones)
    }

    private func ringLength(capacity: Int) throws(CacheFileError) -> Int {
        let granule = Geometry.granuleSize(blockSize: blockSize)
        let smallest = 16 * (granule + 2 * RingFormat.blockSize)
        if let ringBytes {
            guard ringBytes % RingFormat.blockSize == 0, ringBytes >= 64 << 10,
                ringBytes >= 8 * (granule + 2 * RingFormat.blockSize), ringBytes <= 2 << 30,
                ringBytes <= 2 << 20 || ringBytes % Geometry.superblockStride == 0
            else {
                throw CacheFileError(
                    .invalid, "a journal ring of \(ringBytes) bytes is not possible")
            }
            return ringBytes
        }
        let share = min(max(capacity / 64, 64 << 20), 2 << 30)
        return Self.round(max(min(share, capacity / 4), 1 << 20, smallest), 1 << 20)
    }

    static func round(_ value: Int, _ unit: Int) -> Int { (value + unit - 1) / unit * unit }
}
