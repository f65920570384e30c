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
    private let starts: UnsafeMutablePointer<UnsafeMutableRawPointer>
    // Of the geometry, for the way to an entry.
    private let slotsPerZone: Int
    private let pagesPerZone: Int
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

    // MARK: Pages

    /// Has the next checkpoint write a page although nothing of it has changed.
    package func renew(_ page: Int) { touch(page) }

    @inline(__always)
    private func touch(_ page: Int) {
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

    private func start(_ page: Int) -> UnsafeMutableRawPointer {
        let (zone, inZone) = page.quotientAndRemainder(dividingBy: pagesPerZone)
        return starts[zone] + inZone * Geometry.pageSize
    }

    private func page(_ page: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: start(page), count: Geometry.pageSize)
    }

    private func seed(_ page: Int) -> UInt32 {
        let (zone, number) = geometry.pageIdentity(page)
        return seeds.seed(
            geometry.isHot(page) ? .hotPage : .coldPage, UInt64(zone) << 32 | UInt64(number))
    }

    /// Stamps the header and all checksums of a page. Returns the page's CRC.
    package func seal(_ number: Int, generation: UInt32, lsn: LSN) -> UInt32 {
        let bytes = page(number)
        clearEntryCRCs(bytes, number)
        let identity = geometry.pageIdentity(number)
        bytes.setField(0, Self.pageMagic)
        bytes.setField(4, (geometry.isHot(number) ? SeedSpace.Kind.hotPage : .coldPage).rawValue)
        bytes.setField(5, UInt8(0))
        bytes.setField(6, UInt16(0))
        bytes.setBytes(8, seeds.fileIdentity)
        bytes.setField(16, UInt32(identity.zone))
        bytes.setField(20, UInt32(identity.number))
        bytes.setField(24, generation)
        bytes.setField(28, UInt32(0))
        bytes.setField(32, lsn)
        let crc = Checksum.crc32c(UnsafeRawBufferPointer(bytes), seed: seed(number))
        bytes.setField(28, crc)
        if geometry.isHot(number) {
            for (index, slot) in geometry.slots(inHotPage: number).enumerated() {
                let at = Geometry.pageHeaderSize + index * Geometry.hotEntrySize
                bytes.setField(at + 60, entryCRC(bytes, at: at, slot: slot))
            }
        }
        return crc
    }

    /// Whether a page has its checksums: `seal` has stamped it since it was read.
    func isSealed(_ number: Int) -> Bool { page(number).field(28, UInt32.self) != 0 }

    /// Stamps the checksums of a page once more, as it was sealed.
    func reseal(_ number: Int) -> UInt32 {
        seal(number, generation: generation(number), lsn: page(number).field(32))
    }

    /// The page's CRC takes those of the entries as zero. An entry with its own CRC is a codeword:
    /// any other intact entry in its place would leave a CRC over both unchanged, so that a page
    /// torn between old and new entries would pass.
    private func clearEntryCRCs(_ bytes: UnsafeMutableRawBufferPointer, _ number: Int) {
        guard geometry.isHot(number) else { return }
        for index in 0..<Geometry.hotPerPage {
            bytes.setField(
                Geometry.pageHeaderSize + index * Geometry.hotEntrySize + 60, UInt32(0))
        }
    }

    private func entryCRC(_ bytes: UnsafeMutableRawBufferPointer, at: Int, slot: Int) -> UInt32 {
        let entry = UnsafeRawBufferPointer(rebasing: bytes[at..<at + 60])
        return Checksum.crc32c(entry, seed: seeds.seed(.entry, UInt64(slot)))
    }

    /// The page as it goes to one of its two places.
    package func image(_ number: Int, copy: Int) -> AlignedBuffer {
        let buffer = AlignedBuffer(Geometry.pageSize)
        buffer.mutableBytes.copyMemory(from: UnsafeRawBufferPointer(page(number)))
        buffer.mutableBytes.setField(5, UInt8(copy))
        return buffer
    }

    public func generation(_ number: Int) -> UInt32 { page(number).field(24) }

    /// Has a page read into its place. False, and it holds nothing then, when it is not exactly the
    /// page that the root names.
    package func adopt<Failure: Error>(
        _ number: Int, crc: UInt32, generation: UInt32,
        _ read: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) -> Bool {
        let target = page(number)
        try read(target)
        if target.field(28, UInt32.self) == crc, target.field(24, UInt32.self) == generation,
            isIntact(target, number, crc: crc)
        {
            return true
        }
        forget(number)
        return false
    }

    /// Leaves nothing of a page: free slots, or no valid granules.
    func forget(_ number: Int) {
        memset(start(number), 0, Geometry.pageSize)
        if geometry.isHot(number) { GroupPages.clearHot(start(number)) }
    }

    /// Checks a page in place. Copy number and checksums, which the checksum leaves out, are zero
    /// afterwards; `seal` sets them anew.
    private func isIntact(
        _ target: UnsafeMutableRawBufferPointer, _ number: Int, crc: UInt32
    ) -> Bool {
        if geometry.isHot(number) {
            var at = Geometry.pageHeaderSize
            for slot in geometry.slots(inHotPage: number) {
                // The page's CRC leaves out those of the entries; they have to be right themselves.
                if entryCRC(target, at: at, slot: slot) != target.field(at + 60, UInt32.self) {
                    return false
                }
                target.setField(at + 60, UInt32(0))
                at += Geometry.hotEntrySize
            }
        }
        target.setField(5, UInt8(0))
        target.setField(28, UInt32(0))
        return Checksum.crc32c(UnsafeRawBufferPointer(target), seed: seed(number)) == crc
    }

    // MARK: Scan

    /// A used slot as a scan of the whole table sees it.
    struct Seen {
        let slot: Int
        let block: UInt64
        let state: UInt8
        let flags: UInt8
        let baseKind: UInt8
    }

    /// Goes through the slots of a hot page in order, without looking each one up; used ones come
    /// after `ahead` has heard of their blocks. So do those that say they are free and hold
    /// something all the same: whoever takes such a slot would inherit it.
    @inline(__always)
    func scan<Failure: Error>(
        _ number: Int, ahead: (UInt64) -> Void, _ body: (Seen) throws(Failure) -> Void
    ) throws(Failure) {
        let range = geometry.slots(inHotPage: number)
        let first = UnsafeRawPointer(start(number)) + Geometry.pageHeaderSize
        for index in 0..<range.count {
            let entry = first + index * Geometry.hotEntrySize
            ahead(UInt64(littleEndian: entry.load(as: UInt64.self)))
        }
        for (index, slot) in range.enumerated() {
            let entry = first + index * Geometry.hotEntrySize
            let block = UInt64(littleEndian: entry.load(as: UInt64.self))
            let word = UInt32(littleEndian: entry.load(fromByteOffset: 32, as: UInt32.self))
            if block == Self.freeBlock && word == 0 && Self.isEmpty(entry) { continue }
            try body(
                Seen(
                    slot: slot, block: block, state: UInt8(truncatingIfNeeded: word),
                    flags: UInt8(truncatingIfNeeded: word >> 8),
                    baseKind: UInt8(truncatingIfNeeded: word >> 16)))
        }
    }

    /// Whether an entry has nothing but zeros between block number and checksum.
    private static func isEmpty(_ entry: UnsafeRawPointer) -> Bool {
        var bits = entry.load(fromByteOffset: 56, as: UInt32.self)
        for offset in stride(from: 8, to: 56, by: 8) {
            let word = entry.load(fromByteOffset: offset, as: UInt64.self)
            bits |= UInt32(truncatingIfNeeded: word | word >> 32)
        }
        return bits == 0
    }

    /// A slot of a cold page whose bitmap has bits of granules that no block has.
    func slotWithForeignBits(_ number: Int) -> Int? {
        let all = GranuleSet.all(geometry.granulesPerBlock)
        let (zone, inZone) = geometry.pageIdentity(number)
        let first = UnsafeRawPointer(start(number)) + Geometry.pageHeaderSize
        for index in 0..<geometry.coldPerPage {
            let entry = first + index * geometry.coldEntrySize
            for word in 0..<geometry.bitmapBytes / 8 {
                let bits = UInt64(
                    littleEndian: entry.loadUnaligned(fromByteOffset: 8 * word, as: UInt64.self))
                if bits & ~all[word: word] != 0 {
                    return zone * geometry.slotsPerZone + inZone * geometry.coldPerPage + index
                }
            }
        }
        return nil
    }
}
