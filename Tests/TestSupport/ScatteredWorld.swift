import CacheFile
import FileIO

/// A file whose dirty blocks lie behind clean ones: what a resize has to move.
package enum ScatteredWorld {
    package static let slots = 24

    /// Dirty blocks of every kind from slot 10 on, clean ones before.
    package static func make() throws -> [UInt8] {
        let file = try SmallWorld.make(slots: slots)
        let session = try TestSession(file)
        for block: UInt64 in [0, 1, 2, 8, 11, 12, 13, 14, 15, 26] {
            try session.map(block, version: 1, fill: true)
        }
        try session.commit()
        try session.checkpoint()
        try GoldenImages.fill(session) { _ in }
        try session.seal()
        return file.bytes
    }

    /// What nothing may change: dirty blocks with all that decides what is read and sent, and trims.
    /// Not the slot, nor which record named it last.
    package static func kept(_ state: CacheState) -> [String] {
        describe(state).split(separator: "\n").compactMap { line -> String? in
            var parts = line.split(separator: ":", omittingEmptySubsequences: false)
            if line.hasPrefix("z") { return String(parts[0]) }
            if parts[2] == "\(SlotState.clean.rawValue)" { return nil }
            parts.remove(at: 3)
            parts.remove(at: 0)
            return parts.joined(separator: ":")
        }.sorted()
    }
}
