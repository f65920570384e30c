import CacheFile
import FileIO
import Journal

/// The images of `Tests/Golden`, made anew: the same bytes each time.
package enum GoldenImages {
    /// Without `.cache`.
    package static let names = [
        "clean", "replay", "damaged", "full", "torn", "superblock", "mate", "page", "tables",
    ]

    package static func make(_ name: String) throws -> [UInt8] {
        switch name {
        case "clean", "replay", "damaged": return try makeFirst(name)
        default: break
        }
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        // One checkpoint without changes makes the copies of the pages equal.
        try fill(session, checkpointsAtEnd: name == "mate" ? 2 : 0) { _ in }
        let sb = try SuperblockSet.read(file).current
        let geometry = session.geometry
        switch name {
        case "torn":
            let last = session.journal.offset(of: JournalGroup(recovered: try lastGroup(session)))
            file.bytes[last + 200] ^= 0x40
        case "superblock":
            file.bytes[geometry.superblockOffset(sb.copies[0]) + 300] ^= 0x01
        case "mate", "page":
            // Page 0 has the hot entries of all eight slots.
            var findings: [Finding] = []
            let root = try RootTable.read(
                sb, geometry, file, seeds: SeedSpace(fileUUID: sb.fileUUID), findings: &findings)
            file.bytes[geometry.pageOffset(0, copy: root.entries[0].copy) + 70] ^= 0x10
        case "tables":
            file.bytes[ZoneTable.offset(copy: Int(sb.zoneCopy)) + 70] ^= 0x10
        default: break
        }
        return file.bytes
    }

    /// The first three, which are as old as the format.
    private static func makeFirst(_ name: String) throws -> [UInt8] {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        try session.map(3, version: 1)
        try session.map(4, version: 1, fill: true)
        try session.map(9, granules: 0..<1, version: 1)
        try session.commit()
        session.clean(3)
        session.overwrite(4, granule: 1, version: 2)
        try session.commit()
        if name == "clean" {
            try session.seal()
            try session.destage(4, granule: 1, version: 2)
            try session.checkpoint(clean: true)
            return file.bytes
        }
        try session.checkpoint()
        session.overwrite(3, granule: 0, version: 3)
        try session.commit()
        let broken = session.journal.offset(of: JournalGroup(recovered: try lastGroup(session)))
        try session.extend(9, granules: 1..<2, version: 4)
        try session.commit()
        try session.seal()
        if name == "damaged" { file.bytes[broken + 200] ^= 0x40 }
        return file.bytes
    }

    /// Gives a file everything that one can hold: blocks that are clean, dirty, in part, in
    /// conflict and trimmed; overlays, patches, zero granules, uploads announced, zero extents;
    /// each of them below and above the checkpoint.
    ///
    /// - Parameter note: called with the state after every group, which a crash may leave.
    package static func fill(
        _ session: TestSession, checkpointsAtEnd: Int = 0, note: (CacheState) -> Void
    ) throws {
        func commit() throws {
            try session.commit()
            note(session.state)
        }
        try session.map(3, version: 1)
        try session.map(4, version: 1, fill: true)
        try session.map(5, granules: 0..<1, version: 1)
        try session.map(6, version: 1, fill: true)
        try session.map(7, version: 1)
        try session.map(9, granules: 0..<1, version: 1)
        try commit()
        session.clean(3)
        session.overwrite(4, granule: 1, version: 2)
        session.patch(9, granule: 1, 100..<612, version: 2)
        session.overwrite(6, granule: 0, version: 2)
        session.append(.zeroRange(ZeroRangeRecord(blocks: 16..<20)))
        session.intend(5, digest: Array(1...32))
        try commit()
        try session.checkpoint()
        try session.extend(5, granules: 1..<2, version: 3)
        session.intend(5, digest: Array(33...64))
        session.append(.clean(CleanRecord(slot: session.slot(of: 6), block: 6, .conflict)))
        session.append(.zero(ZeroRecord(slot: session.slot(of: 7), block: 7)))
        session.patch(9, granule: 1, 512..<1000, version: 3)
        try commit()
        try session.map(10, granules: 0..<1, version: 1, zeroBase: true)
        session.append(.zero(ZeroRecord(slot: session.slot(of: 4), block: 4, granules: 0..<1)))
        session.append(
            .cleanRange(CleanRangeRecord(blocks: 17..<18, asOf: session.state.zeros.items[0].lsn)))
        session.append(.zeroRange(ZeroRangeRecord(blocks: 24..<25)))
        session.intend(7, digest: nil)
        try commit()
        for _ in 0..<checkpointsAtEnd { try session.checkpoint() }
        session.overwrite(3, granule: 0, version: 3)
        try commit()
    }

    /// The header of the last group written.
    private static func lastGroup(_ session: TestSession) throws -> GroupHeader {
        let recovered = try Recovery.run(session.file)
        guard let last = recovered.scan.accepted.last else { preconditionFailure("no group") }
        return last.header
    }
}
