// What a repair has overwritten, complete and durable before it writes anything. The byte tables are
// in docs/format.md, "Undo file".

import FileIO
import Journal

/// The bytes that a cache file had before a repair. Untrusted until `read` has checked all of it.
package struct UndoFile {
    package static let magic: [UInt8] = Array("S3BSWIFTUNDO".utf8) + [0, 0, 1, 0x0a]
    package static let version: UInt32 = 1
    /// Header, and the superblocks before, meanwhile and after.
    package static let bodyOffset = 4 * Superblock.size
    package static let entryHeaderSize = 32
    /// Most bytes of an entry.
    private static let entryBytesMax = 1 << 20

    package let before: Superblock
    package let interim: Superblock
    package let after: Superblock
    package let sizeBefore: Int
    private let entryCount: Int
    private let bodyBytes: Int

    /// Mark of a file that is being put back: above all that the repair wrote.
    package var mark: Superblock {
        var mark = after.successor()
        mark.state = Superblock.State.needsCheck.rawValue
        return mark
    }

    // MARK: Writing

    /// Copies what `plan` overwrites. Blocks. Nothing is durable before a flush that starts later,
    /// and `seal` makes it an undo file only after that.
    package static func write(
        _ plan: RepairPlan, of file: any FileIO, to undo: any FileIO,
        progress: (Int) -> Void = { _ in }
    ) throws(FileError) -> UndoFile {
        let pieces = plan.ranges.flatMap { range in
            stride(
                from: range.lowerBound, to: min(range.upperBound, plan.sizeBefore),
                by: entryBytesMax
            ).map { $0..<min($0 + entryBytesMax, range.upperBound, plan.sizeBefore) }
        }.filter { !$0.isEmpty }
        let bodyBytes = pieces.reduce(0) { $0 + entryHeaderSize + $1.count }
        try undo.reserve(bodyOffset + bodyBytes, at: 0)
        var at = bodyOffset
        for piece in pieces {
            let buffer = AlignedBuffer(entryHeaderSize + piece.count)
            let data = entryHeaderSize..<entryHeaderSize + piece.count
            try file.read(into: buffer.mutableSlice(data), at: piece.lowerBound, .cached)
            let bytes = buffer.mutableBytes
            bytes.setField(0, UInt64(piece.lowerBound))
            bytes.setField(8, UInt64(piece.count))
            bytes.setField(16, UInt64(0))
            bytes.setField(24, Checksum.crc32c(buffer.slice(data)))
            bytes.setField(28, Checksum.crc32c(buffer.slice(0..<28)))
            try undo.write(buffer.bytes, at: at, .cached)
            at += buffer.count
            progress(at)
        }
        return UndoFile(
            before: plan.before, interim: plan.interim, after: plan.after,
            sizeBefore: plan.sizeBefore, entryCount: pieces.count, bodyBytes: bodyBytes)
    }

    /// Writes the header, which makes the file count.
    package func seal(_ undo: any FileIO) throws(FileError) {
        let buffer = AlignedBuffer.zeroed(Self.bodyOffset)
        let bytes = buffer.mutableBytes
        bytes.setBytes(0, Self.magic)
        bytes.setField(20, Self.version)
        bytes.setBytes(24, before.fileUUID)
        bytes.setField(40, UInt64(sizeBefore))
        bytes.setField(48, UInt64(entryCount))
        bytes.setField(56, UInt64(bodyBytes))
        for (index, sb) in [before, interim, after].enumerated() {
            let image = sb.encode(copy: 0)
            withExtendedLifetime(image) {
                bytes.setBytes((index + 1) * Superblock.size, image.bytes)
            }
        }
        bytes.setField(16, Checksum.crc32c(buffer.bytes))
        try undo.write(buffer.bytes, at: 0, .cached)
        extendLifetime(buffer)
    }

    // MARK: Reading

    private static func broken(_ what: String) -> CacheFileError {
        CacheFileError(.garbage, "the undo file is damaged or none: \(what)")
    }

    /// Reads and checks all of it. Throws `.garbage`.
    package static func read(_ undo: any FileIO) throws(CacheFileError) -> UndoFile {
        let size = try io { () throws(FileError) in try undo.size() }
        guard size >= bodyOffset else { throw broken("too short") }
        let buffer = AlignedBuffer(bodyOffset)
        try io { () throws(FileError) in
            try undo.read(into: buffer.mutableBytes, at: 0, .cached)
        }
        let bytes = buffer.mutableBytes
        let crc: UInt32 = bytes.field(16)
        bytes.setField(16, UInt32(0))
        guard buffer.bytes.copy(0, 16) == magic, Checksum.crc32c(buffer.bytes) == crc else {
            throw broken("its header is not intact")
        }
        guard buffer.bytes.field(20, UInt32.self) == version else {
            throw CacheFileError(.unsupported, "the undo file is of another version")
        }
        let images = (1...3).map { index in
            Superblock.decode(
                buffer.slice(index * Superblock.size..<(index + 1) * Superblock.size), copy: 0)
        }
        extendLifetime(buffer)
        guard let before = images[0], let interim = images[1], let after = images[2],
            let sizeBefore = Int(exactly: bytes.field(40, UInt64.self)),
            let count = Int(exactly: bytes.field(48, UInt64.self)),
            let body = Int(exactly: bytes.field(56, UInt64.self)), body == size - bodyOffset,
            before.ringLength <= 1 << 32, before.ringOffset <= 1 << 40
        else { throw broken("impossible values") }
        let found = UndoFile(
            before: before, interim: interim, after: after, sizeBefore: sizeBefore,
            entryCount: count, bodyBytes: body)
        try found.entries(undo) { _, _ throws(CacheFileError) in }
        return found
    }

    /// Goes through the entries: their place in the cache file, and its bytes of then.
    package func entries(
        _ undo: any FileIO,
        _ body: (Int, UnsafeRawBufferPointer) throws(CacheFileError) -> Void
    ) throws(CacheFileError) {
        var at = Self.bodyOffset
        let end = Self.bodyOffset + bodyBytes
        let head = AlignedBuffer(Self.entryHeaderSize)
        for _ in 0..<entryCount {
            guard at + Self.entryHeaderSize <= end else { throw Self.broken("an entry is cut") }
            try io { () throws(FileError) in
                try undo.read(into: head.mutableBytes, at: at, .cached)
            }
            guard Checksum.crc32c(head.slice(0..<28)) == head.bytes.field(28, UInt32.self),
                let offset = Int(exactly: head.bytes.field(0, UInt64.self)),
                let count = Int(exactly: head.bytes.field(8, UInt64.self)),
                (1...Self.entryBytesMax).contains(count), offset <= sizeBefore - count,
                at + Self.entryHeaderSize + count <= end
            else { throw Self.broken("an entry is not intact") }
            let data = AlignedBuffer(count)
            try io { () throws(FileError) in
                try undo.read(
                    into: data.mutableBytes, at: at + Self.entryHeaderSize, .cached)
            }
            guard Checksum.crc32c(data.bytes) == head.bytes.field(24, UInt32.self) else {
                throw Self.broken("the bytes of an entry are not intact")
            }
            try withExtendedLifetime(data) { () throws(CacheFileError) in
                try body(offset, data.bytes)
            }
            at += Self.entryHeaderSize + count
        }
        guard at == end else { throw Self.broken("it is longer than its entries") }
    }
}
