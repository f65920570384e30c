// Steps 4 to 6 of recovery: what the ring says, and whether the slots it names hold it.

import FileIO
import Journal

extension Recovery {
    // MARK: Steps 4 and 5: journal

    func scanRing(
        _ sb: Superblock, _ geometry: Geometry, _ seeds: SeedSpace
    ) throws(CacheFileError) -> RingScan {
        let scanner = try scanner(sb, geometry, seeds)
        return try io { () throws(FileError) in try scanner.scan() }
    }

    func scanner(
        _ sb: Superblock, _ geometry: Geometry, _ seeds: SeedSpace
    ) throws(CacheFileError) -> RingScanner {
        let start = RingScanStart(
            tail: sb.tail, session: sb.session, recoveredLSN: sb.recoveredLSN,
            recoveredPosition: sb.recoveredPosition, checkpointLSN: sb.checkpointLSN,
            // A repair wants all that is behind a hole.
            isClean: refusals.depth == nil && sb.state == Superblock.State.clean.rawValue,
            payloadEnd: judged?.end)
        guard sb.tail.position % 4096 == 0, sb.tail.position < UInt64.max / 4, sb.tail.lsn >= 1,
            sb.tail.lsn < UInt64.max / 4
        else { throw CacheFileError(.needsCheck, "SB_COPY_BAD: impossible journal tail") }
        let isJudged = judged != nil
        let isIntact = { (raw: RawRecord, data: UnsafeRawBufferPointer) -> Bool in
            guard let record = Record.decode(raw, geometry) else { return false }
            if isJudged { return true }
            switch record {
            case .data(let item): return Self.isIntact(item, data, geometry, seeds)
            case .patch(let item): return Self.isIntact(item, data, geometry, seeds)
            default: return true
            }
        }
        return try io { () throws(FileError) in
            try RingScanner(
                file: file, offset: geometry.ringOffset, length: geometry.ringLength, seeds: seeds,
                start: start, isPayloadIntact: isIntact)
        }
    }

    private static func isIntact(
        _ item: DataRecord, _ data: UnsafeRawBufferPointer, _ geometry: Geometry, _ seeds: SeedSpace
    ) -> Bool {
        let size = geometry.granuleSize
        let start = Int(item.dataPosition) * RingFormat.blockSize
        guard start + item.crcs.count * size <= data.count else { return false }
        for (number, granule) in item.granules.enumerated() {
            let at = start + number * size
            let bytes = UnsafeRawBufferPointer(rebasing: data[at..<at + size])
            let index = geometry.granuleSeedIndex(block: item.block, granule: granule)
            let crc = Checksum.crc32c(bytes, seed: seeds.seed(.granule, index))
            if crc != item.crcs[number] { return false }
        }
        return true
    }

    private static func isIntact(
        _ item: PatchRecord, _ data: UnsafeRawBufferPointer, _ geometry: Geometry,
        _ seeds: SeedSpace
    ) -> Bool {
        let start = Int(item.dataPosition) * RingFormat.blockSize
        guard start + item.payloadBytes <= data.count else { return false }
        let bytes = UnsafeRawBufferPointer(rebasing: data[start..<start + item.payloadBytes])
        return item.crc == item.checksum(bytes, geometry, seeds)
    }

    // MARK: Step 6: slots named above D

    /// Granules of fills that are not on the medium, by LSN. Cuts the log at the first group above
    /// D that names slot bytes of a write that are not there.
    func verifySlots(
        _ scan: inout RingScan, _ sb: Superblock, _ geometry: Geometry, _ seeds: SeedSpace
    ) throws(CacheFileError) -> [LSN: GranuleSet] {
        if let judged { return judged.badFills }
        var badFills: [LSN: GranuleSet] = [:]
        let fillsDurable = scan.accepted.reduce(sb.checkpointLSN) { max($0, $1.header.durableLSN) }
        for (number, group) in scan.accepted.enumerated() {
            for (index, raw) in group.records.enumerated() {
                guard case .map(let map)? = Record.decode(raw, geometry) else { continue }
                let lsn = group.lsn(of: index)
                let isFill = map.flags.contains(.fill)
                guard isFill ? lsn > fillsDurable : group.header.lastLSN > scan.durable else {
                    continue
                }
                let bad = try badGranules(map, geometry, seeds)
                if bad.isEmpty { continue }
                if isFill {
                    badFills[lsn] = bad
                    continue
                }
                scan.end = RingPoint(
                    position: group.header.position, lsn: group.header.firstLSN,
                    prevGroupCRC: group.header.prevGroupCRC)
                scan.later = scan.accepted[number...].map(\.header) + scan.later
                scan.accepted.removeSubrange(number...)
                if scan.verdict != .hole && scan.verdict != .staleSuperblock {
                    scan.verdict = .tornTail
                }
                return badFills
            }
        }
        return badFills
    }

    func badGranules(
        _ map: MapRecord, _ geometry: Geometry, _ seeds: SeedSpace
    ) throws(CacheFileError) -> GranuleSet {
        guard Int(map.slot) < geometry.slotCount else {
            throw CacheFileError(.needsCheck, "ENT_STATE: MAP names slot \(map.slot)")
        }
        let size = geometry.granuleSize
        let buffer = AlignedBuffer(size)
        var bad = GranuleSet()
        var crcs = map.crcs.makeIterator()
        for run in map.granules.runs {
            for granule in run {
                let offset = geometry.slotOffset(Int(map.slot)) + granule * size
                do throws(FileError) {
                    try file.read(into: buffer.mutableBytes, at: offset, .direct)
                } catch {
                    guard refusals.goesOn else { throw CacheFileError(error) }
                    bad.insert(granule)
                    _ = crcs.next()
                    continue
                }
                let index = geometry.granuleSeedIndex(block: map.block, granule: granule)
                let crc = Checksum.crc32c(buffer.bytes, seed: seeds.seed(.granule, index))
                if crc != crcs.next() { bad.insert(granule) }
            }
        }
        return bad
    }

}
