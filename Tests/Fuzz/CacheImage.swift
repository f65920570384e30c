// A whole cache file with arbitrary changes, checksums of the superblock put right: recovery either
// refuses it or reads it, without a crash and without memory beyond what the file justifies.

import CacheFile
import FileIO
import Journal

/// A file in memory; what the fuzzer changes is undone by taking a copy.
private final class MemoryFile: FileIO, @unchecked Sendable {
    var bytes: [UInt8]
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        guard offset >= 0, offset <= bytes.count - target.count else {
            throw FileError(.shortFile, "end of file")
        }
        target.copyBytes(from: bytes[offset..<offset + target.count])
    }

    func write(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath
    ) throws(FileError) {
        var at = offset
        for piece in pieces {
            guard at <= bytes.count - piece.count else { throw FileError(.noSpace, "full") }
            for index in 0..<piece.count { bytes[at + index] = piece[index] }
            at += piece.count
        }
    }

    func flush() throws(FileError) {}
    func flushAll() throws(FileError) {}
    func reserve(_ length: Int, at offset: Int) throws(FileError) {
        if bytes.count < offset + length {
            bytes += [UInt8](repeating: 0, count: offset + length - bytes.count)
        }
    }
    func truncate(to size: Int) throws(FileError) { bytes.removeLast(bytes.count - size) }
    func size() throws(FileError) -> Int { bytes.count }
}

private let image: [UInt8] = {
    var request = LayoutRequest(blockSize: 4096, volumeBlocks: 64, slots: 16, ringBytes: 96 << 10)
    request.ringOffset = 256 << 10
    request.slotAlignment = 4096
    let file = MemoryFile([])
    guard let geometry = try? request.layOut() else { fatalError("layout") }
    let identity = VolumeIdentity(
        binding: [UInt8](repeating: 1, count: 32), volumeUUID: [UInt8](repeating: 0, count: 16),
        blockSize: 4096, volumeBlocks: 64)
    let info = SessionInfo(creator: "fuzz", mounter: "", host: "", bootID: [], mountedAt: 0)
    do {
        try Creation.format(file, geometry: geometry, identity: identity, info: info)
    } catch { fatalError("\(error)") }
    return file.bytes
}()

/// Places where changes matter: superblocks, zone table, ring, roots and pages.
private let hot: [Int] = [0, 0x10000, 0x20000, 0x40000, 0x58000, 0x68000, 0x78000]

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let bytes, count >= 4 else { return 0 }
    let file = MemoryFile(image)
    var at = 1
    while at + 4 <= count {
        let place = hot[Int(bytes[at]) % hot.count] + (Int(bytes[at + 1]) << 4)
        let offset = place + Int(bytes[at + 2] & 15)
        if offset < file.bytes.count { file.bytes[offset] = bytes[at + 3] }
        at += 4
    }
    if bytes[0] & 1 == 1 { mendSuperblocks(file) }
    _ = try? CacheFiles.inspect(file)
    return 0
}

/// Gives the front superblocks a right checksum, so that what is behind it is reached.
private func mendSuperblocks(_ file: MemoryFile) {
    for copy in 0..<2 {
        let start = copy * Geometry.superblockStride
        let buffer = AlignedBuffer.zeroed(Superblock.size)
        buffer.mutableBytes.copyBytes(from: file.bytes[start..<start + Superblock.size])
        buffer.mutableBytes.setField(16, UInt64(0))
        let crc = Checksum.crc32c(buffer.bytes)
        withUnsafeBytes(of: crc.littleEndian) { little in
            for index in 0..<4 { file.bytes[start + 16 + index] = little[index] }
        }
        file.bytes[start + 20] = UInt8(copy)
        for index in 21..<24 { file.bytes[start + index] = 0 }
    }
}
