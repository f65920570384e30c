// The slot directory in memory: the very bytes of its pages, so that a checkpoint is a copy.
//
// hot entry, 64 bytes (63 in a page)               page header, 64 bytes
//  0 u64 blockNo (all ones = free)                  0 u32 magic
//  8 u64 lsn      last record of any kind           4 u8  kind 'H' or 'K'
// 16 u64 dataLsn  last change of content by user    5 u8  copy (outside the CRC)
// 24 u64 epoch    in which it became dirty          6 u16 zero
// 32 u8 state 33 u8 flags 34 u8 baseKind 35 u8 heat 8 u64 first half of the file UUID
// 36 24 bytes base                                 16 u32 allocation group  20 u32 page number
// 60 u32 crc      (kind 'E', index slot)           24 u32 generation
//                                                  28 u32 crc, this and all entry crcs as zero
//                                                  32 u64 lsn               40 zero
// cold entry: validity bitmap, 8 bytes for each 64 granules; u32 crc for each granule; padded to 8

import FileIO
import Glibc
import Journal

public enum SlotState: UInt8, Sendable {
    case free = 0
    case clean = 1
    case dirty = 2
    case conflict = 3
    case retained = 4
    case bad = 5
}

/// Directory pages of one allocation group in memory, all slots free. Made without the engine lock.
///
/// `@unchecked Sendable`: whoever makes it hands it on and forgets it.
public final class GroupPages: @unchecked Sendable {
    private let memory: ZeroedMemory
    var start: UnsafeMutableRawPointer { memory.base }

    /// - Parameter isLoaded: pages that will be filled next.
    package init(_ geometry: Geometry, isLoaded: (Int) -> Bool = { _ in false }) {
        memory = ZeroedMemory(geometry.pagesPerZone * Geometry.pageSize)
        for page in 0..<geometry.hotPagesPerZone where !isLoaded(page) {
            Self.clearHot(memory.base + page * Geometry.pageSize)
        }
    }

    static func clearHot(_ page: UnsafeMutableRawPointer) {
        for index in 0..<Geometry.hotPerPage {
            page.storeBytes(
                of: SlotTable.freeBlock,
                toByteOffset: Geometry.pageHeaderSize + index * Geometry.hotEntrySize,
                as: UInt64.self)
        }
    }
}

/// All directory pages of a file, resident. Not thread-safe: belongs to the engine lock.
public final class SlotTable {
    package static let pageMagic: UInt32 = 0x5044_3353  // "S3DP"
    package static let freeBlock = UInt64.max
    package static let zeroBaseFlag: UInt8 = 1

    public private(set) var geometry: Geometry
    public let seeds: SeedSpace
    /// Of each allocation group, and where they begin.
    private var groups: [GroupPages]
    let starts: UnsafeMutablePointer<UnsafeMutableRawPointer>
    // Of the geometry, for the way to an entry.
    private let slotsPerZone: Int
    let pagesPerZone: Int
    private let hotPagesPerZone: Int
    private let coldPerPage: Int
    private let coldEntrySize: Int
    /// Pages changed since the last checkpoint took them.
    private var isDirty: [Bool]
    private(set) var dirtyPages: [Int] = []

    /// - Parameter isLoaded: pages that `adopt` will fill next; the others are all free.
    package init(
        geometry: Geometry, seeds: SeedSpace, isLoaded: (Int) -> Bool = { _ in false }
    ) {
        self.geometry = geometry
        self.seeds = seeds
        slotsPerZone = geometry.slotsPerZone
        pagesPerZone = geometry.pagesPerZone
        hotPagesPerZone = geometry.hotPagesPerZone
        coldPerPage = geometry.coldPerPage
        coldEntrySize = geometry.coldEntrySize
        isDirty = Array(repeating: false, count: geometry.pageCount)
        groups = geometry.zones.indices.map { zone in
            GroupPages(geometry) { isLoaded(zone * geometry.pagesPerZone + $0) }
        }
        starts = .allocate(capacity: Geometry.zonesMax)
        for (zone, group) in groups.enumerated() { starts[zone] = group.start }
    }

