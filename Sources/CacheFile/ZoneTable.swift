// The zone table: where the allocation groups are. Two copies of 64 KiB; the superblock names the
// valid one and its CRC.
//
//  off  size  field                              an entry, 64 bytes
//    0  u32   magic "S3BZ"                         0  u64  slots offset
//    4  u32   version 1                            8  u32  slots
//    8  u32   count                               12  u32  flags, zero
//   12  u32   CRC, this field taken as zero       16  u64  hot pages, copy 0
//   16  u32   slots of a full group               24  u64  hot pages, copy 1
//   20        zero to 64, then the entries
//                                                 32  u64  cold pages, copy 0
//                                                 40  u64  cold pages, copy 1
//                                                 48       zero to 64

import FileIO

/// What a zone table says.
struct ZonePlaces: Equatable {
    let zones: [Zone]
    let slotsPerZone: Int
}

package enum ZoneTable {
    package static let magic: UInt32 = 0x5a42_3353
    package static let entrySize = 64

    package static func encode(_ zones: [Zone], slotsPerZone: Int, seeds: SeedSpace) -> (
        bytes: AlignedBuffer, crc: UInt32
    ) {
        let buffer = AlignedBuffer.zeroed(Geometry.zoneTableBytes)
        let bytes = buffer.mutableBytes
        bytes.setField(0, magic)
        bytes.setField(4, UInt32(1))
        bytes.setField(8, UInt32(zones.count))
        bytes.setField(16, UInt32(slotsPerZone))
        for (index, zone) in zones.enumerated() {
            let at = (index + 1) * entrySize
            bytes.setField(at, UInt64(zone.slotsOffset))
            bytes.setField(at + 8, UInt32(zone.slots))
            bytes.setField(at + 16, UInt64(zone.hotOffsets[0]))
            bytes.setField(at + 24, UInt64(zone.hotOffsets[1]))
            bytes.setField(at + 32, UInt64(zone.coldOffsets[0]))
            bytes.setField(at + 40, UInt64(zone.coldOffsets[1]))
        }
        let crc = Checksum.crc32c(buffer.bytes, seed: seeds.seed(.zones, 0))
        bytes.setField(12, crc)
        return (buffer, crc)
    }

    package static func offset(copy: Int) -> Int {
        Geometry.zoneTableOffset + copy * Geometry.zoneTableBytes
    }

    /// Reads the geometry that a superblock describes; every value is checked against the file's
    /// size, so nothing later can reach outside it or allocate beyond it.
    package static func readGeometry(
        _ sb: Superblock, _ file: any FileIO, seeds: SeedSpace, findings: inout [Finding],
        _ refusals: Refusals = Refusals(goesOn: false)
    ) throws(CacheFileError) -> Geometry {
        let size = try io { () throws(FileError) in try file.size() }
        let places: ZonePlaces
        do throws(CacheFileError) {
            places = try readZones(sb, file, seeds: seeds, findings: &findings)
        } catch {
            // Its checksum is the superblock's, so it is no guess.
            guard refusals.goesOn, let found = try rebuilt(sb, file, seeds: seeds) else {
                throw error
            }
            refusals.note(error)
            places = found
        }
        guard let blockSize = Int(exactly: sb.blockSize), Geometry.blockSizes.contains(blockSize),
            blockSize & (blockSize - 1) == 0,
            Int(sb.granuleSize) == Geometry.granuleSize(blockSize: blockSize)
        else { throw broken("block size \(sb.blockSize), granule \(sb.granuleSize)") }
        guard let ringOffset = Int(exactly: sb.ringOffset),
            let ringLength = Int(exactly: sb.ringLength),
            ringLength >= 64 << 10, ringLength <= size, ringOffset <= size - ringLength,
            ringOffset % 4096 == 0, ringLength % 4096 == 0,
            ringLength >= 8 * (Int(sb.granuleSize) + 8192)
        else { throw broken("journal at \(sb.ringOffset), \(sb.ringLength) bytes") }
        guard let rootCapacity = Int(exactly: sb.rootCapacity), rootCapacity <= size else {
            throw broken("root capacity \(sb.rootCapacity)")
        }
        var rootOffsets: [Int] = []
        for offset in sb.rootOffsets {
            guard let offset = Int(exactly: offset), offset % 4096 == 0,
                offset <= size - rootCapacity
            else { throw broken("root at \(offset)") }
            rootOffsets.append(offset)
        }
        guard sb.volumeBlocks >= 1, sb.volumeBlocks <= 1 << 32 else {
            throw broken("\(sb.volumeBlocks) volume blocks")
        }
        let geometry = Geometry(
            blockSize: blockSize, volumeBlocks: sb.volumeBlocks, ringOffset: ringOffset,
            ringLength: ringLength, rootOffsets: rootOffsets, rootCapacity: rootCapacity,
            slotsPerZone: places.slotsPerZone, zones: places.zones)
        try check(geometry, sb, size: size, refusals)
        return geometry
    }

    private static func readZones(
        _ sb: Superblock, _ file: any FileIO, seeds: SeedSpace, findings: inout [Finding]
    ) throws(CacheFileError) -> ZonePlaces {
        guard sb.zoneCopy < 2, sb.zoneCount >= 1, sb.zoneCount <= Geometry.zonesMax else {
            throw broken("\(sb.zoneCount) allocation groups, copy \(sb.zoneCopy)")
        }
        var places: ZonePlaces?
        _ = try Mates.find(named: Int(sb.zoneCopy), "ROOT_BAD", "zone table", &findings) {
            copy throws(CacheFileError) in
            let table = try readCopy(copy, file)
            places = table.crc == sb.zoneCRC && table.isIntact(seeds) ? table.places : nil
            return places != nil
        }
        guard let places, places.zones.count == sb.zoneCount else {
            throw CacheFileError(.needsCheck, "ROOT_BAD: the zone table is damaged")
        }
        return places
    }

    /// A copy of the table, damaged or not.
    static func readCopy(_ copy: Int, _ file: any FileIO) throws(CacheFileError) -> Copy {
        let buffer = AlignedBuffer(Geometry.zoneTableBytes)
        try io { () throws(FileError) in
            try file.read(into: buffer.mutableBytes, at: offset(copy: copy), .direct)
        }
        return Copy(buffer)
    }

    /// The bytes of a table, which may be anything.
    struct Copy {
        /// As it says itself; zero in `bytes`.
        let crc: UInt32
        let bytes: AlignedBuffer

        fileprivate init(_ bytes: AlignedBuffer) {
            self.bytes = bytes
            crc = bytes.bytes.field(12)
            bytes.mutableBytes.setField(12, UInt32(0))
        }

        func isIntact(_ seeds: SeedSpace) -> Bool {
            Checksum.crc32c(bytes.bytes, seed: seeds.seed(.zones, 0)) == crc
        }

        /// nil: this is no table.
        var places: ZonePlaces? {
            withExtendedLifetime(bytes) {
                let bytes = bytes.bytes
                let count = Int(bytes.field(8, UInt32.self))
                guard bytes.field(0, UInt32.self) == magic, (1...Geometry.zonesMax).contains(count)
                else { return nil }
                var zones: [Zone] = []
                for index in 1...count {
                    let at = index * entrySize
                    let places = [0, 16, 24, 32, 40].compactMap {
                        Int(exactly: bytes.field(at + $0, UInt64.self))
                    }
                    guard places.count == 5 else { return nil }
                    zones.append(
                        Zone(
                            slotsOffset: places[0], slots: Int(bytes.field(at + 8, UInt32.self)),
                            hotOffsets: [places[1], places[2]],
                            coldOffsets: [places[3], places[4]]))
                }
                // Files made before the size of a group could change do not say it.
                let perZone = Int(bytes.field(16, UInt32.self))
                return ZonePlaces(
                    zones: zones, slotsPerZone: perZone == 0 ? zones[0].slots : perZone)
            }
        }
    }

    private static func check(
        _ geometry: Geometry, _ sb: Superblock, size: Int, _ refusals: Refusals
    ) throws(CacheFileError) {
        let perZone = geometry.slotsPerZone
        guard perZone >= 1 else { throw broken("allocation groups without slots") }
        for (index, zone) in geometry.zones.enumerated() {
            let isLast = index == geometry.zones.count - 1
            guard zone.slots >= 1, isLast ? zone.slots <= perZone : zone.slots == perZone else {
                throw broken("allocation group \(index) has \(zone.slots) slots")
            }
            for place in zone.hotOffsets + zone.coldOffsets {
                guard place % 4096 == 0, place <= size else {
                    throw broken("directory of allocation group \(index)")
                }
            }
            let (bytes, overflow) = zone.slots.multipliedReportingOverflow(by: geometry.blockSize)
            guard !overflow, zone.slotsOffset % 4096 == 0, zone.slotsOffset < 1 << 60 else {
                throw broken("slots of allocation group \(index)")
            }
            if bytes > size || zone.slotsOffset > size - bytes {
                try refusals.refuse(
                    CacheFileError(
                        .needsCheck, "SIZE_SHORT: the file ends inside allocation group \(index)"))
            }
        }
        guard UInt64(geometry.slotCount) == sb.slotCount,
            geometry.slotCount <= Geometry.slotsMax,
            Int(exactly: sb.rootLength) == geometry.pageCount * 8,
            geometry.pageCount * 8 <= geometry.rootCapacity
        else { throw broken("\(sb.slotCount) slots, root of \(sb.rootLength) bytes") }
        // Nothing shares bytes, so what is allocated for the directory is bounded by the file.
        let regions = geometry.regions.sorted { $0.lowerBound < $1.lowerBound }
        for (region, next) in zip(regions, regions.dropFirst()) {
            guard region.upperBound <= next.lowerBound else {
                throw broken("two uses of byte \(next.lowerBound)")
            }
        }
        // Slots that were cut off take no memory; all else is there.
        let cut = refusals.goesOn ? Set(geometry.zones.map(\.slotsOffset)) : []
        guard regions.allSatisfy({ $0.upperBound <= size || cut.contains($0.lowerBound) }) else {
            throw broken("the file ends at \(size)")
        }
    }

    private static func broken(_ what: String) -> CacheFileError {
        CacheFileError(.needsCheck, "SB_COPY_BAD: impossible geometry (\(what))")
    }
}
