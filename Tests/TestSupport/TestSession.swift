import CacheFile
import FileIO
import Journal

/// A small world: 8 KiB blocks of two granules, a ring of 96 KiB.
package enum SmallWorld {
    package static let blockSize = 8192
    package static let volumeBlocks: UInt64 = 32

    package static func request(slots: Int = 8) -> LayoutRequest {
        var request = LayoutRequest(
            blockSize: blockSize, volumeBlocks: volumeBlocks, slots: slots, ringBytes: 96 << 10)
        request.ringOffset = 256 << 10
        request.slotAlignment = 4096
        return request
    }

    package static let identity = VolumeIdentity(
        binding: Array(repeating: 0xb1, count: 32), volumeUUID: Array(repeating: 0, count: 16),
        blockSize: blockSize, volumeBlocks: volumeBlocks)

    package static let fileUUID: [UInt8] = [
        0x53, 0x33, 0x42, 0x00, 0x11, 0x22, 0x43, 0x44, 0x85, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb,
        0xcc,
    ]

    package static func info(mounter: String = "pid 4711, /mnt/volume") -> SessionInfo {
        SessionInfo(
            creator: "s3backer 0.1.0", mounter: mounter, host: "testhost",
            bootID: Array(repeating: 7, count: 16), mountedAt: 1_767_225_600)
    }

    /// A new file in memory.
    package static func make(slots: Int = 8) throws -> MemoryFile {
        let file = MemoryFile([])
        try format(file, slots: slots)
        return file
    }

    package static func format(_ file: any FileIO, slots: Int = 8) throws {
        try Creation.format(
            file, geometry: request(slots: slots).layOut(), identity: identity, info: info(),
            fileUUID: fileUUID)
    }
}