    deinit { starts.deallocate() }

    // MARK: Size

    /// Takes the geometry of a file with more slots or fewer. Those that go are free.
    /// - Parameter added: pages of the new allocation groups.
    func resize(to next: Geometry, adding added: [GroupPages]) {
        let old = geometry
        precondition(next.slotsPerZone == slotsPerZone)
        precondition(added.count == max(0, next.zones.count - old.zones.count))
        groups = groups.prefix(next.zones.count) + added
        for (zone, group) in groups.enumerated() { starts[zone] = group.start }
        geometry = next
        isDirty = Array(isDirty.prefix(next.pageCount))
        isDirty += Array(repeating: false, count: next.pageCount - isDirty.count)
        dirtyPages.removeAll { page in
            if page < next.pageCount, next.isUsed(page) { return false }
            if page < next.pageCount { isDirty[page] = false }
            return true
        }
        // A page has checksums of exactly those of its entries that are slots.
        for zone in 0..<min(old.zones.count, next.zones.count) {
            let (before, after) = (old.zones[zone].slots, next.zones[zone].slots)
            let least = min(before, after)
            guard before != after, least % Geometry.hotPerPage != 0 else { continue }
            touch(zone * pagesPerZone + least / Geometry.hotPerPage)
        }
    }

    // MARK: Hot entries

    @inline(__always)
    private func hot(_ slot: Int) -> UnsafeMutableRawPointer {
        let (zone, inZone) = slot.quotientAndRemainder(dividingBy: slotsPerZone)
        let (page, index) = inZone.quotientAndRemainder(dividingBy: Geometry.hotPerPage)
        return starts[zone]
            + (page * Geometry.pageSize + Geometry.pageHeaderSize + index * Geometry.hotEntrySize)
    }

    @inline(__always)
    private func load<Value: FixedWidthInteger>(_ slot: Int, _ offset: Int) -> Value {
        Value(littleEndian: hot(slot).loadUnaligned(fromByteOffset: offset, as: Value.self))
    }

    @inline(__always)
    private func store<Value: FixedWidthInteger>(_ slot: Int, _ offset: Int, _ value: Value) {
        hot(slot).storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
        touch(geometry.hotPlace(slot).page)
    }

    @inline(__always)
    public func block(_ slot: Int) -> UInt64 { load(slot, 0) }
    public func lsn(_ slot: Int) -> LSN { load(slot, 8) }
    public func dataLSN(_ slot: Int) -> LSN { load(slot, 16) }
    public func epoch(_ slot: Int) -> UInt64 { load(slot, 24) }
    public func rawState(_ slot: Int) -> UInt8 { load(slot, 32) }
    /// Only for entries that `Recovery` has checked.
    public func state(_ slot: Int) -> SlotState { SlotState(rawValue: rawState(slot)) ?? .bad }
    public func isFree(_ slot: Int) -> Bool { block(slot) == Self.freeBlock }
    public func isZeroBase(_ slot: Int) -> Bool {
        load(slot, 33, as: UInt8.self) & Self.zeroBaseFlag != 0
    }
    func flags(_ slot: Int) -> UInt8 { load(slot, 33) }
    public func base(_ slot: Int) -> Base {
        let entry = UnsafeRawBufferPointer(start: hot(slot), count: Geometry.hotEntrySize)
        return Base(Base.Kind(rawValue: entry.field(34)) ?? .unknown, entry.copy(36, 24))
    }
    func rawBaseKind(_ slot: Int) -> UInt8 { load(slot, 34) }

    private func load<Value: FixedWidthInteger>(_ slot: Int, _ offset: Int, as: Value.Type) -> Value
    {
        load(slot, offset)
    }

