import FileIO
import Journal

/// A new cache file that is to hold a given state: entries and bytes of slots, and what of the
/// journal is not in slots. It is no cache file before `finish`, which writes the superblocks last.
///
/// Not thread-safe. Throws `.invalid` for what contradicts itself, so what is put may be untrusted.
package final class FileImage {
    package let geometry: Geometry
    package let seeds: SeedSpace
    package let state: CacheState
    private let file: any FileIO
    private var journal: Journal
    private let checkpointer: Checkpointer
    /// Behind every LSN that is put.
    private let nextLSN: LSN

    /// What a directory entry says, overlays included: their bytes go into the slot.
    package struct Entry {
        package var block: UInt64
        package var state: SlotState
        package var lsn: LSN
        package var dataLSN: LSN
        package var epoch: UInt64
        package var base: Base
        package var isZeroBase: Bool
        package var granules: GranuleSet

        package init(
            block: UInt64, state: SlotState, lsn: LSN, dataLSN: LSN, epoch: UInt64, base: Base,
            isZeroBase: Bool, granules: GranuleSet
        ) {
            self.block = block
            self.state = state
            self.lsn = lsn
            self.dataLSN = dataLSN
            self.epoch = epoch
            self.base = base
            self.isZeroBase = isZeroBase
            self.granules = granules
        }
    }

    /// Reserves all space and writes the ring. Blocks.
    ///
    /// - Parameters:
    ///   - file: new and empty; the caller removes it when anything throws.
    ///   - facts: of the volume and of the last session. The mount token is left out: the file it
    ///     was taken from still has it, and only one of the two can be what the bucket knows.
    ///   - fileUUID: of the new file.
    ///   - nextLSN: above all that will be put.
    package init(
        _ file: any FileIO, _ geometry: Geometry, facts: Superblock, fileUUID: [UInt8],
        nextLSN: LSN, epoch: UInt64
    ) throws(CacheFileError) {
        guard nextLSN >= 1, nextLSN < UInt64.max / 4, epoch < UInt64.max / 4 else {
            throw CacheFileError(.invalid, "LSN \(nextLSN) or epoch \(epoch)")
        }
        self.file = file
        self.geometry = geometry
        self.nextLSN = nextLSN
        let seeds = SeedSpace(fileUUID: fileUUID)
        self.seeds = seeds
        try Creation.reserve(file, geometry)
        let (zones, crc) = ZoneTable.encode(
            geometry.zones, slotsPerZone: geometry.slotsPerZone, seeds: seeds)
        try io { () throws(FileError) in
            for copy in 0..<2 {
                try file.write(zones.bytes, at: ZoneTable.offset(copy: copy), .cached)
            }
        }
        let root = RootTable(pageCount: geometry.pageCount)
        var sb = Superblock(
            fileUUID: fileUUID, volumeUUID: facts.volumeUUID, binding: facts.binding,
            geometry: geometry)
        sb.generation = facts.generation
        sb.session = max(1, facts.session)
        sb.zoneCRC = crc
        sb.rootCRC = root.encode(seeds: seeds).crc
        sb.tail = RingPoint(position: 0, lsn: nextLSN, prevGroupCRC: 0)
        sb.recoveredLSN = nextLSN - 1
        sb.openEpoch = epoch
        sb.uploadedEpoch = facts.uploadedEpoch
        sb.creator = facts.creator
        sb.mounter = facts.mounter
        sb.host = facts.host
        sb.bootID = facts.bootID
        sb.createdAt = facts.createdAt
        sb.mountedAt = facts.mountedAt
        state = CacheState(slots: SlotTable(geometry: geometry, seeds: seeds))
        checkpointer = Checkpointer(geometry: geometry, seeds: seeds, superblock: sb, root: root)
        journal = Journal(
            geometry: geometry.ring, session: sb.session, seeds: seeds, epoch: epoch, end: sb.tail,
            tail: 0, starts: [])
    }

    private func refuse(_ what: String) -> CacheFileError { CacheFileError(.invalid, what) }

    // MARK: Slots

    /// Puts a block into a free slot. Its checksums and bytes come next.
    package func put(_ entry: Entry, in slot: Int) throws(CacheFileError) {
        guard slot < geometry.slotCount, state.slots.isFree(slot) else {
            throw refuse("slot \(slot) is not free, or there is none")
        }
        guard entry.block < geometry.volumeBlocks, state.slot(of: entry.block) == nil else {
            throw refuse("block \(entry.block) is in two slots, or there is none")
        }
        guard [.clean, .dirty, .conflict].contains(entry.state), entry.lsn < nextLSN,
            entry.dataLSN < nextLSN,
            GranuleSet.all(geometry.granulesPerBlock).isSuperset(of: entry.granules)
        else { throw refuse("the entry of slot \(slot)") }
        state.adopt(entry, slot: slot)
    }

    /// Gives a granule of a slot its checksum and its bytes.
    /// - Parameter bytes: nil: it has none, and what is read there will not be taken for it.
    package func put(
        _ granule: Int, of slot: Int, crc: UInt32, _ bytes: UnsafeRawBufferPointer?
    ) throws(CacheFileError) {
        state.slots.setCRC(slot, granule, crc)
        guard let bytes else { return }
        let offset = geometry.slotOffset(slot) + granule * geometry.granuleSize
        try io { () throws(FileError) in try file.write(bytes, at: offset, .cached) }
    }

    /// The checksum that bytes have here.
    package func checksum(
        _ bytes: UnsafeRawBufferPointer, block: UInt64, granule: Int
    ) -> UInt32 {
        let index = geometry.granuleSeedIndex(block: block, granule: granule)
        return Checksum.crc32c(bytes, seed: seeds.seed(.granule, index))
    }

    /// Makes reads of a granule fail: some of its bytes are lost, and nothing may take their place.
    package func lose(_ granule: Int, of slot: Int) {
        let zeros = AlignedBuffer.zeroed(geometry.granuleSize)
        let crc = checksum(zeros.bytes, block: state.slots.block(slot), granule: granule)
        extendLifetime(zeros)
        var valid = state.slots.valid(slot)
        // What may be there fits the checksum that is there.
        if valid.contains(granule) {
            state.slots.setCRC(slot, granule, ~state.slots.crc(slot, granule))
        } else {
            valid.insert(granule)
            state.slots.setCRC(slot, granule, ~crc)
            state.slots.setValid(slot, valid)
        }
    }

    // MARK: Journal

    package func put(
        patch granule: Int, of block: UInt64, _ ranges: [Range<Int>], lsn: LSN,
        payload: AlignedBuffer
    ) throws(CacheFileError) {
        let slot = try slotOfDirty(block, "a patch")
        let bytes = ranges.reduce(0) { $0 + $1.count }
        guard granule < geometry.granulesPerBlock, lsn >= 1, lsn < nextLSN,
            state.patch(block, granule) == nil, payload.count >= bytes, bytes > 0,
            ranges.allSatisfy({ $0.lowerBound >= 0 && $0.upperBound <= geometry.granuleSize }),
            zip(ranges, ranges.dropFirst()).allSatisfy({ $0.upperBound < $1.lowerBound })
        else { throw refuse("the patch of block \(block)") }
        var record = PatchRecord(
            slot: UInt32(slot), block: block, granule: granule, ranges: ranges, crc: 0,
            carriedLSN: lsn)
        record.crc = record.checksum(payload.slice(0..<bytes), geometry, seeds)
        let size = Record.patch(record).encodedSize(geometry)
        record.dataPosition = journal.nextDataIndex(recordBytes: size, dataBytes: payload.count)
        try append(.patch(record), [DataPiece(payload, 0..<payload.count)], payload.bytes)
    }

    package func put(_ intent: IntentRecord) throws(CacheFileError) {
        let slot = try slotOfDirty(intent.block, "an upload")
        guard intent.asOf >= 1, intent.asOf < nextLSN,
            state.intents(of: intent.block).count < CacheState.intentsPerBlock
        else { throw refuse("the upload of block \(intent.block)") }
        var record = intent
        record.slot = UInt32(slot)
        record.isCarried = true
        try append(.intent(record))
    }

    package func put(zeros blocks: Range<UInt64>, lsn: LSN) throws(CacheFileError) {
        guard !blocks.isEmpty, blocks.upperBound <= geometry.volumeBlocks, lsn >= 1, lsn < nextLSN,
            !state.zeros.touches(blocks)
        else { throw refuse("trimmed blocks from \(blocks.lowerBound)") }
        try append(.zeroRange(ZeroRangeRecord(blocks: blocks, carriedLSN: lsn)))
    }

    private func slotOfDirty(_ block: UInt64, _ what: String) throws(CacheFileError) -> Int {
        guard let slot = state.slot(of: block), state.slots.state(slot) != .clean else {
            throw refuse("\(what) of block \(block), which is not dirty")
        }
        return slot
    }

    private func append(
        _ record: Record, _ data: [DataPiece] = [], _ payload: UnsafeRawBufferPointer? = nil
    ) throws(CacheFileError) {
        let bytes = data.reduce(0) { $0 + $1.range.count }
        let size = record.encodedSize(geometry)
        guard journal.hasRoom(recordBytes: size, dataBytes: bytes, reserved: true) else {
            throw refuse("the journal ring is too small for what is not in slots")
        }
        let (lsn, group, dataIndex) = journal.append(record.encode(geometry), data: data)
        do throws(ContradictionError) {
            try state.apply(
                record, lsn: lsn, epoch: journal.epoch, group: group, dataIndex: dataIndex,
                payload: payload)
        } catch {
            throw refuse(error.what)
        }
        // No more than a group stays in memory.
        if journal.hasClosed { try writeGroups() }
    }

    private func writeGroups() throws(CacheFileError) {
        try io { () throws(FileError) in
            while journal.hasClosed, let group = journal.nextWrite() {
                try file.write(group.imagePieces, at: journal.offset(of: group), .cached)
                journal.writeReturned(group)
            }
        }
    }

    // MARK: End

    /// Writes the rest; when it returns, everything is durable and the file is one that a mount
    /// accepts, with both copies of everything. Blocks.
    package func finish() throws(CacheFileError) {
        journal.closeOpen()
        try writeGroups()
        try io { () throws(FileError) in
            _ = journal.beginFlush()
            try file.flushAll()
            journal.flushReturned()
            // The second one writes the other copies.
            for _ in 0..<2 {
                let end = journal.nextPoint
                let tail = state.oldestNeeded().flatMap { journal.point(at: $0) } ?? end
                try checkpointer.take(
                    state, lsn: journal.assigned, tail: tail, epoch: journal.epoch, cleanEnd: end,
                    in: file)
            }
            try file.flushAll()
        }
    }
}

extension CacheState {
    /// Puts a block into a free slot, as an entry that was read would be.
    fileprivate func adopt(_ entry: FileImage.Entry, slot: Int) {
        slots.setBlock(slot, entry.block)
        slots.setLSN(slot, entry.lsn)
        slots.setDataLSN(slot, entry.dataLSN)
        slots.setEpoch(slot, entry.epoch)
        slots.setState(slot, entry.state)
        slots.setBase(slot, entry.base)
        slots.setZeroBase(slot, entry.isZeroBase)
        slots.setValid(slot, entry.granules)
        index.insert(entry.block, slot: slot)
        count(entry.state, 1)
        countRegion(of: entry.block, 1)
    }
}