/// A session driven by hand, one call after the other: what an engine would do with a cache file,
/// without its threads.
package final class TestSession {
    package let file: any FileIO
    package let cache: OpenedCache
    package var journal: Journal
    package var state: CacheState { cache.state }
    package var geometry: Geometry { state.geometry }

    package init(_ file: any FileIO) throws {
        self.file = file
        cache = try SessionStart.open(
            file, identity: SmallWorld.identity, info: SmallWorld.info())
        journal = cache.makeJournal()
    }

    // MARK: Content

    /// Bytes that depend on block, granule and version only.
    package static func content(_ block: UInt64, _ granule: Int, _ version: Int, _ size: Int)
        -> [UInt8]
    {
        (0..<size).map {
            UInt8(
                truncatingIfNeeded: Int(block) * 31 + granule * 17 + version * 101 + $0 &* 7 + $0
                    >> 8)
        }
    }

    private func granuleImage(_ block: UInt64, _ granule: Int, _ version: Int) -> AlignedBuffer {
        let buffer = AlignedBuffer(geometry.granuleSize)
        buffer.mutableBytes.setBytes(
            0, Self.content(block, granule, version, geometry.granuleSize))
        return buffer
    }

    private func crc(_ image: AlignedBuffer, _ block: UInt64, _ granule: Int) -> UInt32 {
        let index = geometry.granuleSeedIndex(block: block, granule: granule)
        return Checksum.crc32c(image.bytes, seed: cache.seeds.seed(.granule, index))
    }

    private var freeSlot: Int? {
        (0..<geometry.slotCount).first {
            state.slots.isFree($0) && state.reuseLSN($0) <= journal.sealed
        }
    }

    // MARK: Operations

    /// Writes whole granules into a new slot: MAP, as a user's write or as a fill.
    package func map(
        _ block: UInt64, granules: Range<Int>? = nil, version: Int, fill: Bool = false,
        zeroBase: Bool = false
    ) throws {
        guard let slot = freeSlot else { preconditionFailure("no free slot") }
        let range = granules ?? 0..<geometry.granulesPerBlock
        let crcs = try write(block, range, slot, version)
        var flags: MapRecord.Flags = fill ? .fill : []
        if zeroBase { flags.insert(.zeroBase) }
        let old = state.slot(of: block).map { UInt32($0) } ?? Record.noSlot
        append(
            .map(
                MapRecord(
                    slot: UInt32(slot), block: block, flags: flags, oldSlot: old,
                    base: fill ? Base(.md5, Array(repeating: 9, count: 16)) : .unknown,
                    granules: GranuleSet(range), crcs: crcs)))
    }

    /// Adds granules to the slot of a block.
    package func extend(_ block: UInt64, granules: Range<Int>, version: Int, fill: Bool = false)
        throws
    {
        let slot = Int(slot(of: block))
        let crcs = try write(block, granules, slot, version)
        append(
            .map(
                MapRecord(
                    slot: UInt32(slot), block: block,
                    flags: fill ? [.extend, .fill] : [.extend, .keepBase],
                    granules: GranuleSet(granules), crcs: crcs)))
    }

    private func write(
        _ block: UInt64, _ granules: Range<Int>, _ slot: Int, _ version: Int
    ) throws -> [UInt32] {
        try granules.map { granule in
            let image = granuleImage(block, granule, version)
            let offset = geometry.slotOffset(slot) + granule * geometry.granuleSize
            try file.write(image.bytes, at: offset, .direct)
            return crc(image, block, granule)
        }
    }

    /// Overwrites one granule of a block that has a slot: DATA.
    package func overwrite(_ block: UInt64, granule: Int, version: Int) {
        let slot = Int(slot(of: block))
        let image = granuleImage(block, granule, version)
        var item = DataRecord(
            slot: UInt32(slot), block: block, firstGranule: granule,
            crcs: [crc(image, block, granule)], dataPosition: 0)
        let size = Record.data(item).encode(geometry).encodedSize
        item.dataPosition = journal.nextDataIndex(
            recordBytes: size, dataBytes: geometry.granuleSize)
        append(.data(item), [DataPiece(image, 0..<geometry.granuleSize)])
    }

    package func slot(of block: UInt64) -> UInt32 {
        guard let slot = state.slot(of: block) else { preconditionFailure("block is in no slot") }
        return UInt32(slot)
    }

    package func clean(_ block: UInt64) {
        let slot = Int(slot(of: block))
        append(
            .clean(
                CleanRecord(
                    slot: UInt32(slot), block: block, asOf: state.slots.dataLSN(slot),
                    base: Base(.md5, Array(repeating: 5, count: 16)))))
    }

    package func evict(_ block: UInt64, granules: GranuleSet? = nil) {
        let slot = Int(slot(of: block))
        append(.evict(EvictRecord(slot: UInt32(slot), block: block, granules: granules)))
    }

    /// Writes bytes of a granule of which the rest is not here: PATCH.
    package func patch(
        _ block: UInt64, granule: Int, _ range: Range<Int>, version: Int, carriedLSN: LSN = 0
    ) {
        let slot = Int(slot(of: block))
        let padded = (range.count + RingFormat.blockSize - 1) & ~(RingFormat.blockSize - 1)
        let payload = AlignedBuffer.zeroed(padded)
        payload.mutableBytes.setBytes(0, Self.content(block, granule, version, range.count))
        var item = PatchRecord(
            slot: UInt32(slot), block: block, granule: granule, ranges: [range], crc: 0,
            carriedLSN: carriedLSN)
        item.crc = item.checksum(payload.slice(0..<range.count), geometry, cache.seeds)
        item.dataPosition = journal.nextDataIndex(
            recordBytes: Record.patch(item).encodedSize(geometry), dataBytes: padded)
        append(.patch(item), [DataPiece(payload, 0..<padded)], payload: payload.bytes)
    }

    /// Announces an upload of what the block is now; nil for its deletion.
    package func intend(_ block: UInt64, digest: [UInt8]?) {
        let slot = Int(slot(of: block))
        append(
            .intent(
                IntentRecord(
                    slot: UInt32(slot), block: block, asOf: state.slots.dataLSN(slot),
                    base: state.slots.base(slot), digest: digest)))
    }

    /// Appends any record, true to the state or not.
    package func append(
        _ record: Record, _ data: [DataPiece] = [], payload: UnsafeRawBufferPointer? = nil
    ) {
        let (lsn, group, dataIndex) = journal.append(record.encode(geometry), data: data)
        do {
            try state.apply(
                record, lsn: lsn, epoch: journal.epoch, group: group, dataIndex: dataIndex,
                payload: payload)
        } catch {
            preconditionFailure(error.what)
        }
    }

    // MARK: Steps

    /// Writes every group gathered so far.
    package func write() throws {
        while journal.hasUnwritten {
            guard let group = journal.nextWrite() else { return }
            try file.write(group.imagePieces, at: journal.offset(of: group), .direct)
            journal.writeReturned(group)
        }
    }

    package func flush() throws {
        _ = journal.beginFlush()
        try file.flush()
        journal.flushReturned()
    }

    /// An fsync of the user.
    package func commit() throws {
        append(.epoch(journal.epoch))
        journal.closeOpen()
        journal.epoch += 1
        try write()
        try flush()
    }

    /// Lets the medium know what is durable.
    package func seal() throws {
        if journal.appendSeal() {
            try write()
            try flush()
        }
    }

    /// Copies an overlaid granule into its slot, as a destage does.
    package func destage(_ block: UInt64, granule: Int, version: Int) throws {
        let slot = Int(slot(of: block))
        let overlays = state.destageable(block, upTo: journal.sealed)
        guard let overlay = overlays.first(where: { $0.granule == granule }) else {
            preconditionFailure("nothing to destage")
        }
        let crcs = try write(block, granule..<granule + 1, slot, version)
        precondition(overlay.crc.map { crcs == [$0] } ?? true)
        state.destaged(
            slot: slot, block: block, granule: granule, lsn: overlay.lsn, crc: crcs[0])
    }

    package func checkpoint(clean: Bool = false) throws {
        try write()
        let plan = cache.checkpointer.begin(
            state, lsn: journal.assigned, tail: tailPoint, epoch: journal.epoch)
        for write in plan.writes { try file.write(write.buffer.bytes, at: write.offset, .cached) }
        try flush()
        let sb = cache.checkpointer.superblock(
            for: plan, cleanEnd: clean ? journal.nextPoint : nil)
        for write in cache.checkpointer.writes(sb) {
            try file.write(write.buffer.bytes, at: write.offset, .cached)
        }
        try flush()
        cache.checkpointer.finish(plan, sb, state)
        journal.superblockDurable(vouchingFor: plan.lsn)
        journal.setLimit(plan.tail.position)
    }

    /// Gives the file more slots, with the checkpoint that names them.
    package func grow(slots: Int) throws {
        let next = try geometry.resized(to: slots)
        try file.reserve(next.fileSize - geometry.fileSize, at: geometry.fileSize)
        let added = (geometry.zones.count..<next.zones.count).map { _ in GroupPages(next) }
        state.resize(to: next, adding: added)
        try checkpoint()
    }

    private var tailPoint: RingPoint {
        journal.closeOpen()
        return state.oldestNeeded().flatMap { journal.point(at: $0) } ?? journal.nextPoint
    }
}
