import CacheFile
import FileIO
import Journal
import TestSupport

/// Cache files with everything in them that commands tell of.
enum Worlds {
    /// Blocks 3 dirty and whole, 4 clean, 5 dirty with granule 1 missing but for a patch, 6 in
    /// conflict, 7 clean with a newer granule 1 in the journal (so dirty), 9 and 10 trimmed,
    /// 12 dirty with an upload announced, 20 dirty and zeros but for granule 0. Maybe with more slots
    /// than it was made with.
    static func rich(
        clean: Bool, isGrown: Bool = false, _ snapshot: (MemoryFile) -> Void = { _ in }
    ) throws -> MemoryFile {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        try session.map(3, version: 1)
        try session.map(4, version: 1, fill: true)
        try session.map(7, version: 1, fill: true)
        try session.commit()
        snapshot(file)
        try session.map(5, granules: 0..<1, version: 1)
        try session.map(6, version: 2)
        try session.commit()
        if isGrown { try session.grow(slots: 20) } else { try session.checkpoint() }
        snapshot(file)
        session.patch(5, granule: 1, 100..<300, version: 8)
        session.append(.clean(CleanRecord(slot: session.slot(of: 6), block: 6, .conflict)))
        session.overwrite(7, granule: 1, version: 4)
        session.append(.zeroRange(ZeroRangeRecord(blocks: 9..<11)))
        try session.map(12, version: 5)
        try session.map(20, granules: 0..<1, version: 6, zeroBase: true)
        try session.commit()
        snapshot(file)
        session.append(
            .intent(
                IntentRecord(
                    slot: session.slot(of: 12), block: 12,
                    asOf: session.state.slots.dataLSN(Int(session.slot(of: 12))), base: .unknown,
                    digest: Array(repeating: 3, count: 32))))
        try session.commit()
        try session.seal()
        if clean { try session.checkpoint(clean: true) }
        return file
    }

    /// What a granule of a world holds.
    static func content(_ block: UInt64, _ granule: Int, _ version: Int) -> [UInt8] {
        TestSession.content(block, granule, version, SmallWorld.blockSize / 2)
    }
}
