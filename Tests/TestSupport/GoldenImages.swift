import CacheFile
import FileIO
import Journal

/// The images of `Tests/Golden`, made anew: the same bytes each time.
package enum GoldenImages {
    package static let names = ["clean.cache", "replay.cache", "damaged.cache"]

    package static func make(_ name: String) throws -> [UInt8] {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        try session.map(3, version: 1)
        try session.map(4, version: 1, fill: true)
        try session.map(9, granules: 0..<1, version: 1)
        try session.commit()
        session.clean(3)
        session.overwrite(4, granule: 1, version: 2)
        try session.commit()
        if name == "clean.cache" {
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
        if name == "damaged.cache" { file.bytes[broken + 200] ^= 0x40 }
        return file.bytes
    }

    /// The header of the last group written.
    private static func lastGroup(_ session: TestSession) throws -> GroupHeader {
        let recovered = try Recovery.run(session.file)
        guard let last = recovered.scan.accepted.last else { preconditionFailure("no group") }
        return last.header
    }
}
