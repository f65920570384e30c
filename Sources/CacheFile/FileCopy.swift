import FileIO
import Journal

/// A cache file written anew: another layout, another UUID, the same content.
package enum FileCopy {
    package struct Outcome {
        package var blocks = 0
        /// Clean blocks with bytes that did not match: left out, the store has them.
        package var dropped = 0
        /// Dirty blocks with bytes that did not match: still not readable.
        package var damaged = 0
    }

    /// Copies everything that a mount would find. Every granule is checked against its old checksum
    /// and gets a new one. When it returns, the new file is complete and durable. Blocks.
    ///
    /// - Parameters:
    ///   - old: of a file that a mount accepts.
    ///   - target: new and empty; the caller removes it when this throws.
    ///   - progress: called with slots done and slots in all.
    package static func run(
        _ old: RecoveredFile, _ source: any FileIO, to target: any FileIO, _ geometry: Geometry,
        fileUUID: [UInt8], progress: (Int, Int) -> Void = { _, _ in }
    ) throws(CacheFileError) -> Outcome {
        precondition(old.refusals.isEmpty && geometry.blockSize == old.geometry.blockSize)
        precondition(geometry.slotCount >= old.geometry.slotCount)
        let image = try FileImage(
            target, geometry, facts: old.superblock, fileUUID: fileUUID,
            nextLSN: old.scan.end.lsn, epoch: old.lastEpoch)
        let reader = BlockReader(old, source)
        let buffer = AlignedBuffer(geometry.blockSize)
        let state = old.state
        var zeros = state.zeros
        var outcome = Outcome()
        for slot in 0..<old.geometry.slotCount where !state.slots.isFree(slot) {
            progress(slot, old.geometry.slotCount)
            let block = state.slots.block(slot)
            let reading = reader.read(block, slot: slot, into: buffer.mutableBytes)
            if !reading.damaged.isEmpty {
                if state.slots.state(slot) == .clean {
                    // Out of its slot the block is what the store has.
                    zeros.remove(block..<block + 1)
                    outcome.dropped += 1
                    continue
                }
                outcome.damaged += 1
            }
            try copy(state, slot, buffer, reading, to: image)
            outcome.blocks += 1
        }
        for (block, patch) in state.patches(before: .max) {
            try image.put(
                patch: patch.granule, of: block, patch.ranges, lsn: patch.lsn,
                payload: patch.payload())
        }
        for extent in zeros.items { try image.put(zeros: extent.blocks, lsn: extent.lsn) }
        for intent in state.intents(before: .max) { try image.put(intent.record) }
        try image.finish()
        return outcome
    }

    private static func copy(
        _ state: CacheState, _ slot: Int, _ buffer: AlignedBuffer, _ reading: BlockReading,
        to image: FileImage
    ) throws(CacheFileError) {
        let block = state.slots.block(slot)
        let granules = state.present(slot: slot)
        try image.put(FileImage.Entry(state, slot), in: slot)
        let size = image.geometry.granuleSize
        for granule in granules.runs.joined() {
            let bytes = buffer.slice(granule * size..<(granule + 1) * size)
            let crc = image.checksum(bytes, block: block, granule: granule)
            // Bytes that nobody can vouch for stay unreadable.
            let isGood = !reading.damaged.contains(granule)
            try image.put(granule, of: slot, crc: isGood ? crc : ~crc, bytes)
        }
    }
}

extension FileImage.Entry {
    /// The entry of a used slot, its overlays counted among what is in the slot.
    package init(_ state: CacheState, _ slot: Int) {
        let slots = state.slots
        self.init(
            block: slots.block(slot), state: slots.state(slot), lsn: slots.lsn(slot),
            dataLSN: slots.dataLSN(slot), epoch: slots.epoch(slot), base: slots.base(slot),
            isZeroBase: slots.isZeroBase(slot), granules: state.present(slot: slot))
    }
}
