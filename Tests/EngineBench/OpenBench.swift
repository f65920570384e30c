import CacheFile
import FileIO
import Glibc
import Journal

/// Opening a file with a million cached blocks, against reading the same metadata in order.
enum OpenBench {
    static let slots = 1_000_000

    static func run(_ directory: String) throws {
        let path = directory + "/enginebench-\(getpid()).cache"
        defer { unlink(path) }
        let identity = BenchVolume.identity(blockSize: 4096, blocks: slots)
        try CacheFiles.create(
            path, identity: identity, slots: slots, info: BenchVolume.info, ringBytes: 64 << 20)
        try fill(path, identity, isClean: true)
        let clean = try measure(path)
        try fill(path, identity, isClean: false)
        let killed = try measure(path)
        print(
            "OPEN slots=\(slots) clean_ms=\(clean.ms) clean_ratio=\(short(clean.ratio))"
                + " killed_ms=\(killed.ms) killed_ratio=\(short(killed.ratio))"
                + " index_bytes_per_slot=\(short(Double(indexBytes) / Double(slots)))")
    }

    /// Recovery in memory, all of opening but for writing the new superblock, so that it can be
    /// done again and again; interleaved with reading what it has to read.
    private static func measure(_ path: String) throws -> (ms: Int, ratio: Double) {
        var ratios: [Double] = []
        var opens: [Double] = []
        for _ in 0..<5 {
            let read = try readMetadata(path)
            let begun = seconds()
            let found = try CacheFiles.inspect(path)
            let took = seconds() - begun
            precondition(found.cleanBlocks == slots)
            opens.append(took)
            ratios.append(took / read)
        }
        return (Int(median(opens) * 1000), median(ratios))
    }

    /// Table of slot numbers, at the capacity for this many slots.
    private static var indexBytes: Int { BlockIndex.bytes(slots: slots) }

    /// Makes every slot clean, as fills would, and takes a checkpoint; or fills the ring and ends
    /// without one, as a kill would.
    private static func fill(_ path: String, _ identity: VolumeIdentity, isClean: Bool) throws {
        let cache = try CacheFiles.open(path, identity: identity, info: BenchVolume.info)
        var journal = cache.makeJournal()
        let file = cache.file
        let all = GranuleSet.all(1)
        func commit() throws {
            while let group = journal.nextWrite() {
                try file.write(group.imagePieces, at: journal.offset(of: group), .cached)
                journal.writeReturned(group)
            }
            _ = journal.beginFlush()
            try file.flush()
            journal.flushReturned()
        }
        func checkpoint() throws {
            journal.closeOpen()
            try commit()
            let tail = journal.nextPoint
            let plan = cache.checkpointer.begin(
                cache.state, lsn: journal.assigned, tail: tail, epoch: journal.epoch)
            for write in plan.writes {
                try file.write(write.buffer.bytes, at: write.offset, .cached)
            }
            try file.flush()
            let sb = cache.checkpointer.superblock(for: plan, cleanEnd: journal.nextPoint)
            for write in cache.checkpointer.writes(sb) {
                try file.write(write.buffer.bytes, at: write.offset, .cached)
            }
            try file.flush()
            cache.checkpointer.finish(plan, sb, cache.state)
            journal.superblockDurable(vouchingFor: plan.lsn)
            journal.setLimit(tail.position)
        }
        if !isClean {
            while journal.hasRoom(recordBytes: 24, dataBytes: 0, reserved: false) {
                _ = journal.append(Record.epoch(journal.epoch).encode(cache.geometry))
                journal.closeOpen()
                try commit()
            }
            return
        }
        for slot in 0..<slots {
            // Scattered, so that the index sees no friendly order.
            let block = UInt64(slot &* 7_368_787 % slots)
            let record = Record.map(
                MapRecord(
                    slot: UInt32(slot), block: block, flags: .fill, base: Base(.text, [1, 2, 3]),
                    granules: all, crcs: [UInt32(truncatingIfNeeded: slot)]))
            if !journal.hasRoom(recordBytes: 200, dataBytes: 0, reserved: false) {
                try checkpoint()
            }
            let (lsn, group, index) = journal.append(record.encode(cache.geometry))
            try cache.state.apply(
                record, lsn: lsn, epoch: journal.epoch, group: group, dataIndex: index)
        }
        try checkpoint()
    }

    /// Seconds to read hot and cold pages, root and used ring past the page cache, in order.
    private static func readMetadata(_ path: String) throws -> Double {
        let found = try CacheFiles.inspect(path)
        let geometry = found.geometry
        let file = try PosixFile.open(path, readOnly: true)
        let window = AlignedBuffer(1 << 20)
        let zone = geometry.zones[0]
        let begun = seconds()
        for range in [
            zone.hotOffsets[0]..<zone.hotOffsets[1], zone.coldOffsets[0]..<zone.coldOffsets[1],
            geometry.rootOffsets[0]..<geometry.rootOffsets[1],
            geometry.ringOffset..<geometry.ringOffset + found.ringBytesUsed,
        ] {
            var at = range.lowerBound
            while at < range.upperBound {
                let count = min(window.count, range.upperBound - at)
                try file.read(into: window.mutableSlice(0..<count), at: at, .direct)
                at += count
            }
        }
        return seconds() - begun
    }
}
