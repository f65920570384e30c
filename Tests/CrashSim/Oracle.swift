import CacheFile
import FileIO
import Glibc
import Journal

/// What the volume must hold: every 512-byte cell with all contents it had, in LSN order.
///
/// It hears of records through the engine's trace and applies the user's bytes itself. It follows
/// the horizons by watching the disk, not by asking the engine.
package final class Oracle {
    static let cellSize = 512

    private struct Entry {
        var lsn: LSN
        /// Which of `contents`; 0 is zeros.
        var content: Int
    }

    let geometry: Geometry
    private let cellsPerBlock: Int
    private var cells: [[Entry]]
    /// Contents of 512 bytes, one behind the other.
    private var contents: [UInt8]

    // MARK: Horizons

    private(set) var assigned: LSN = 0
    /// Contiguous prefix of what group writes brought to the page cache.
    private(set) var written: LSN = 0
    private(set) var durable: LSN = 0
    private var flushTarget: LSN?
    private var writtenAhead: [LSN: LSN] = [:]
    /// Highest LSN of a write that was acknowledged, and of one that an fsync promised.
    var acknowledged: LSN = 0
    var synced: LSN = 0

    /// Nothing at or below may be missing after a kill.
    var killFloor: LSN { max(written, acknowledged, synced) }
    /// Nothing at or below may be missing after a power cut.
    var cutFloor: LSN { max(durable, synced) }

    init(_ geometry: Geometry) {
        self.geometry = geometry
        cellsPerBlock = geometry.blockSize / Self.cellSize
        contents = [UInt8](repeating: 0, count: Self.cellSize)
        let count = Int(geometry.volumeBlocks) * cellsPerBlock
        cells = Array(repeating: [Entry(lsn: 0, content: 0)], count: count)
    }

    // MARK: Horizons as the disk shows them

    func groupReturned(first: LSN, last: LSN) {
        writtenAhead[first] = last
        while let next = writtenAhead.removeValue(forKey: written + 1) { written = next }
    }

    func flushBegan() { flushTarget = written }

    func flushReturned() {
        durable = max(durable, flushTarget ?? 0)
        flushTarget = nil
    }

    // MARK: Writes

    func noteRecord(_ lsn: LSN) { assigned = max(assigned, lsn) }

    /// The user's bytes, which lie at `offset` of the volume, become content in these granules.
    func apply(_ bytes: [UInt8], at offset: Int, block: UInt64, _ granules: GranuleSet, lsn: LSN) {
        let blockStart = Int(block) * geometry.blockSize
        let size = geometry.granuleSize
        for granule in granules.runs.joined() {
            let low = max(offset, blockStart + granule * size)
            let high = min(offset + bytes.count, blockStart + (granule + 1) * size)
            var position = low
            while position < high {
                let cell = position / Self.cellSize
                let end = min(high, (cell + 1) * Self.cellSize)
                change(cell, position..<end, bytes, at: offset, lsn)
                position = end
            }
        }
    }

    /// Granules of a block become zeros.
    func zero(_ block: UInt64, _ granules: Range<Int>, lsn: LSN) {
        let perGranule = geometry.granuleSize / Self.cellSize
        let first = Int(block) * cellsPerBlock
        for cell in granules.lowerBound * perGranule..<granules.upperBound * perGranule {
            cells[first + cell].append(Entry(lsn: lsn, content: 0))
        }
    }

    private func change(
        _ cell: Int, _ range: Range<Int>, _ bytes: [UInt8], at offset: Int, _ lsn: LSN
    ) {
        let old = cells[cell][cells[cell].count - 1].content
        let start = contents.count
        if range.count == Self.cellSize {
            contents.append(
                contentsOf: bytes[range.lowerBound - offset..<range.upperBound - offset])
        } else {
            contents.append(
                contentsOf: Array(contents[old * Self.cellSize..<(old + 1) * Self.cellSize]))
            for position in range {
                contents[start + position % Self.cellSize] = bytes[position - offset]
            }
        }
        cells[cell].append(Entry(lsn: lsn, content: start / Self.cellSize))
    }

    /// Contents that the store had before the first write.
    func setInitial(_ block: UInt64, _ bytes: [UInt8]) {
        apply(
            bytes, at: Int(block) * geometry.blockSize, block: block,
            .all(geometry.granulesPerBlock), lsn: 0)
    }

    /// The world goes on from what recovery made of it: writes above `lsn` never were.
    func truncate(to lsn: LSN) {
        for cell in cells.indices {
            while cells[cell][cells[cell].count - 1].lsn > lsn { cells[cell].removeLast() }
        }
        assigned = lsn
        written = lsn
        durable = lsn
        acknowledged = lsn
        synced = lsn
        flushTarget = nil
        writtenAhead = [:]
    }

    // MARK: Comparing

    /// First byte, within the block, at which `bytes` differ from the content as of `lsn`.
    func firstDifference(
        _ bytes: UnsafeRawBufferPointer, block: UInt64, at offset: Int, asOf lsn: LSN
    ) -> Int? {
        precondition(offset % Self.cellSize == 0 && bytes.count % Self.cellSize == 0)
        let first = Int(block) * cellsPerBlock + offset / Self.cellSize
        return contents.withUnsafeBytes { known in
            for number in 0..<bytes.count / Self.cellSize {
                let history = cells[first + number]
                var index = history.count - 1
                while history[index].lsn > lsn { index -= 1 }
                let expected = known.baseAddress! + history[index].content * Self.cellSize
                let actual = bytes.baseAddress! + number * Self.cellSize
                if memcmp(expected, actual, Self.cellSize) != 0 {
                    return offset + number * Self.cellSize
                }
            }
            return nil
        }
    }

    /// Whether bytes read at `offset` of the volume are, cell by cell, contents that were current
    /// at some time since `lsn`, by records up to `last`.
    func isPlausible(
        _ bytes: UnsafeRawBufferPointer, at offset: Int, since lsn: LSN, upTo last: LSN = .max
    ) -> Bool {
        var position = offset
        let end = offset + bytes.count
        while position < end {
            let cell = position / Self.cellSize
            let stop = min(end, (cell + 1) * Self.cellSize)
            let part = UnsafeRawBufferPointer(rebasing: bytes[position - offset..<stop - offset])
            if !isPlausible(part, cell, position % Self.cellSize, lsn, last) { return false }
            position = stop
        }
        return true
    }

    private func isPlausible(
        _ part: UnsafeRawBufferPointer, _ cell: Int, _ skip: Int, _ lsn: LSN, _ last: LSN
    ) -> Bool {
        let history = cells[cell]
        return contents.withUnsafeBytes { known in
            var index = history.count - 1
            while index >= 0 {
                let expected = known.baseAddress! + history[index].content * Self.cellSize + skip
                let isKnown = history[index].lsn <= last
                if isKnown, memcmp(expected, part.baseAddress!, part.count) == 0 { return true }
                if history[index].lsn <= lsn { return false }
                index -= 1
            }
            return false
        }
    }

    /// LSNs that changed one cell, for messages.
    func history(block: UInt64, at offset: Int) -> [LSN] {
        cells[Int(block) * cellsPerBlock + offset / Self.cellSize].map(\.lsn)
    }

    /// LSNs whose content of a cell equals `bytes`, for messages.
    func matches(_ bytes: UnsafeRawBufferPointer, block: UInt64, at offset: Int) -> [LSN] {
        cells[Int(block) * cellsPerBlock + offset / Self.cellSize].filter { entry in
            contents.withUnsafeBytes {
                memcmp(
                    $0.baseAddress! + entry.content * Self.cellSize, bytes.baseAddress!,
                    Self.cellSize) == 0
            }
        }.map(\.lsn)
    }
}
