// The pages of the slot directory: sealed with checksums, taken in, scanned.

import FileIO
import Glibc
import Journal

extension SlotTable {
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
