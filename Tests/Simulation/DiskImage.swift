import Glibc

/// The bytes of a disk, as a value: cheap to copy, hash and compare.
///
/// Pages of 4096 bytes are shared between copies until one of them changes; a page never written is
/// absent and reads as zeros. Copying an image shares one array; the first change after that copies
/// the array and the page concerned.
///
/// The content hash is kept up to date by every change. It is a sum over the sectors of a mix of
/// position and content, so it does not depend on the order of writes, and zeros count nothing
/// whether their page is absent or not.
package struct DiskImage: Hashable, Sendable {
    package static let pageSize = DiskPage.size
    package static let sectorSize = DiskPage.sectorSize

    /// Bytes. Reads and writes stay below.
    package private(set) var size: Int

    private var pages: [DiskPage?]
    /// Sum of `share` over all sectors.
    private var hashSum: UInt64 = 0

    /// An image of zeros.
    package init(size: Int) {
        precondition(size >= 0)
        self.size = size
        pages = Array(repeating: nil, count: Self.pageCount(size))
    }

    /// An image of these bytes.
    package init(_ bytes: [UInt8]) {
        self.init(size: bytes.count)
        write(bytes, at: 0)
    }

    private static func pageCount(_ size: Int) -> Int { (size + pageSize - 1) / pageSize }

    /// Appends zeros up to `newSize`, which is not below the size.
    package mutating func grow(to newSize: Int) {
        precondition(newSize >= size)
        let missing = Self.pageCount(newSize) - pages.count
        if missing > 0 { pages.append(contentsOf: repeatElement(nil, count: missing)) }
        size = newSize
    }

    /// Takes away what lies beyond `newSize`, which is not above the size.
    package mutating func shrink(to newSize: Int) {
        precondition(newSize <= size)
        let tail = min(size, (newSize + Self.pageSize - 1) / Self.pageSize * Self.pageSize)
        if tail > newSize { write([UInt8](repeating: 0, count: tail - newSize), at: newSize) }
        let kept = Self.pageCount(newSize)
        for index in kept..<pages.count {
            guard let page = pages[index] else { continue }
            for sector in 0..<DiskPage.sectorCount {
                hashSum &-= Self.share(page.hash(sector), index, sector)
            }
        }
        pages.removeLast(pages.count - kept)
        size = newSize
    }

    // MARK: Content

    /// Equal content of equal size gives equal hashes.
    package var contentHash: UInt64 {
        SeededRandom.mix(hashSum &+ UInt64(size) &* 0xD6E8_FEB8_6659_FD93)
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(contentHash) }

    package static func == (left: DiskImage, right: DiskImage) -> Bool {
        if left.size != right.size || left.hashSum != right.hashSum { return false }
        for index in left.pages.indices {
            let (one, other) = (left.pages[index], right.pages[index])
            if one === other { continue }
            let (first, second) = ((one ?? .zero).bytes, (other ?? .zero).bytes)
            if memcmp(first.baseAddress!, second.baseAddress!, pageSize) != 0 { return false }
        }
        return true
    }

    /// Copies bytes from `offset` into `target`; all of them lie below `size`.
    package func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) {
        precondition(offset >= 0 && offset + target.count <= size, "read beyond the image")
        guard var position = target.baseAddress else { return }
        for (page, range) in Self.split(offset..<offset + target.count) {
            if let content = pages[page] {
                memcpy(position, content.bytes.baseAddress! + range.lowerBound, range.count)
            } else {
                memset(position, 0, range.count)
            }
            position += range.count
        }
    }

    /// The bytes in `range`.
    package func read(_ range: Range<Int>) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: range.count)
        bytes.withUnsafeMutableBytes { read(into: $0, at: range.lowerBound) }
        return bytes
    }

    package mutating func write(_ bytes: [UInt8], at offset: Int) {
        bytes.withUnsafeBytes { write($0, at: offset) }
    }

    /// Replaces bytes from `offset`; all of them lie below `size`.
    package mutating func write(_ source: UnsafeRawBufferPointer, at offset: Int) {
        precondition(offset >= 0 && offset + source.count <= size, "write beyond the image")
        guard var position = source.baseAddress else { return }
        for (page, range) in Self.split(offset..<offset + source.count) {
            let content = uniquePage(page)
            memcpy(content.mutableBytes.baseAddress! + range.lowerBound, position, range.count)
            let mask = SectorMask.touched(by: range)
            for sector in 0..<DiskPage.sectorCount where mask.contains(sector) {
                hashSum &-= Self.share(content.hash(sector), page, sector)
                content.rehash(sector)
                hashSum &+= Self.share(content.hash(sector), page, sector)
            }
            position += range.count
        }
    }

    // MARK: Patches

    mutating func apply(_ patches: [PagePatch]) {
        for patch in patches { apply(patch) }
    }

    /// Replaces the sectors of a patch; a patch of a whole page is shared, not copied. What lies
    /// beyond the size is ignored.
    mutating func apply(_ whole: PagePatch) {
        var patch = whole
        let bytesLeft = size - patch.page * Self.pageSize
        if bytesLeft < Self.pageSize {
            if bytesLeft <= 0 { return }
            patch = cutAtEnd(patch, bytesLeft)
        }
        if patch.mask == .none { return }
        let old = pages[patch.page] ?? .zero
        for sector in 0..<DiskPage.sectorCount where patch.mask.contains(sector) {
            hashSum &-= Self.share(old.hash(sector), patch.page, sector)
            hashSum &+= Self.share(patch.content.hash(sector), patch.page, sector)
        }
        if patch.mask == .all {
            pages[patch.page] = patch.content
        } else {
            pages[patch.page] = DiskPage(old: old, new: patch.content, mask: patch.mask)
        }
    }

    /// The present content of every sector that `range` touches. Shares pages.
    func patches(touching range: Range<Int>) -> [PagePatch] {
        Self.split(range).map { page, part in
            PagePatch(page: page, content: pages[page] ?? .zero, mask: .touched(by: part))
        }
    }

    // MARK: Private parts

    /// The whole sectors of a patch below the size; writes the bytes of a sector that straddles it.
    private mutating func cutAtEnd(_ patch: PagePatch, _ bytesLeft: Int) -> PagePatch {
        let wholeEnd = bytesLeft / Self.sectorSize * Self.sectorSize
        if wholeEnd < bytesLeft, patch.mask.contains(wholeEnd / Self.sectorSize) {
            let bytes = UnsafeRawBufferPointer(rebasing: patch.content.bytes[wholeEnd..<bytesLeft])
            write(bytes, at: patch.page * Self.pageSize + wholeEnd)
        }
        var cut = patch
        cut.mask.bits &= SectorMask.touched(by: 0..<wholeEnd).bits
        return cut
    }

    /// What one sector adds to the sum; nothing for zeros.
    @inline(__always)
    private static func share(_ hash: UInt64, _ page: Int, _ sector: Int) -> UInt64 {
        if hash == 0 { return 0 }
        let position = UInt64(truncatingIfNeeded: page * DiskPage.sectorCount + sector + 1)
        return SeededRandom.mix(hash ^ (position &* 0x9E37_79B9_7F4A_7C15))
    }

    private mutating func uniquePage(_ page: Int) -> DiskPage {
        if pages[page] != nil, isKnownUniquelyReferenced(&pages[page]), let own = pages[page] {
            return own
        }
        let own = pages[page].map { DiskPage($0) } ?? DiskPage()
        pages[page] = own
        return own
    }

    /// The pages under a range of bytes, each with the part of it, counted from the page's start.
    static func split(_ range: Range<Int>) -> [(page: Int, range: Range<Int>)] {
        var parts: [(page: Int, range: Range<Int>)] = []
        var position = range.lowerBound
        while position < range.upperBound {
            let start = position % pageSize
            let end = min(pageSize, start + range.upperBound - position)
            parts.append((position / pageSize, start..<end))
            position += end - start
        }
        return parts
    }
}
