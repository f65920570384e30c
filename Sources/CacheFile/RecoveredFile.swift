// What recovery finds out about a file.

import FileIO
import Journal

/// Something worth telling about a file. Codes: docs/format.md, "Findings".
public struct Finding: Sendable, Equatable {
    public enum Severity: String, Sendable { case info, warning, error, fatal }
    public let code: String
    public let severity: Severity
    public let message: String

    public init(_ code: String, _ severity: Severity, _ message: String) {
        self.code = code
        self.severity = severity
        self.message = message
    }
}

/// What steps 2 to 7 of recovery made of a file: the state to go on from, in memory only.
package struct RecoveredFile {
    package var superblocks: SuperblockSet
    package var geometry: Geometry
    package var seeds: SeedSpace
    package var root: RootTable
    package var state: CacheState
    package var scan: RingScan
    /// Granules of fills whose bytes did not reach the medium (I21).
    package var droppedFills: [EvictRecord]
    package var findings: [Finding]
    package var lastEpoch: UInt64
    /// Why a mount refuses the file, where the look at it went on all the same.
    package var refusals: [Finding]
    /// Directory pages that are lost; of their slots only what the journal says is known.
    package var lostPages: Set<Int>
    /// Granules of fills whose bytes did not reach the medium, by the LSN of their record.
    package var badFills: [LSN: GranuleSet]
    /// Pages of which one copy is damaged.
    package var matedPages: Set<Int>
    package var rebuilt: Rebuilt

    package var superblock: Superblock { superblocks.current }

    /// Where replay has to begin after a checkpoint at the end of the log.
    var tail: RingPoint {
        let oldest = state.oldestNeeded()
        let group = scan.accepted.first { $0.header.position == oldest }?.header
        return group.map {
            RingPoint(position: $0.position, lsn: $0.firstLSN, prevGroupCRC: $0.prevGroupCRC)
        } ?? scan.end
    }
}

/// What was found out about payloads and slots of a file of which only the metadata is here.
package struct JudgedPayloads: Sendable {
    /// Where the log ends: what the group there says is not true of the bytes.
    package var end: UInt64
    package var badFills: [LSN: GranuleSet]

    package init(end: UInt64, badFills: [LSN: GranuleSet]) {
        self.end = end
        self.badFills = badFills
    }
}

/// What superblocks, tables and ring say.
package struct FastLook {
    package let superblock: Superblock
    package let geometry: Geometry
    package let scan: RingScan
    package let findings: [Finding]

    package var ringBytesUsed: Int { Int(scan.end.position - superblock.tail.position) }
}
