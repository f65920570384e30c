import FileIO
import Journal

/// Which blocks' bytes a check reads and compares with their checksums.
public enum DataDepth: String, Sendable, CaseIterable {
    case none
    /// Dirty blocks: of these the file may be the only copy.
    case dirty
    case all
}

/// What reading the bytes found.
public struct DataReport: Sendable {
    public internal(set) var checkedBytes = 0
    public internal(set) var damagedDirtyBlocks = 0
    public internal(set) var damagedCleanBlocks = 0
}

/// Phase 6 of a check: every granule that a mount would serve from the file, read past the page
/// cache and compared with its checksum. docs/format.md, "Findings".
struct DataCheck {
    /// Slots that lie side by side are read together, up to this many bytes.
    private static let windowBytes = 4 << 20
    /// More damaged blocks than this are counted and not named.
    private static let namedMax = 100

    private let state: CacheState
    private let file: any FileIO
    private let seeds: SeedSpace
    private let progress: (Int, Int) -> Void
    private let slots: [Int]
    private let buffer: AlignedBuffer

    private(set) var report = DataReport()
    private(set) var findings: [Finding] = []

    /// - Parameter progress: slots done, slots in all; called for each piece read.
    init(
        _ recovered: RecoveredFile, _ file: any FileIO, _ depth: DataDepth,
        progress: @escaping (Int, Int) -> Void
    ) {
        state = recovered.state
        seeds = recovered.seeds
        self.file = file
        self.progress = progress
        let state = recovered.state
        slots = (0..<state.geometry.slotCount).filter {
            switch state.slots.state($0) {
            case .dirty, .conflict: depth != .none
            case .clean: depth == .all
            default: false
            }
        }
        buffer = AlignedBuffer(max(Self.windowBytes, state.geometry.blockSize))
    }

    /// Reads everything wanted. Blocks: disk reads.
    mutating func run() {
        let size = state.geometry.blockSize
        let perWindow = max(1, Self.windowBytes / size)
        var next = 0
        while next < slots.count {
            let first = slots[next]
            var end = next + 1
            while end < slots.count, end - next < perWindow,
                state.geometry.slotOffset(slots[end])
                    == state.geometry.slotOffset(first) + (end - next) * size
            {
                end += 1
            }
            check(slots[next..<end])
            next = end
            progress(next, slots.count)
        }
        let damaged = report.damagedDirtyBlocks + report.damagedCleanBlocks
        if damaged > Self.namedMax {
            let isDirty = report.damagedDirtyBlocks > 0
            findings.append(
                Finding(
                    isDirty ? "DATA_BAD_DIRTY" : "DATA_BAD_CLEAN", isDirty ? .error : .warning,
                    "\(damaged - Self.namedMax) more blocks are damaged"))
        }
    }

    /// Slots that lie one behind the other.
    private mutating func check(_ run: ArraySlice<Int>) {
        guard let first = run.first else { return }
        let size = state.geometry.blockSize
        let window = buffer.mutableSlice(0..<run.count * size)
        let isRead = isReadable(window, at: state.geometry.slotOffset(first))
        for (number, slot) in run.enumerated() {
            let bytes = UnsafeMutableRawBufferPointer(
                rebasing: window[number * size..<(number + 1) * size])
            check(slot, bytes, isRead: isRead)
        }
    }

    /// - Parameter isRead: `bytes` hold the slot; else each granule is read by itself.
    private mutating func check(_ slot: Int, _ bytes: UnsafeMutableRawBufferPointer, isRead: Bool) {
        let geometry = state.geometry
        let size = geometry.granuleSize
        let block = state.slots.block(slot)
        var bad = GranuleSet()
        var unreadable = GranuleSet()
        for granule in 0..<geometry.granulesPerBlock {
            let target = UnsafeMutableRawBufferPointer(
                rebasing: bytes[granule * size..<(granule + 1) * size])
            let place: Int
            let crc: UInt32
            switch state.source(slot: slot, block: block, granule: granule) {
            case .slot(let known):
                crc = known
                place = geometry.slotOffset(slot) + granule * size
                if isRead { break }
                guard isReadable(target, at: place) else {
                    unreadable.insert(granule)
                    continue
                }
            case .overlay(let overlay):
                guard case .ring(let position, let known) = overlay.place else { continue }
                crc = known
                place = geometry.ringOffset + Int(position % UInt64(geometry.ringLength))
                guard isReadable(target, at: place) else {
                    unreadable.insert(granule)
                    continue
                }
            case .zeros, .missing: continue
            }
            report.checkedBytes += size
            let index = geometry.granuleSeedIndex(block: block, granule: granule)
            let found = Checksum.crc32c(
                UnsafeRawBufferPointer(target), seed: seeds.seed(.granule, index))
            if found != crc { bad.insert(granule) }
        }
        note(slot, block, bad: bad, unreadable: unreadable)
    }

    private func isReadable(_ target: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        do { try file.read(into: target, at: offset, .direct) } catch { return false }
        return true
    }

    private mutating func note(
        _ slot: Int, _ block: UInt64, bad: GranuleSet, unreadable: GranuleSet
    ) {
        if bad.isEmpty && unreadable.isEmpty { return }
        let isDirty = state.slots.state(slot) != .clean
        if isDirty { report.damagedDirtyBlocks += 1 } else { report.damagedCleanBlocks += 1 }
        guard report.damagedDirtyBlocks + report.damagedCleanBlocks <= Self.namedMax else { return }
        let severity = isDirty ? Finding.Severity.error : .warning
        if !bad.isEmpty {
            findings.append(
                Finding(
                    isDirty ? "DATA_BAD_DIRTY" : "DATA_BAD_CLEAN", severity,
                    "block \(block): bytes \(places(bad)) do not match their checksum"))
        }
        if !unreadable.isEmpty {
            findings.append(
                Finding(
                    "DATA_EIO", severity,
                    "block \(block): bytes \(places(unreadable)) cannot be read"))
        }
    }

    private func places(_ granules: GranuleSet) -> String {
        let size = state.geometry.granuleSize
        return granules.runs.map { "\($0.lowerBound * size)-\($0.upperBound * size - 1)" }
            .joined(separator: ", ")
    }
}
