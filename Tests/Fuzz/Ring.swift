// The journal with arbitrary groups and records, checksums right or as they are: what is accepted
// is one chain from the tail on, within one lap of the ring, and none of it is read beyond it.

import CacheFile
import FileIO
import Journal

private func checkChain(_ recovered: RecoveredFile) {
    let sb = recovered.superblock
    var point = sb.tail
    var session: UInt64 = 0
    for group in recovered.scan.accepted {
        check(group.header.position == point.position, "a gap in the chain")
        check(group.header.firstLSN == point.lsn, "a gap of LSNs")
        check(group.header.prevGroupCRC == point.prevGroupCRC, "a group of another chain")
        check(group.header.session >= session && group.header.session <= sb.session, "session")
        check(group.records.count == group.header.recordCount, "records")
        session = group.header.session
        point = RingPoint(
            position: point.position + UInt64(group.header.byteCount),
            lsn: group.header.lastLSN + 1, prevGroupCRC: group.header.headerCRC)
    }
    check(point == recovered.scan.end, "the end is not behind the last group")
    let lap = UInt64(recovered.geometry.ringLength)
    check(point.position - sb.tail.position <= lap, "more than one lap")
    check(recovered.scan.durable < point.lsn, "a hole was accepted")
    recovered.state.zeros.checkInvariants()
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    var input = FuzzInput(bytes, count)
    let choice = input.byte()
    let image = BaseImage.all[Int(choice >> 1) & 3]
    let file = MemoryFile(image.bytes)
    input.change(file, in: [image.ring])
    if choice & 1 == 1 { Seal.all(file, image.geometry, image.seeds) }
    if let recovered = try? Recovery.run(file) { checkChain(recovered) }
    return 0
}
