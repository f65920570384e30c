// Journal groups and records from arbitrary bytes: nothing crashes, and what decodes encodes back
// to the same bytes.

import CacheFile
import FileIO
import Journal

private let seeds = SeedSpace(fileUUID: [UInt8](repeating: 7, count: 16))
private let geometries: [Geometry] = [4096, 16384, 65536, 1 << 20].compactMap { blockSize in
    try? LayoutRequest(blockSize: blockSize, volumeBlocks: 1000, slots: 64).layOut()
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let bytes, count >= 26 else { return 0 }
    let input = UnsafeRawBufferPointer(start: bytes, count: count)
    let geometry = geometries[Int(input[0]) % geometries.count]
    let rest = UnsafeRawBufferPointer(rebasing: input[1...])
    _ = GroupHeader.decode(rest, ringLength: geometry.ringLength)
    let padded = (rest.count - 24 + 7) / 8 * 8
    var body = [UInt8](repeating: 0, count: padded)
    for index in 24..<rest.count { body[index - 24] = rest[index] }
    let raw = RawRecord(
        type: rest[0] & 7, flags: rest[1], slot: rest.field(4), block: rest.field(8),
        aux: rest.field(16), body: body)
    for candidate in [
        raw,
        RawRecord(
            type: raw.type, flags: raw.flags, slot: raw.slot % 64, block: raw.block % 1000,
            aux: raw.aux % 3, body: raw.body),
    ] {
        guard let record = Record.decode(candidate, geometry) else { continue }
        let again = record.encode(geometry)
        check(again == candidate, "a record decodes to something else than it was")
    }
    return 0
}
