// A bundle: the metadata of a cache file without a byte of its blocks.
//
//  off  size  field
//    0  16    magic "S3BSWIFTBUNDLE" 1 newline
//   16  u32   version 1        20 u32  CRC-32C of the header and the fills, this field as zero
//   24  u64   size of the cache file
//   32  u64   where the log ends: the payload of the group at this ring position is not right
//   40  u32   fills            44      zero to 64
//   64        fills, 40 bytes each: u64 LSN of the record, 32 bytes granules that are not there
//             pieces, ascending: u64 offset in the cache file, u64 bytes, then the bytes; the last
//             one has no bytes. Everything between them is zeros.

import CacheFile
import FileIO
import Journal

/// Reads a bundle as if it were the file it was made of.
///
/// `@unchecked Sendable`: nothing changes once it is open.
final class BundleFile: FileIO, @unchecked Sendable {
    static let magic: [UInt8] = Array("S3BSWIFTBUNDLE".utf8) + [1, 0x0a]
    static let version: UInt32 = 1
    static let headerSize = 64
    static let fillSize = 40
    private static let fillsMax = 1 << 16

    private struct Piece {
        let offset: Int
        let count: Int
        /// In the bundle.
        let place: Int
    }

    private let file: PosixFile
    private let fileSize: Int
    private var pieces: [Piece] = []
    let judged: JudgedPayloads

    /// nil: not a bundle. Throws `.io` for a damaged one.
    init?(_ file: PosixFile) throws(FileError) {
        self.file = file
        let size = try file.size()
        guard size >= Self.headerSize else { return nil }
        let header = try Self.read(file, 0, Self.headerSize)
        guard header.prefix(16).elementsEqual(Self.magic) else { return nil }
        let fields = header.withUnsafeBytes {
            (
                version: $0.field(16, UInt32.self), crc: $0.field(20, UInt32.self),
                size: $0.field(24, UInt64.self), end: $0.field(32, UInt64.self),
                fills: Int($0.field(40, UInt32.self))
            )
        }
        guard fields.version == Self.version, let fileSize = Int(exactly: fields.size),
            fileSize < 1 << 60, fields.fills <= Self.fillsMax,
            Self.headerSize + fields.fills * Self.fillSize <= size
        else { throw Self.damaged(file) }
        self.fileSize = fileSize
        let fills = try Self.read(file, Self.headerSize, fields.fills * Self.fillSize)
        guard Self.checksum(header + fills) == fields.crc else { throw Self.damaged(file) }
        judged = JudgedPayloads(end: fields.end, badFills: Self.decode(fills))
        try readPieces(from: Self.headerSize + fills.count, to: size)
    }

    private func readPieces(from start: Int, to end: Int) throws(FileError) {
        var place = start
        var last = 0
        while true {
            guard place <= end - 16 else { throw Self.damaged(file) }
            let head = try Self.read(file, place, 16)
            place += 16
            let (offset, count) = head.withUnsafeBytes {
                (Int(exactly: $0.field(0, UInt64.self)), Int(exactly: $0.field(8, UInt64.self)))
            }
            guard let offset, let count else { throw Self.damaged(file) }
            if count == 0 { return }
            guard offset >= last, count <= end - place, count <= fileSize,
                offset <= fileSize - count
            else { throw Self.damaged(file) }
            pieces.append(Piece(offset: offset, count: count, place: place))
            place += count
            last = offset + count
        }
    }

    private static func damaged(_ file: PosixFile) -> FileError {
        FileError(.io, "\(file.path) is a damaged bundle")
    }

    private static func read(
        _ file: PosixFile, _ offset: Int, _ count: Int
    ) throws(FileError) -> [UInt8] {
        let buffer = AlignedBuffer(count)
        try file.read(into: buffer.mutableBytes, at: offset, .cached)
        return buffer.bytes.copy(0, count)
    }

    /// Of a header and the fills behind it.
    static func checksum(_ bytes: [UInt8]) -> UInt32 {
        var bytes = bytes
        for index in 20..<24 { bytes[index] = 0 }
        return bytes.withUnsafeBytes { Checksum.crc32c($0) }
    }

    private static func decode(_ fills: [UInt8]) -> [LSN: GranuleSet] {
        var found: [LSN: GranuleSet] = [:]
        fills.withUnsafeBytes { bytes in
            for at in stride(from: 0, to: bytes.count, by: fillSize) {
                var granules = GranuleSet()
                for word in 0..<4 { granules[word: word] = bytes.field(at + 8 + 8 * word) }
                found[bytes.field(at)] = granules
            }
        }
        return found
    }

    // MARK: FileIO

    func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        guard offset >= 0, target.count <= fileSize, offset <= fileSize - target.count else {
            throw FileError(.shortFile, "the file ends before byte \(offset + target.count)")
        }
        target.initializeMemory(as: UInt8.self, repeating: 0)
        let end = offset + target.count
        var low = 0
        var high = pieces.count
        while low < high {
            let middle = (low + high) / 2
            if pieces[middle].offset + pieces[middle].count > offset {
                high = middle
            } else {
                low = middle + 1
            }
        }
        for piece in pieces[low...] {
            if piece.offset >= end { break }
            let from = max(piece.offset, offset)
            let to = min(piece.offset + piece.count, end)
            try file.read(
                into: UnsafeMutableRawBufferPointer(rebasing: target[from - offset..<to - offset]),
                at: piece.place + from - piece.offset, .cached)
        }
    }

    func size() throws(FileError) -> Int { fileSize }

    func write(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath
    ) throws(FileError) { throw Self.readOnly }
    func flush() throws(FileError) { throw Self.readOnly }
    func flushAll() throws(FileError) { throw Self.readOnly }
    func reserve(_ length: Int, at offset: Int) throws(FileError) { throw Self.readOnly }
    func truncate(to size: Int) throws(FileError) { throw Self.readOnly }

    private static let readOnly = FileError(.denied, "a bundle is not written to")
}
