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
    private let reader: BlockReader
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
        reader = BlockReader(recovered, file)
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

    /// Reads everything wanted, ahead of comparing it. Blocks: disk reads.
    mutating func run() {
        let runs = runs()
        let ahead = ReadAhead(file)
        let runsAhead = state.geometry.blockSize > Self.windowBytes ? 1 : 3
        defer { ahead.close() }
        for (number, run) in runs.enumerated() {
            ahead.want(runs[number..<min(number + runsAhead, runs.count)].map(place))
            check(run, ahead.take(place(run).lowerBound))
            progress(run.endIndex, slots.count)
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

    /// Slots in pieces that lie one behind the other, each of at most a window.
    private func runs() -> [ArraySlice<Int>] {
        let size = state.geometry.blockSize
        let perWindow = max(1, Self.windowBytes / size)
        var runs: [ArraySlice<Int>] = []
        var next = 0
        while next < slots.count {
            let first = state.geometry.slotOffset(slots[next])
            var end = next + 1
            while end < slots.count, end - next < perWindow,
                state.geometry.slotOffset(slots[end]) == first + (end - next) * size
            {
                end += 1
            }
            runs.append(slots[next..<end])
            next = end
        }
        return runs
    }

    private func place(_ run: ArraySlice<Int>) -> Range<Int> {
        let first = state.geometry.slotOffset(run.first ?? 0)
        return first..<first + run.count * state.geometry.blockSize
    }

    /// Slots that lie one behind the other.
    private mutating func check(_ run: ArraySlice<Int>, _ ahead: AlignedBuffer?) {
        guard let first = run.first else { return }
        let size = state.geometry.blockSize
        let window = ahead ?? buffer
        let isRead =
            ahead != nil
            || reader.isReadable(
                buffer.mutableSlice(0..<run.count * size), at: state.geometry.slotOffset(first))
        for (number, slot) in run.enumerated() {
            let block = state.slots.block(slot)
            let reading = reader.read(
                block, slot: slot, into: window.mutableSlice(number * size..<(number + 1) * size),
                isRead: isRead)
            report.checkedBytes += reading.checkedBytes
            note(slot, block, bad: reading.bad, unreadable: reading.unreadable)
        }
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
