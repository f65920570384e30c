// The cache file of the original s3backer, of 1.5 and 2.x and of those before: in the byte order of
// the machine, without checksums.
//
//  off  size  field
//    0  u32   signature 0xe496f17b
//    4  u32   header size: 64, or 32 before 1.5
//    8  u32   size of an int, 4      12 u32 size of a block number, 4
//   16  u32   block size             20 u32 alignment of the data
//   24  u32   flags: 1 = entries have flags
//   28  u32   slots
//   32  i32   mount token, 0 none    36 zero to 64
//             an entry for each slot: u32 block, 16 bytes entity tag, and u32 flags: 1 = dirty;
//             all zero: free. Then, aligned, the slots.

import FileIO

struct ForeignCache {
    struct Entry {
        let slot: Int
        let block: UInt32
        let tag: [UInt8]
        let isDirty: Bool
    }

    static let signature: UInt32 = 0xe496_f17b

    let file: any FileIO
    let blockSize: Int
    let slotCount: Int
    let mountToken: UInt32
    /// In order of blocks; a block in two slots is there twice.
    let entries: [Entry]
    private let dataOffset: Int
    private let size: Int

    /// Throws `.io` with what is wrong.
    init(_ file: any FileIO) throws(FileError) {
        self.file = file
        size = try file.size()
        guard size >= 32 else { throw Self.no("is no cache file of the original s3backer") }
        let head = AlignedBuffer.zeroed(64)
        try file.read(into: head.mutableSlice(0..<min(64, size)), at: 0, .cached)
        let fields = (0..<9).map { head.bytes.field(4 * $0, UInt32.self) }
        guard fields[0] == Self.signature else {
            throw Self.no(
                fields[0].byteSwapped == Self.signature
                    ? "was made on a machine of the other byte order"
                    : "is no cache file of the original s3backer")
        }
        let isNew = fields[1] == 64 && fields[6] & 1 != 0
        guard isNew || fields[1] == 32, fields[2] == 4, fields[3] == 4, fields[4] >= 512,
            fields[4] <= 1 << 30, fields[4] & (fields[4] - 1) == 0, fields[5] >= 1,
            fields[5] <= 1 << 24, fields[5] & (fields[5] - 1) == 0
        else { throw Self.no("has an impossible header") }
        blockSize = Int(fields[4])
        slotCount = Int(fields[7])
        mountToken = isNew ? fields[8] : 0
        let entrySize = isNew ? 24 : 20
        let headSize = Int(fields[1])
        guard slotCount <= (size - min(size, headSize)) / entrySize else {
            throw Self.no("ends inside its directory")
        }
        let align = Int(fields[5])
        dataOffset = (headSize + slotCount * entrySize + align - 1) & ~(align - 1)
        entries = try Self.entries(file, headSize, entrySize, slotCount)
    }

    private static func entries(
        _ file: any FileIO, _ offset: Int, _ entrySize: Int, _ count: Int
    ) throws(FileError) -> [Entry] {
        var found: [Entry] = []
        let perRead = (1 << 20) / entrySize
        let buffer = AlignedBuffer(perRead * entrySize)
        for first in stride(from: 0, to: count, by: perRead) {
            let here = min(perRead, count - first)
            try file.read(
                into: buffer.mutableSlice(0..<here * entrySize), at: offset + first * entrySize,
                .cached)
            for index in 0..<here {
                let entry = buffer.slice(index * entrySize..<(index + 1) * entrySize)
                if entry.isAllZero { continue }
                found.append(
                    Entry(
                        slot: first + index, block: entry.field(0), tag: entry.copy(4, 16),
                        isDirty: entrySize == 24 && entry.field(20, UInt32.self) & 1 != 0))
            }
        }
        return found.sorted { ($0.block, $0.slot) < ($1.block, $1.slot) }
    }

    private static func no(_ what: String) -> FileError { FileError(.io, what) }

    var dirtyCount: Int { entries.count { $0.isDirty } }

    /// Blocks in two slots: the program itself refuses such a file.
    var duplicates: [UInt32] {
        zip(entries, entries.dropFirst()).filter { $0.block == $1.block }.map(\.0.block)
    }

    /// Whether the slot lies in the file.
    func isWhole(_ entry: Entry) -> Bool {
        dataOffset + entry.slot * blockSize <= size - min(size, blockSize)
    }

    func read(
        _ entry: Entry, into target: UnsafeMutableRawBufferPointer
    ) throws(FileError) {
        try file.read(into: target, at: dataOffset + entry.slot * blockSize, .cached)
    }
}
