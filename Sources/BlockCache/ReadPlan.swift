import BlockStore
import CacheFile
import FileIO
import Journal

/// Granules of one block to bring together in one buffer, each from where it is now.
///
/// Built under the engine lock; while it runs, its slot counts as in use and its ring bytes are
/// pinned, so what it reads cannot change under it (R4). Run by `PlanRunner` without the lock.
package final class ReadPlan: @unchecked Sendable {
    struct Piece {
        enum Source {
            /// Byte offset of the slot in the file.
            case slot(offset: Int)
            /// Byte offset of the granule in the file, within the ring.
            case ring(offset: Int)
            case memory(DataPiece)
            case zeros
        }
        var source: Source
        /// Granules of the block, and where the first one goes.
        var granules: Range<Int>
        var targetOffset: Int
        /// One for each granule, unless the source needs no check.
        var crcs: [UInt32] = []
    }

    package let block: UInt64
    let slot: Int?
    package let target: AlignedBuffer
    let wantsDigest: Bool
    fileprivate(set) var pieces: [Piece] = []
    var ringPins: [UInt64] = []
    /// Set by the runner.
    package fileprivate(set) var badGranules = GranuleSet()
    package fileprivate(set) var error: FileError?
    /// Of the whole block, if it was asked for: SHA-256, nil where all is zeros.
    package fileprivate(set) var digest: [UInt8]?
    /// Checksums of granules of zeros, for those who will write them somewhere.
    fileprivate(set) var zeroCRCs: [Int: UInt32] = [:]
    let needsZeroCRCs: Bool

    init(
        block: UInt64, slot: Int?, target: AlignedBuffer, wantsDigest: Bool = false,
        needsZeroCRCs: Bool = false
    ) {
        self.wantsDigest = wantsDigest
        self.needsZeroCRCs = needsZeroCRCs
        self.block = block
        self.slot = slot
        self.target = target
    }

    /// Adds a granule; neighbours from the same slot become one transfer.
    func add(_ source: Piece.Source, granule: Int, targetOffset: Int, crc: UInt32?) {
        if case .slot = source, let crc, let last = pieces.last, case .slot = last.source,
            last.granules.upperBound == granule
        {
            let at = pieces.count - 1
            pieces[at].granules = last.granules.lowerBound..<granule + 1
            pieces[at].crcs.append(crc)
            return
        }
        pieces.append(
            Piece(
                source: source, granules: granule..<granule + 1, targetOffset: targetOffset,
                crcs: crc.map { [$0] } ?? []))
    }

    var isMemoryOnly: Bool {
        pieces.allSatisfy {
            switch $0.source {
            case .memory, .zeros: true
            case .slot, .ring: false
            }
        }
    }
}

/// Carries a plan out.
package struct PlanRunner {
    let file: any FileIO
    let geometry: Geometry
    let seeds: SeedSpace

    package init(file: any FileIO, geometry: Geometry, seeds: SeedSpace) {
        self.file = file
        self.geometry = geometry
        self.seeds = seeds
    }

    /// Reads and checks everything. A mismatch through the page cache is read again past it, since
    /// only what is on the medium counts as rot. Blocks: disk reads.
    package func run(_ plan: ReadPlan) {
        for piece in plan.pieces {
            do {
                try run(piece, plan)
            } catch {
                plan.error = error
                return
            }
        }
        if plan.wantsDigest, !plan.target.bytes.isAllZero {
            plan.digest = Digest.sha256(plan.target.bytes)
        }
    }

    private func run(_ piece: ReadPlan.Piece, _ plan: ReadPlan) throws(FileError) {
        let size = geometry.granuleSize
        let range = piece.targetOffset..<piece.targetOffset + piece.granules.count * size
        let target = plan.target.mutableSlice(range)
        switch piece.source {
        case .zeros:
            target.initializeMemory(as: UInt8.self, repeating: 0)
            if plan.needsZeroCRCs {
                let granule = piece.granules.lowerBound
                plan.zeroCRCs[granule] = GranuleChecksum.of(
                    UnsafeRawBufferPointer(target), block: plan.block, granule: granule, geometry,
                    seeds)
            }
        case .memory(let data):
            let start = data.range.lowerBound
            target.copyMemory(from: data.buffer.slice(start..<start + target.count))
        case .slot(let slotOffset):
            try read(piece, plan, target, at: slotOffset + piece.granules.lowerBound * size)
        case .ring(let offset):
            try read(piece, plan, target, at: offset)
        }
    }

    private func read(
        _ piece: ReadPlan.Piece, _ plan: ReadPlan, _ target: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(FileError) {
        try file.read(into: target, at: offset, .cached)
        if bad(target, plan.block, piece.granules, piece.crcs).isEmpty { return }
        try file.read(into: target, at: offset, .direct)
        plan.badGranules = plan.badGranules.union(
            bad(target, plan.block, piece.granules, piece.crcs))
    }

    /// Those of the granules in `target` that are not what their checksums say.
    func bad(
        _ target: UnsafeMutableRawBufferPointer, _ block: UInt64, _ granules: Range<Int>,
        _ crcs: [UInt32]
    ) -> GranuleSet {
        let size = geometry.granuleSize
        var bad = GranuleSet()
        for (number, granule) in granules.enumerated() {
            let bytes = UnsafeRawBufferPointer(
                rebasing: UnsafeRawBufferPointer(target)[number * size..<(number + 1) * size])
            let crc = GranuleChecksum.of(bytes, block: block, granule: granule, geometry, seeds)
            if crc != crcs[number] { bad.insert(granule) }
        }
        return bad
    }
}

/// The checksum of a granule, the same in any slot and in the journal.
package enum GranuleChecksum {
    @inline(__always)
    package static func of(
        _ bytes: UnsafeRawBufferPointer, block: UInt64, granule: Int, _ geometry: Geometry,
        _ seeds: SeedSpace
    ) -> UInt32 {
        let index = geometry.granuleSeedIndex(block: block, granule: granule)
        return Checksum.crc32c(bytes, seed: seeds.seed(.granule, index))
    }
}
