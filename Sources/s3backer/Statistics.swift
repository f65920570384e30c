import BlockCache
import FileIO

/// The text of the statistics file: one `name value` line for each number.
///
/// Names and order are those of the real s3backer where the number means the same; `cache_file_`
/// begins ours.
final class Statistics: Sendable {
    private let source: @Sendable () -> VolumeStatistics
    /// Counters as they were at the last reset.
    private let base = Locked<VolumeStatistics?>(nil)

    init(_ source: @escaping @Sendable () -> VolumeStatistics) {
        self.source = source
    }

    /// Sets the counters to zero; gauges stay.
    func reset() {
        let now = source()
        base.withLock { $0 = now }
    }

    /// Length of the text as it is now.
    var count: Int { text().count }

    func text() -> [UInt8] {
        let base = base.withLock { $0 }
        return Array(Self.lines(source(), since: base).utf8)
    }

    static func lines(_ now: VolumeStatistics, since base: VolumeStatistics?) -> String {
        func counter(_ path: KeyPath<VolumeStatistics, Int>) -> Int {
            max(0, now[keyPath: path] - (base?[keyPath: path] ?? 0))
        }
        var text = ""
        func line(_ name: String, _ value: String) {
            text += name + String(repeating: " ", count: max(1, 29 - name.utf8.count))
            text += value + "\n"
        }
        func line(_ name: String, _ value: Int) { line(name, String(value)) }

        let zerosRead = counter(\.zeroBlocksRead)
        line("http_normal_blocks_read", max(0, counter(\.storeGets) - zerosRead))
        line("http_normal_blocks_written", counter(\.storePuts))
        line("http_zero_blocks_read", zerosRead)
        line("http_zero_blocks_written", counter(\.zeroBlocksWritten))
        line("http_gets", counter(\.storeGets))
        line("http_puts", counter(\.storePuts))
        line("http_deletes", counter(\.storeDeletes))
        line("http_other_error", counter(\.storeErrors))
        line("http_canceled_writes", counter(\.storeCanceled))

        line("block_cache_current_size", "\(now.currentSize) blocks")
        line("block_cache_initial_size", "\(now.initialSize) blocks")
        line("block_cache_dirty_ratio", ratio(now.dirtyBlocks, now.cacheSize, digits: 8))
        let readHits = counter(\.readHits)
        let readMisses = counter(\.readMisses)
        line("block_cache_read_hits", readHits)
        line("block_cache_read_misses", readMisses)
        line("block_cache_read_hit_ratio", ratio(readHits, readHits + readMisses, digits: 4))
        let writeHits = counter(\.writeHits)
        let writeMisses = counter(\.writeMisses)
        line("block_cache_write_hits", writeHits)
        line("block_cache_write_misses", writeMisses)
        line("block_cache_write_hit_ratio", ratio(writeHits, writeHits + writeMisses, digits: 4))
        line("block_cache_verified", counter(\.verified))
        line("block_cache_mismatch", counter(\.mismatch))

        line("cache_file_size", "\(now.cacheSize) blocks")
        line("cache_file_dirty_blocks", "\(now.dirtyBlocks) blocks")
        line("cache_file_conflict_blocks", "\(now.conflictBlocks) blocks")
        line("cache_file_dirty_bytes", now.dirtyBytes)
        line("cache_file_oldest_dirty", "\(now.dirty.oldestMs / 1000) sec")
        line("cache_file_upload_speed", "\(now.dirty.bytesPerSecond) bytes/sec")
        line("cache_file_upload_left", now.dirty.secondsLeft.map { "\($0) sec" } ?? "unknown")
        line("cache_file_store_failing", now.dirty.failingMs.map { "\($0 / 1000) sec" } ?? "no")
        line("cache_file_zero_blocks", "\(now.zeroBlocks) blocks")
        line("cache_file_groups", counter(\.groups))
        line("cache_file_flushes", counter(\.flushes))
        line("cache_file_checkpoints", counter(\.checkpoints))
        line("cache_file_destaged_granules", counter(\.destagedGranules))
        line("cache_file_evictions", counter(\.evictions))
        line("cache_file_moves", counter(\.moves))
        line("cache_file_read_ahead", counter(\.readAheadBlocks))
        line("cache_file_read_ahead_dropped", counter(\.readAheadDropped))
        line("cache_file_ring_used", now.ringBytesUsed)
        line("cache_file_ring_size", now.ringBytes)
        line("cache_file_failed", now.isPoisoned ? 1 : 0)
        return text
    }

    /// `part / whole` rounded to `digits` decimals; 0 when there is no whole.
    static func ratio(_ part: Int, _ whole: Int, digits: Int) -> String {
        var unit = 1
        for _ in 0..<digits { unit *= 10 }
        let scaled = whole > 0 ? (Double(part) / Double(whole) * Double(unit)).rounded() : 0
        let value = Int(scaled)
        let fraction = String(value % unit)
        return "\(value / unit)." + String(repeating: "0", count: digits - fraction.count)
            + fraction
    }
}
