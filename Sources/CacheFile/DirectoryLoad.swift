// Step 3 of recovery: the directory pages that the root names, each checked, with the index and the
// counts that follow from them. docs/format.md, "Recovery".

import FileIO
import Journal

struct DirectoryLoad {
    private let root: RootTable
    private let geometry: Geometry
    private let reader: WindowedReader
    private let slots: SlotTable
    private let state: CacheState
    private let refusals: Refusals
    /// Pages left out as damaged.
    private(set) var lost: Set<Int> = []
    private(set) var findings: [Finding] = []
    /// Pages of which the copy that the root names is damaged, and the other one is not.
    private(set) var mated: Set<Int> = []

    init(
        _ root: RootTable, _ geometry: Geometry, _ seeds: SeedSpace, _ reader: WindowedReader,
        _ refusals: Refusals
    ) {
        self.root = root
        self.geometry = geometry
        self.reader = reader
        self.refusals = refusals
        slots = SlotTable(geometry: geometry, seeds: seeds) { root.entries[$0].isWritten }
        state = CacheState(slots: slots)
    }

    /// Blocks: reads the directory once. Each page is judged while it is in the processor's cache.
    mutating func run() throws(CacheFileError) -> CacheState {
        for page in 0..<geometry.pageCount where root.entries[page].isWritten {
            guard try load(page) else { continue }
            if geometry.isHot(page) { try checkHot(page) } else { try checkCold(page) }
        }
        // Whoever takes a slot of a lost page must not inherit what its cold entry says.
        for page in lost where geometry.isHot(page) {
            for slot in geometry.slots(inHotPage: page) { slots.clear(slot) }
        }
        return state
    }

    /// Whether the page is there.
    private mutating func load(_ page: Int) throws(CacheFileError) -> Bool {
        let copy = try Mates.find(
            named: root.entries[page].copy, "PAGE_BAD", "directory page \(page)", &findings
        ) { [self] copy throws(CacheFileError) in try load(page, copy: copy) }
        if let copy {
            if copy != root.entries[page].copy { mated.insert(page) }
            return true
        }
        try refusals.refuse(
            CacheFileError(.needsCheck, "PAGE_BAD: directory page \(page) is damaged"))
        lost.insert(page)
        return false
    }

    private func load(_ page: Int, copy: Int) throws(CacheFileError) -> Bool {
        let entry = root.entries[page]
        let offset = geometry.pageOffset(page, copy: copy)
        do throws(FileError) {
            return try slots.adopt(page, crc: entry.crc, generation: entry.generation) {
                [reader] target throws(FileError) in try reader.read(into: target, at: offset)
            }
        } catch {
            guard refusals.goesOn else { throw CacheFileError(error) }
            slots.forget(page)
            return false
        }
    }

    private func checkHot(_ page: Int) throws(CacheFileError) {
        let state = state
        try slots.scan(page, ahead: { state.index.prefetch($0) }) { seen throws(CacheFileError) in
            do throws(CacheFileError) {
                try join(seen)
            } catch {
                try refusals.refuse(error)
                slots.clear(seen.slot)
            }
        }
    }

    @inline(__always)
    private func join(_ seen: SlotTable.Seen) throws(CacheFileError) {
        let slot = seen.slot
        if seen.block == SlotTable.freeBlock {
            throw Self.bad("ENT_STATE", slot, "free, and not empty")
        }
        guard seen.block < geometry.volumeBlocks else {
            throw Self.bad("ENT_RANGE", slot, "block \(seen.block)")
        }
        guard let known = SlotState(rawValue: seen.state),
            known == .clean || known == .dirty || known == .conflict
        else { throw Self.bad("ENT_STATE", slot, "state \(seen.state)") }
        guard Base.Kind(rawValue: seen.baseKind) != nil,
            seen.flags & ~SlotTable.zeroBaseFlag == 0
        else { throw Self.bad("ENT_STATE", slot, "flags or base") }
        let isNew = state.index.insertIfAbsent(seen.block, slot: slot) { [slots] in
            slots.block($0)
        }
        if !isNew { try makeWay(for: seen) }
        state.count(known, 1)
        state.countRegion(of: seen.block, 1)
    }

    /// Of a block in two slots a repair that goes on past everything takes the one written to last.
    private func makeWay(for seen: SlotTable.Seen) throws(CacheFileError) {
        let error = Self.bad("ENT_DUP_BLOCK", seen.slot, "block \(seen.block)")
        guard refusals.depth == .all, let other = state.slot(of: seen.block),
            lastWrite(other) < lastWrite(seen.slot)
        else { throw error }
        refusals.note(error)
        state.unmap(other, lsn: 0)
        state.index.insert(seen.block, slot: seen.slot)
    }

    private func lastWrite(_ slot: Int) -> (LSN, LSN) { (slots.dataLSN(slot), slots.lsn(slot)) }

    private mutating func checkCold(_ page: Int) throws(CacheFileError) {
        if let slot = slots.slotWithForeignBits(page) {
            try refusals.refuse(Self.bad("ENT_STATE", slot, "bitmap"))
            slots.forget(page)
            lost.insert(page)
        }
    }

    private static func bad(_ code: String, _ slot: Int, _ what: String) -> CacheFileError {
        CacheFileError(.needsCheck, "\(code): directory entry of slot \(slot) (\(what))")
    }
}
