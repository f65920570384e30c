import CacheFile
import FileIO
import Journal

/// Makes a bundle of a cache file.
///
/// What looks like metadata and is not, because it is damaged, may be anything, also somebody's
/// data: of such a place at most the fields that show what it was to be go in.
struct BundleWriter {
    private let source: any FileIO
    private let reader: WindowedReader
    private let superblock: Superblock
    private let geometry: Geometry
    private let seeds: SeedSpace
    private let judged: JudgedPayloads
    private let target: NewFile
    private var run: (offset: Int, bytes: [UInt8]) = (0, [])
    private static let runMax = 1 << 20

    /// - Parameter recovered: nil: recovery gets nowhere near the journal.
    init(
        _ source: any FileIO, _ superblock: Superblock, _ geometry: Geometry,
        _ recovered: RecoveredFile?, _ target: NewFile
    ) throws(FileError) {
        self.source = source
        self.superblock = superblock
        self.geometry = geometry
        self.target = target
        reader = try WindowedReader(source)
        seeds = SeedSpace(fileUUID: superblock.fileUUID)
        judged = JudgedPayloads(
            end: recovered?.scan.end.position ?? superblock.tail.position,
            badFills: recovered?.badFills ?? [:])
    }

    mutating func write() throws(FileError) {
        try target.append(header())
        try putSuperblock(0)
        try putSuperblock(1)
        for copy in 0..<2 { try putZones(ZoneTable.offset(copy: copy)) }
        try putRing()
        try putSuperblock(2)
        try putSuperblock(3)
        for area in tables.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if geometry.rootOffsets.contains(area.lowerBound) {
                try putRoot(area)
            } else {
                try putPages(area)
            }
        }
        try endRun()
        try target.append([UInt8](repeating: 0, count: 16))
    }

    /// Both copies of root and directory.
    private var tables: [Range<Int>] {
        let hot = geometry.hotPagesPerZone * Geometry.pageSize
        let cold = geometry.pagesPerZone * Geometry.pageSize - hot
        var areas = geometry.rootOffsets.map { $0..<$0 + geometry.pageCount * 8 }
        for zone in geometry.zones {
            areas += zone.hotOffsets.map { $0..<$0 + hot }
            areas += zone.coldOffsets.map { $0..<$0 + cold }
        }
        return areas
    }

    private func header() throws(FileError) -> [UInt8] {
        let fills = judged.badFills.sorted { $0.key < $1.key }
        var bytes = [UInt8](
            repeating: 0, count: BundleFile.headerSize + fills.count * BundleFile.fillSize)
        let size = try source.size()
        bytes.withUnsafeMutableBytes {
            $0.setBytes(0, BundleFile.magic)
            $0.setField(16, BundleFile.version)
            $0.setField(24, UInt64(size))
            $0.setField(32, judged.end)
            $0.setField(40, UInt32(fills.count))
            for (index, fill) in fills.enumerated() {
                let at = BundleFile.headerSize + index * BundleFile.fillSize
                $0.setField(at, fill.key)
                for word in 0..<4 { $0.setField(at + 8 + 8 * word, fill.value[word: word]) }
            }
        }
        let crc = BundleFile.checksum(bytes)
        bytes.withUnsafeMutableBytes { $0.setField(20, crc) }
        return bytes
    }

    // MARK: Parts

    private mutating func putSuperblock(_ copy: Int) throws(FileError) {
        let offset = geometry.superblockOffset(copy)
        let block = try read(offset..<offset + Superblock.size)
        let bytes = block.bytes
        if Superblock.decode(bytes, copy: UInt32(copy)) != nil {
            try put(offset, bytes)
        } else if Superblock.hasMagic(bytes) {
            try put(offset, block.slice(0..<16))
        }
        withExtendedLifetime(block) {}
    }

    private mutating func putZones(_ offset: Int) throws(FileError) {
        let table = try read(offset..<offset + Geometry.zoneTableBytes)
        let stored: UInt32 = table.bytes.field(12)
        table.mutableBytes.setField(12, UInt32(0))
        let crc = Checksum.crc32c(table.bytes, seed: seeds.seed(.zones, 0))
        guard stored == crc else { return }
        table.mutableBytes.setField(12, stored)
        try putPieces(offset, table.bytes)
    }

    /// Of the two only the one that the superblock names can be told from anything else.
    private mutating func putRoot(_ area: Range<Int>) throws(FileError) {
        let root = try read(area)
        let crc = Checksum.crc32c(root.bytes, seed: seeds.seed(.root, 0))
        if crc == superblock.rootCRC { try putPieces(area.lowerBound, root.bytes) }
    }

    /// Leaves out what is zeros.
    private mutating func putPieces(
        _ offset: Int, _ bytes: UnsafeRawBufferPointer
    ) throws(FileError) {
        for at in stride(from: 0, to: bytes.count, by: Geometry.pageSize) {
            let end = min(at + Geometry.pageSize, bytes.count)
            let piece = UnsafeRawBufferPointer(rebasing: bytes[at..<end])
            if !piece.isAllZero { try put(offset + at, piece) }
        }
    }

    private mutating func putPages(_ area: Range<Int>) throws(FileError) {
        for at in stride(from: area.lowerBound, to: area.upperBound, by: Geometry.pageSize) {
            let block = try read(at..<at + Geometry.pageSize)
            if block.bytes.isAllZero { continue }
            let isPage =
                block.bytes.field(0, UInt32.self) == SlotTable.pageMagic
                && block.bytes.copy(8, 8) == seeds.fileIdentity
            try put(at, block.slice(0..<(isPage ? Geometry.pageSize : Geometry.pageHeaderSize)))
            withExtendedLifetime(block) {}
        }
    }

    /// Headers of groups, whole ones of any lap; of the place where the log ends what shows that a
    /// group was to be there.
    private mutating func putRing() throws(FileError) {
        let length = geometry.ringLength
        let end = Int(judged.end % UInt64(length))
        for at in stride(from: 0, to: length, by: RingFormat.blockSize) {
            let place = geometry.ringOffset + at
            let first = try read(place..<place + RingFormat.blockSize)
            if let header = GroupHeader.decode(first.bytes, ringLength: length),
                header.position % UInt64(length) == UInt64(at)
            {
                let blocks = try read(place..<place + header.headerBlocks * RingFormat.blockSize)
                if header.isIntact(blocks.mutableBytes, seeds: seeds) {
                    try put(place, blocks.bytes)
                    continue
                }
            }
            if at == end {
                try put(place, first.slice(0..<RingFormat.headerSize))
            }
            withExtendedLifetime(first) {}
        }
    }

    private func read(_ area: Range<Int>) throws(FileError) -> AlignedBuffer {
        let buffer = AlignedBuffer(area.count)
        try reader.read(into: buffer.mutableBytes, at: area.lowerBound)
        return buffer
    }

    // MARK: Pieces

    private mutating func put(_ offset: Int, _ bytes: UnsafeRawBufferPointer) throws(FileError) {
        let end = run.offset + run.bytes.count
        // What a group of several header blocks brought along.
        guard offset >= end else { return }
        if offset != end || run.bytes.count >= Self.runMax {
            try endRun()
            run.offset = offset
        }
        run.bytes.append(contentsOf: bytes)
    }

    private mutating func endRun() throws(FileError) {
        if run.bytes.isEmpty { return }
        var head = [UInt8](repeating: 0, count: 16)
        head.withUnsafeMutableBytes {
            $0.setField(0, UInt64(run.offset))
            $0.setField(8, UInt64(run.bytes.count))
        }
        try target.append(head)
        try target.append(run.bytes)
        run.bytes = []
    }
}
