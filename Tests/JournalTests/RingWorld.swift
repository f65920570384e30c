import FileIO
import Journal
import Simulation

/// A ring on a simulated disk, and groups made by hand to lie in it.
final class RingWorld {
    static let length = 64 << 10
    static let seeds = SeedSpace(fileUUID: Array(1...16))
    let disk = SimDisk(size: length)
    var journal: Journal

    init(
        session: UInt64 = 1, end: RingPoint = RingPoint(position: 0, lsn: 1, prevGroupCRC: 0),
        tail: UInt64 = 0
    ) {
        journal = Journal(
            geometry: RingGeometry(offset: 0, length: Self.length, granuleSize: 4096),
            session: session, seeds: Self.seeds, epoch: 1, end: end, tail: tail, starts: [])
    }

    /// Flag 1 says that the record has a data block.
    static func record(_ block: UInt64, body: Int = 0, withData: Bool = false) -> RawRecord {
        RawRecord(
            type: 5, flags: withData ? 1 : 0, slot: 1, block: block, aux: 0,
            body: Array(repeating: UInt8(block & 0xff), count: body))
    }

    /// One data block; `isIntact` below recognises it.
    static func data(_ block: UInt64) -> DataPiece {
        let buffer = AlignedBuffer.zeroed(4096)
        buffer.mutableBytes.setField(0, block)
        return DataPiece(buffer, 0..<4096)
    }

    /// One group of one record, written.
    @discardableResult
    func put(_ block: UInt64, withData: Bool = false) throws -> JournalGroup {
        let (_, group, _) = journal.append(
            Self.record(block, withData: withData), data: withData ? [Self.data(block)] : [])
        try write()
        return group
    }

    func write() throws {
        while journal.hasUnwritten, let group = journal.nextWrite() {
            try disk.write(group.imagePieces, at: journal.offset(of: group), .direct)
            journal.writeReturned(group)
        }
    }

    // The journal cannot be copied, so expectations ask for its parts here.
    var nextPoint: RingPoint { journal.nextPoint }
    func nextWrite() -> JournalGroup? { journal.nextWrite() }
    func appendSeal() -> Bool { journal.appendSeal() }
    func point(at position: UInt64) -> RingPoint? { journal.point(at: position) }
    func hasRoom(_ recordBytes: Int, data: Int = 0, reserved: Bool) -> Bool {
        journal.hasRoom(recordBytes: recordBytes, dataBytes: data, reserved: reserved)
    }

    func flush() throws {
        _ = journal.beginFlush()
        try disk.flush()
        journal.flushReturned()
    }

    /// Rot of a group that lies on the medium, whatever the journal knows of flushes.
    func damage(_ position: UInt64, byte: Int = 200) throws {
        try disk.flush()
        disk.flip(bit: 3, at: Int(position % UInt64(Self.length)) + byte)
    }

    func scan(
        tail: RingPoint = RingPoint(position: 0, lsn: 1, prevGroupCRC: 0), session: UInt64 = 1,
        recoveredLSN: LSN = 0, recoveredPosition: UInt64 = 0, checkpointLSN: LSN = 0
    ) throws -> RingScan {
        let start = RingScanStart(
            tail: tail, session: session, recoveredLSN: recoveredLSN,
            recoveredPosition: recoveredPosition, checkpointLSN: checkpointLSN)
        return try RingScanner(
            file: disk, offset: 0, length: Self.length, seeds: Self.seeds, start: start
        ) { record, data in
            record.flags == 0
                || (0..<data.count / 4096).contains {
                    data.field($0 * 4096, UInt64.self) == record.block
                }
        }.scan()
    }
}
