import FileIO

/// The four superblock copies of a file, read and judged. docs/format.md, "Superblock", open rule.
public struct SuperblockSet: Sendable {
    /// The highest generation found in any valid copy (I12).
    public let current: Superblock
    /// Copies of the current generation's pair that are missing, damaged or older.
    public let badCopies: [Int]

    /// Reads all copies; writes nothing. Throws `.foreign`, `.garbage`, `.needsCheck`,
    /// `.unsupported`.
    public static func read(_ file: any FileIO) throws(CacheFileError) -> SuperblockSet {
        try read(file, Refusals(goesOn: false))
    }

    /// The same; a broken chain of generations may be passed.
    package static func read(
        _ file: any FileIO, _ refusals: Refusals
    ) throws(CacheFileError) -> SuperblockSet {
        let size = try io { () throws(FileError) in try file.size() }
        let head = try readBlock(file, at: 0, size: size)
        try rejectForeign(head)
        var found: [Int: Superblock] = [:]
        if let head { found[0] = Superblock.decode(head.bytes, copy: 0) }
        if let second = try readBlock(file, at: Geometry.superblockStride, size: size) {
            found[1] = Superblock.decode(second.bytes, copy: 1)
        }
        if let front = found[0] ?? found[1] {
            if let end = ringEnd(front, size: size) {
                try readFar(file, ringEnd: end, size: size, into: &found)
            }
        } else {
            try probe(file, size: size, into: &found)
        }
        guard let current = newest(found) else {
            if let head, Superblock.hasMagic(head.bytes) {
                throw CacheFileError(.needsCheck, "SB_NONE: no superblock copy is intact")
            }
            throw CacheFileError(.garbage, "no cache file: it does not begin like one")
        }
        try rejectUnsupported(current)
        try rejectFork(current, found, refusals)
        try rejectImpossible(current)
        let bad = current.copies.filter { found[$0] != current }
        return SuperblockSet(current: current, badCopies: bad)
    }

    /// The highest generation. Two different superblocks may have it: one whose flush a power cut
    /// stopped, and the one that the recovery after it wrote and could not flush either. Nothing
    /// depends on either, so both are right; the later session is taken, then the lower copy.
    private static func newest(_ found: [Int: Superblock]) -> Superblock? {
        let order = found.sorted { $0.key < $1.key }.map(\.value)
        return order.max { ($0.generation, $0.session) < ($1.generation, $1.session) }
    }

    private static func readBlock(
        _ file: any FileIO, at offset: Int, size: Int
    ) throws(CacheFileError) -> AlignedBuffer? {
        guard offset >= 0, offset <= size - Superblock.size else { return nil }
        let buffer = AlignedBuffer(Superblock.size)
        try io { () throws(FileError) in
            try file.read(into: buffer.mutableBytes, at: offset, .direct)
        }
        return buffer
    }

    /// Where the ring ends, if that lies within the file.
    private static func ringEnd(_ sb: Superblock, size: Int) -> Int? {
        let (end, overflow) = sb.ringOffset.addingReportingOverflow(sb.ringLength)
        return overflow || end > UInt64(size) ? nil : Int(end)
    }

    private static func readFar(
        _ file: any FileIO, ringEnd: Int, size: Int, into found: inout [Int: Superblock]
    ) throws(CacheFileError) {
        for copy in 2...3 {
            let offset = ringEnd + (copy - 2) * Geometry.superblockStride
            if let block = try readBlock(file, at: offset, size: size) {
                found[copy] = Superblock.decode(block.bytes, copy: UInt32(copy))
            }
        }
    }

    /// With both front copies lost, the far ones lie within 3 GiB: at a multiple of 4 KiB in the
    /// first 4 MiB, at one of 64 KiB behind them (`LayoutRequest` sees to that).
    private static func probe(
        _ file: any FileIO, size: Int, into found: inout [Int: Superblock]
    ) throws(CacheFileError) {
        let dense = stride(from: 2 * Geometry.superblockStride, to: min(size, 4 << 20), by: 4096)
        let wide = stride(
            from: 4 << 20, to: max(4 << 20, min(size, 3 << 30)), by: Geometry.superblockStride)
        for offset in [Array(dense), Array(wide)].joined() {
            guard let block = try readBlock(file, at: offset, size: size) else { return }
            for copy in 2...3 {
                guard let sb = Superblock.decode(block.bytes, copy: UInt32(copy)) else { continue }
                guard let end = ringEnd(sb, size: size) else { continue }
                let place = end + (copy - 2) * Geometry.superblockStride
                if place == offset { found[copy] = sb }
            }
            if let near = found[2], let end = ringEnd(near, size: size) {
                return try readFar(file, ringEnd: end, size: size, into: &found)
            }
            if found[3] != nil { return }
        }
    }

    // MARK: Refusals

    private static func rejectForeign(_ head: AlignedBuffer?) throws(CacheFileError) {
        guard let head else { return }
        let signature = head.bytes.field(0, UInt32.self)
        if signature == 0xe496_f17b || signature.byteSwapped == 0xe496_f17b {
            throw CacheFileError(.foreign, "a cache file of the original s3backer")
        }
    }

    private static func rejectUnsupported(_ sb: Superblock) throws(CacheFileError) {
        if sb.formatMajor != Superblock.formatMajor {
            throw CacheFileError(
                .unsupported,
                "VER_NEWER: format \(sb.formatMajor).\(sb.formatMinor), this program knows \(Superblock.formatMajor)"
            )
        }
        if sb.featIncompat & ~Superblock.knownIncompat != 0 {
            throw CacheFileError(
                .unsupported,
                "FEAT_UNKNOWN: needs features 0x\(String(sb.featIncompat, radix: 16)) that this program does not know"
            )
        }
    }

    private static func rejectFork(
        _ current: Superblock, _ found: [Int: Superblock], _ refusals: Refusals
    ) throws(CacheFileError) {
        for sb in found.values where sb.generation &+ 1 == current.generation {
            if sb.crc != current.parentCRC {
                return try refusals.refuse(
                    CacheFileError(
                        .needsCheck,
                        "SB_FORK: generation \(current.generation) does not follow from \(sb.generation)"
                    ))
            }
        }
    }

    /// Counters that no file reaches: the next generation, session or epoch must not overflow.
    private static func rejectImpossible(_ sb: Superblock) throws(CacheFileError) {
        let counters = [
            sb.generation, sb.session, sb.openEpoch, sb.checkpointLSN, sb.recoveredLSN,
            sb.recoveredPosition,
        ]
        guard counters.allSatisfy({ $0 < UInt64.max / 4 }),
            sb.checkpointSeq < RootTable.generationMax - 1
        else { throw CacheFileError(.needsCheck, "SB_COPY_BAD: impossible counters") }
    }

    // MARK: Writing

    /// Writes a superblock to its two copies, or some of them. Not durable before a flush that starts
    /// later.
    package static func write(
        _ sb: Superblock, copies: [Int]? = nil, to file: any FileIO, offset: (Int) -> Int
    ) throws(FileError) {
        for copy in copies ?? Array(sb.copies) {
            let buffer = sb.encode(copy: UInt32(copy))
            try file.write(buffer.bytes, at: offset(copy), .cached)
            extendLifetime(buffer)
        }
    }
}
