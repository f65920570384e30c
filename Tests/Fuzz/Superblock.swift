// Superblock copies with arbitrary fields, and the zone table they name, in a file of any size:
// what decodes encodes to a copy that decodes to the same, and a geometry that is accepted lies
// within the file, so that nothing that is allocated for it is beyond what the file justifies.

import CacheFile
import FileIO

/// Superblocks and zone table of an image, in a file that claims to be larger: zeros behind.
private final class LargeFile: FileIO, @unchecked Sendable {
    let front: MemoryFile
    let length: Int

    init(_ front: MemoryFile, _ length: Int) {
        self.front = front
        self.length = max(length, front.bytes.count)
    }

    func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        guard offset >= 0, target.count <= length, offset <= length - target.count else {
            throw FileError(.shortFile, "end of file")
        }
        check(target.count <= 1 << 20, "a read of \(target.count) bytes for the geometry")
        target.initializeMemory(as: UInt8.self, repeating: 0)
        guard offset < front.bytes.count else { return }
        let count = min(target.count, front.bytes.count - offset)
        target.copyBytes(from: front.bytes[offset..<offset + count])
    }

    func write(_: [UnsafeRawBufferPointer], at _: Int, _: IOPath) throws(FileError) {}
    func flush() throws(FileError) {}
    func flushAll() throws(FileError) {}
    func reserve(_: Int, at _: Int) throws(FileError) {}
    func truncate(to _: Int) throws(FileError) {}
    func size() throws(FileError) -> Int { length }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    var input = FuzzInput(bytes, count)
    let choice = input.byte()
    let image = BaseImage.all[Int(choice >> 1) & 3]
    let length = Int(input.number(bytes: 6))
    let front = MemoryFile(image.bytes)
    input.change(front, in: Array(image.places[..<6]))
    let isSealed = choice & 1 == 1
    if isSealed { Seal.all(front, image.geometry, image.seeds) }
    // Looking for copies in a large file takes long.
    let file = LargeFile(front, isSealed ? length : 0)
    guard let set = try? SuperblockSet.read(file) else { return 0 }
    let again = set.current.encode(copy: 0)
    let decoded = withExtendedLifetime(again) { Superblock.decode(again.bytes, copy: 0) }
    check(decoded == set.current, "a superblock encodes to something else")
    var findings: [Finding] = []
    let seeds = SeedSpace(fileUUID: set.current.fileUUID)
    guard
        let geometry = try? ZoneTable.readGeometry(
            set.current, file, seeds: seeds, findings: &findings)
    else { return 0 }
    check(geometry.fileSize <= file.length, "slots beyond the file")
    check(geometry.regions.allSatisfy { $0.upperBound <= file.length }, "an area beyond the file")
    check(geometry.pageCount * Geometry.pageSize <= file.length, "pages beyond the file")
    check(geometry.pageCount * 8 <= geometry.rootCapacity, "a root beyond its place")
    check(geometry.slotCount <= file.length / geometry.blockSize, "slots that have no bytes")
    check(UInt64(geometry.slotCount) == set.current.slotCount, "another number of slots")
    return 0
}
