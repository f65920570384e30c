import CacheFile
import FileIO
import Glibc
import Journal

/// Opening a file full of cached blocks, against reading the same metadata in order.
enum OpenBench {
    static func run(_ directory: String, slots: Int) throws {
        let path = directory + "/enginebench-\(getpid()).cache"
        defer { unlink(path) }
        let identity = BenchVolume.identity(blockSize: 4096, blocks: slots)
        try CacheFiles.create(
            path, identity: identity, slots: slots, info: BenchVolume.info, ringBytes: 64 << 20)
        try fill(path, identity, slots: slots)
        let clean = try measure(path, slots)
        try fillRing(path, identity)
        let killed = try measure(path, slots)
        print(
            "OPEN slots=\(slots) clean_ms=\(clean.ms) clean_ratio=\(short(clean.ratio))"
                + " killed_ms=\(killed.ms) killed_ratio=\(short(killed.ratio))"
                + " index_bytes_per_slot=\(short(Double(BlockIndex.bytes(slots: slots)) / Double(slots)))"
        )
    }

    /// Recovery in memory, all of opening but for writing the new superblock, so that it can be
    /// done again and again; interleaved with reading what it has to read.
    private static func measure(_ path: String, _ slots: Int) throws -> (ms: Int, ratio: Double) {
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

    /// Makes every slot clean, as fills would, and takes a checkpoint.
    static func fill(_ path: String, _ identity: VolumeIdentity, slots: Int) throws {
        let session = try BenchSession(path, identity)
        for slot in 0..<slots {
            // Scattered, so that the index sees no friendly order.
            let block = UInt64(slot &* 7_368_787 % slots)
            let record = Record.map(
                MapRecord(
                    slot: UInt32(slot), block: block, flags: .fill, base: Base(.text, [1, 2, 3]),
                    granules: .all(1), crcs: [UInt32(truncatingIfNeeded: slot)]))
            if !session.journal.hasRoom(recordBytes: 200, dataBytes: 0, reserved: false) {
                try session.checkpoint()
            }
            try session.append(record)
        }
        try session.checkpoint()
    }

    /// Fills the ring and ends without a checkpoint, as a kill would.
    private static func fillRing(_ path: String, _ identity: VolumeIdentity) throws {
        let session = try BenchSession(path, identity)
        while session.journal.hasRoom(recordBytes: 24, dataBytes: 0, reserved: false) {
            try session.append(.epoch(session.journal.epoch))
            try session.writeGroups()
        }
        try session.flush()
    }

    /// Seconds to read hot and cold pages, root and used ring past the page cache, in order.
    static func readMetadata(_ path: String) throws -> Double {
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
