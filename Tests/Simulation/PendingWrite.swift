import FileIO
import Glibc

/// One write that no flush has covered yet.
///
/// A *returned* write holds whole sectors: the page cache had merged the bytes with what was there,
/// and a disk takes nothing smaller. An *issued* write holds the bytes as handed over.
struct PendingWrite: Sendable {
    /// Names the write while it is issued.
    let id: Int
    let range: Range<Int>
    /// The pages under `range`; where the ends are not on sector borders, see `isWhole`.
    private(set) var patches: [PagePatch]
    /// What the call will throw when it returns.
    let failure: FileError?
    /// Position among the returned writes, from 1; 0 while issued.
    var returnOrder = 0
    /// True if `patches` hold nothing but the new content of whole sectors.
    private(set) var isWhole: Bool

    /// Copies the pieces.
    init(
        id: Int, _ pieces: [UnsafeRawBufferPointer], at offset: Int, count: Int, failure: FileError?
    ) {
        self.id = id
        self.failure = failure
        range = offset..<offset + count
        isWhole = offset % DiskPage.sectorSize == 0 && count % DiskPage.sectorSize == 0
        patches = DiskImage.split(range).map { page, part in
            PagePatch(page: page, content: DiskPage(), mask: .touched(by: part))
        }
        copy(pieces)
        for patch in patches {
            for sector in 0..<DiskPage.sectorCount where patch.mask.contains(sector) {
                patch.content.rehash(sector)
            }
        }
    }

    /// Copies as many bytes as `range` has, piece after piece.
    private func copy(_ pieces: [UnsafeRawBufferPointer]) {
        var position = range.lowerBound
        for piece in pieces {
            var rest = piece.prefix(range.upperBound - position)
            while !rest.isEmpty {
                let page = position / DiskPage.size
                let start = position % DiskPage.size
                let part = rest.prefix(DiskPage.size - start)
                let content = patches[page - range.lowerBound / DiskPage.size].content
                let target = content.mutableBytes.baseAddress! + start
                memcpy(target, UnsafeRawBufferPointer(rebasing: part).baseAddress!, part.count)
                position += part.count
                rest = rest.dropFirst(part.count)
            }
        }
    }

    /// Merges the bytes into the sectors of `image`, as the page cache does with a write, and
    /// leaves the result in both.
    mutating func merge(into image: inout DiskImage) {
        if isWhole {
            image.apply(patches)
            return
        }
        let first = range.lowerBound / DiskPage.size
        for (page, part) in DiskImage.split(range) {
            let bytes = patches[page - first].content.bytes[part]
            let offset = page * DiskPage.size + part.lowerBound
            image.write(UnsafeRawBufferPointer(rebasing: bytes), at: offset)
        }
        patches = image.patches(touching: range)
        isWhole = true
    }

    /// Keeps only the sectors for which `choose` says so, a mask for each page.
    mutating func keepSectors(_ choose: (PagePatch) -> SectorMask) {
        for index in patches.indices {
            patches[index].mask.bits &= choose(patches[index]).bits
        }
    }

    var sectorCount: Int { patches.reduce(0) { $0 + $1.mask.count } }

    func covers(sectorAt offset: Int) -> Bool {
        let sector = offset % DiskPage.size / DiskPage.sectorSize
        return patches.contains {
            $0.page == offset / DiskPage.size && $0.mask.contains(sector)
        }
    }
}
