// The root: 8 bytes for each directory page, {crc u32, generation 31 bits, copy 1 bit}. Two copies;
// the superblock names the valid one and its CRC. An entry of zeros: page never written, all free.

import FileIO

/// Which copy of each directory page is the current one.
package struct RootTable: Sendable {
    package struct Entry: Sendable, Equatable {
        package var crc: UInt32 = 0
        package var generation: UInt32 = 0
        package var copy = 0
        package var isWritten: Bool { generation != 0 }
    }

    package static let generationMax: UInt32 = 0x7fff_ffff
    static let entrySize = 8

    package var entries: [Entry]

    package init(pageCount: Int) { entries = Array(repeating: Entry(), count: pageCount) }

    /// For a file with another number of slots.
    mutating func resize(to geometry: Geometry) {
        entries = Array(entries.prefix(geometry.pageCount))
        entries += Array(repeating: Entry(), count: geometry.pageCount - entries.count)
        for page in entries.indices where !geometry.isUsed(page) { entries[page] = Entry() }
    }

    package func encode(seeds: SeedSpace) -> (bytes: AlignedBuffer, crc: UInt32) {
        let size = entries.count * Self.entrySize
        let padded = (size + Geometry.pageSize - 1) / Geometry.pageSize * Geometry.pageSize
        let buffer = AlignedBuffer.zeroed(padded)
        for (page, entry) in entries.enumerated() {
            buffer.mutableBytes.setField(page * Self.entrySize, entry.crc)
            let place = entry.generation | UInt32(entry.copy) << 31
            buffer.mutableBytes.setField(page * Self.entrySize + 4, place)
        }
        let crc = Checksum.crc32c(buffer.slice(0..<size), seed: seeds.seed(.root, 0))
        return (buffer, crc)
    }

    /// Reads the root that the superblock names. Throws `.needsCheck` when it is damaged.
    package static func read(
        _ sb: Superblock, _ geometry: Geometry, _ file: any FileIO, seeds: SeedSpace,
        findings: inout [Finding]
    ) throws(CacheFileError) -> RootTable {
        guard sb.rootCopy < 2 else {
            throw CacheFileError(.needsCheck, "ROOT_BAD: copy \(sb.rootCopy)")
        }
        let buffer = AlignedBuffer(geometry.pageCount * entrySize)
        let copy = try Mates.find(named: Int(sb.rootCopy), "ROOT_BAD", "root", &findings) {
            copy throws(CacheFileError) in
            try io { () throws(FileError) in
                try WindowedReader(file).read(
                    into: buffer.mutableBytes, at: geometry.rootOffsets[copy])
            }
            return Checksum.crc32c(buffer.bytes, seed: seeds.seed(.root, 0)) == sb.rootCRC
        }
        guard copy != nil else {
            throw CacheFileError(.needsCheck, "ROOT_BAD: the table of directory pages is damaged")
        }
        return withExtendedLifetime(buffer) { RootTable(buffer.bytes) }
    }

    /// As these bytes say, which may be no root.
    init(_ bytes: UnsafeRawBufferPointer) {
        entries = stride(from: 0, to: bytes.count, by: Self.entrySize).map { at in
            let place: UInt32 = bytes.field(at + 4)
            return Entry(
                crc: bytes.field(at), generation: place & Self.generationMax,
                copy: Int(place >> 31))
        }
    }
}
