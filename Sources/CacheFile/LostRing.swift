// Where the journal of a file without superblocks is, and where replay of it begins.

import FileIO
import Journal

/// A ring found by its groups: each one says at which position of the ring it is.
struct LostRing {
    let range: Range<Int>
    /// In the order of their positions.
    private let groups: [GroupHeader]

    private struct Found {
        let offset: Int
        let header: GroupHeader
    }

    /// Blocks: reads everything before the first allocation group.
    static func find(
        _ layout: Geometry, _ seeds: SeedSpace, _ root: LostRoot, _ reader: WindowedReader
    ) throws(CacheFileError) -> LostRing? {
        let end = layout.zones[0].hotOffsets[0]
        let found = groups(before: end, seeds, reader)
        let granule = layout.granuleSize
        // Roots in front of the first group were made for as many groups as the file had then.
        var capacities: [Int] = []
        for groups in 1...Geometry.zonesMax {
            let capacity = LayoutRequest.round(
                groups * layout.pagesPerZone * RootTable.entrySize, Geometry.pageSize)
            if capacities.last != capacity { capacities.append(capacity) }
        }
        for capacity in capacities {
            let rootStart = end - 2 * capacity
            guard root.fits(areaStart: rootStart, capacity: capacity) else { continue }
            let ringEnd = rootStart - 2 * Geometry.superblockStride
            for start in [1 << 20] + Array(stride(from: firstStart, to: 1 << 20, by: 4096)) {
                let length = ringEnd - start
                guard length >= max(64 << 10, 8 * (granule + 2 * RingFormat.blockSize)),
                    length <= 2 << 30,
                    found.allSatisfy({
                        Int($0.header.position % UInt64(length)) == $0.offset - start
                    })
                else { continue }
                return LostRing(
                    range: start..<ringEnd,
                    groups: found.map(\.header).sorted { $0.position < $1.position })
            }
        }
        return nil
    }

    /// The first place that a ring can have: behind the zone tables.
    private static let firstStart = ZoneTable.offset(copy: 2)

    private static func groups(
        before end: Int, _ seeds: SeedSpace, _ reader: WindowedReader
    ) -> [Found] {
        stride(from: firstStart, to: end, by: RingFormat.blockSize).compactMap { offset in
            guard let block = reader.page(at: offset),
                let header = withExtendedLifetime(
                    block, { GroupHeader.decode(block.bytes, ringLength: 1 << 62) }),
                header.headerBlocks * RingFormat.blockSize <= end - offset
            else { return nil }
            let blocks = AlignedBuffer(header.headerBlocks * RingFormat.blockSize)
            return withExtendedLifetime(blocks) {
                do throws(FileError) {
                    try reader.read(into: blocks.mutableBytes, at: offset)
                } catch { return nil }
                return header.isIntact(blocks.mutableBytes, seeds: seeds)
                    ? Found(offset: offset, header: header) : nil
            }
        }
    }

    // MARK: Log

    /// Has a superblock with a checkpoint name the unbroken run of groups that leads up to the
    /// checkpoint and on from there: to begin earlier than necessary says nothing else.
    ///
    /// - Returns: false when the run is not there, so that what followed the checkpoint is lost.
    func setLog(_ sb: inout Superblock) -> Bool {
        let next = sb.checkpointLSN + 1
        var run: [GroupHeader] = []
        for header in groups {
            if let last = run.last, !Self.follows(header, last) {
                if last.lastLSN >= sb.checkpointLSN { break }
                run = []
            }
            run.append(header)
        }
        guard let first = run.first, let last = run.last else {
            // Nothing was ever written to the ring.
            sb.tail = RingPoint(position: 0, lsn: next, prevGroupCRC: 0)
            sb.recoveredLSN = sb.checkpointLSN
            return sb.checkpointLSN == 0
        }
        guard first.firstLSN <= next, last.lastLSN >= sb.checkpointLSN else { return false }
        sb.tail = Self.point(before: first)
        sb.session = groups.reduce(0) { max($0, $1.session) }
        let session =
            run.first { $0.session == sb.session }.map(Self.point)
            ?? RingPoint(
                position: last.position + UInt64(last.byteCount), lsn: last.lastLSN + 1,
                prevGroupCRC: last.headerCRC)
        sb.recoveredPosition = session.position
        sb.recoveredLSN = session.lsn - 1
        sb.recoveredCRC = session.prevGroupCRC
        sb.openEpoch = groups.reduce(1) { max($0, $1.epoch) }
        return true
    }

    private static func follows(_ header: GroupHeader, _ last: GroupHeader) -> Bool {
        header.position == last.position + UInt64(last.byteCount)
            && header.firstLSN == last.lastLSN + 1 && header.prevGroupCRC == last.headerCRC
    }

    private static func point(before header: GroupHeader) -> RingPoint {
        RingPoint(
            position: header.position, lsn: header.firstLSN, prevGroupCRC: header.prevGroupCRC)
    }
}
