import FileIO
import Glibc

/// A file in flat memory, for tests that open thousands of slightly damaged images.
///
/// `@unchecked Sendable`: one test owns it and uses it from one thread.
package final class MemoryFile: FileIO, @unchecked Sendable {
    package var bytes: [UInt8]

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    package func flip(_ bit: Int) { bytes[bit >> 3] ^= 1 << UInt8(bit & 7) }

    package func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        guard offset >= 0, offset <= bytes.count, target.count <= bytes.count - offset else {
            throw FileError(.shortFile, "memory file ends before \(offset)")
        }
        guard let start = target.baseAddress else { return }
        bytes.withUnsafeBytes { _ = memcpy(start, $0.baseAddress! + offset, target.count) }
    }

    package func write(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath
    ) throws(FileError) {
        var at = offset
        for piece in pieces {
            guard at >= 0, piece.count <= bytes.count - at else {
                throw FileError(.io, "write beyond the memory file at \(at)")
            }
            bytes.withUnsafeMutableBytes { all in
                UnsafeMutableRawBufferPointer(rebasing: all[at..<at + piece.count])
                    .copyMemory(from: piece)
            }
            at += piece.count
        }
    }

    package func flush() throws(FileError) {}
    package func flushAll() throws(FileError) {}

    package func reserve(_ length: Int, at offset: Int) throws(FileError) {
        let missing = offset + length - bytes.count
        if missing > 0 { bytes.append(contentsOf: repeatElement(0, count: missing)) }
    }

    package func truncate(to size: Int) throws(FileError) {
        bytes.removeLast(max(0, bytes.count - size))
    }

    package func size() throws(FileError) -> Int { bytes.count }
}