    package func setBlock(_ slot: Int, _ block: UInt64) { store(slot, 0, block) }
    package func setLSN(_ slot: Int, _ lsn: LSN) { store(slot, 8, lsn) }
    package func setDataLSN(_ slot: Int, _ lsn: LSN) { store(slot, 16, lsn) }
    package func setEpoch(_ slot: Int, _ epoch: UInt64) { store(slot, 24, epoch) }
    package func setState(_ slot: Int, _ state: SlotState) { store(slot, 32, state.rawValue) }
    package func setZeroBase(_ slot: Int, _ isZero: Bool) {
        let others = flags(slot) & ~Self.zeroBaseFlag
        store(slot, 33, isZero ? others | Self.zeroBaseFlag : others)
    }
    package func setBase(_ slot: Int, _ base: Base) {
        store(slot, 34, base.kind.rawValue)
        (hot(slot) + 36).copyMemory(from: base.bytes, byteCount: 24)
    }

    /// Makes the entry free: everything zero but the block number.
    package func clear(_ slot: Int) {
        memset(hot(slot), 0, Geometry.hotEntrySize)
        store(slot, 0, Self.freeBlock)
        memset(cold(slot), 0, geometry.coldEntrySize)
        touch(geometry.coldPlace(slot).page)
    }

    // MARK: Cold entries

    @inline(__always)
    private func cold(_ slot: Int) -> UnsafeMutableRawPointer {
        let (zone, inZone) = slot.quotientAndRemainder(dividingBy: slotsPerZone)
        let (page, index) = inZone.quotientAndRemainder(dividingBy: coldPerPage)
        return starts[zone]
            + ((hotPagesPerZone + page) * Geometry.pageSize + Geometry.pageHeaderSize
                + index * coldEntrySize)
    }

    /// Granules whose content in the slot is valid.
    public func valid(_ slot: Int) -> GranuleSet {
        let entry = cold(slot)
        var granules = GranuleSet()
        for word in 0..<geometry.bitmapBytes / 8 {
            granules[word: word] = UInt64(
                littleEndian: entry.loadUnaligned(fromByteOffset: 8 * word, as: UInt64.self))
        }
        return granules
    }

    /// Whether one of them is.
    public func isValid(_ slot: Int, _ granule: Int) -> Bool {
        cold(slot).load(fromByteOffset: granule / 8, as: UInt8.self) & 1 << (granule % 8) != 0
    }

    package func setValid(_ slot: Int, _ granules: GranuleSet) {
        let entry = cold(slot)
        for word in 0..<geometry.bitmapBytes / 8 {
            entry.storeBytes(
                of: granules[word: word].littleEndian, toByteOffset: 8 * word, as: UInt64.self)
        }
        touch(geometry.coldPlace(slot).page)
    }

    /// Checksum of a valid granule.
    public func crc(_ slot: Int, _ granule: Int) -> UInt32 {
        let at = geometry.bitmapBytes + 4 * granule
        return UInt32(littleEndian: cold(slot).loadUnaligned(fromByteOffset: at, as: UInt32.self))
    }

    package func setCRC(_ slot: Int, _ granule: Int, _ crc: UInt32) {
        let at = geometry.bitmapBytes + 4 * granule
        cold(slot).storeBytes(of: crc.littleEndian, toByteOffset: at, as: UInt32.self)
        touch(geometry.coldPlace(slot).page)
    }

    // MARK: Changed pages

    /// Has the next checkpoint write a page although nothing of it has changed.
    package func renew(_ page: Int) { touch(page) }

    @inline(__always)
    func touch(_ page: Int) {
        if !isDirty[page] {
            isDirty[page] = true
            dirtyPages.append(page)
        }
    }

    package func takeDirtyPages() -> [Int] {
        let taken = dirtyPages.sorted()
        for page in taken { isDirty[page] = false }
        dirtyPages = []
        return taken
    }

    public var dirtyPageCount: Int { dirtyPages.count }
    public var hasDirtyPages: Bool { !dirtyPages.isEmpty }
}
