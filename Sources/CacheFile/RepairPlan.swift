// What a repair would do. Reads the file, writes nothing. docs/format.md, "Repair".

import FileIO
import Journal

/// One thing that a repair does, for people.
package struct RepairAction: Sendable, Equatable {
    package enum Loss: String, Sendable {
        /// Everything that could be read is as it was.
        case none
        /// Blocks are kept, and not uploaded before somebody decides.
        case suspect
        /// The damage has taken what nobody can bring back.
        case lost
    }
    package let code: String
    package let loss: Loss
    package let text: String

    package init(_ code: String, _ loss: Loss, _ text: String) {
        self.code = code
        self.loss = loss
        self.text = text
    }
}

/// Bytes that go from one place of the file to another; `source` nil: zeros.
package struct PlacedCopy: Sendable, Equatable {
    package let source: Int?
    package let target: Int
    package let count: Int
}

/// All that a repair writes, in the order in which it does.
package struct RepairPlan {
    /// As the file is.
    package let before: Superblock
    /// Keeps mounts away while the file is neither as before nor as after.
    package let interim: Superblock
    package let after: Superblock
    package let geometry: Geometry
    package let sizeBefore: Int
    package let copies: [PlacedCopy]
    package let writes: [PlacedWrite]
    package let findings: [Finding]
    package let actions: [RepairAction]
    /// Blocks of which something is lost.
    package let lostBlocks: [UInt64]
    /// Blocks that wait for a decision afterwards.
    package let conflictBlocks: Int

    package var loss: RepairAction.Loss {
        if actions.contains(where: { $0.loss == .lost }) { return .lost }
        return actions.contains { $0.loss == .suspect } ? .suspect : .none
    }

    /// Bytes that the undo file holds.
    package var undoBytes: Int { ranges.reduce(0) { $0 + $1.count } }

    /// Every byte range of the file that is written to, those of the superblocks first.
    package var ranges: [Range<Int>] {
        superblockRanges + copies.map { $0.target..<$0.target + $0.count }
            + writes.map { $0.offset..<$0.offset + $0.buffer.count }
    }

    package var superblockRanges: [Range<Int>] {
        (0..<4).map {
            geometry.superblockOffset($0)..<geometry.superblockOffset($0) + Superblock.size
        }
    }

    /// - Parameter volume: For a file without a superblock, with depth `all`.
    /// - Returns: nil when nothing is to be repaired.
    /// - Throws: Why the file cannot be repaired, or not without `--all`.
    package static func make(
        _ file: any FileIO, _ depth: RepairDepth, volume: VolumeIdentity? = nil
    ) throws(CacheFileError) -> RepairPlan? {
        let recovered = try Recovery.run(file, goesOn: true, depth: depth, volume: volume)
        if depth == .safe {
            // Which of two is right, or what a newer superblock said, is a guess.
            let codes = ["SB_FORK", "SB_STALE", "ENT_DUP_BLOCK", "SB_REPAIR"]
            if let first = recovered.refusals.first(where: { codes.contains($0.code) }) {
                let remedy =
                    first.code == "SB_REPAIR" ? "" : "; repair --all takes what is most likely"
                throw CacheFileError(
                    .needsCheck, "\(first.code): \(first.message)\(remedy)")
            }
        }
        let codes = ["SB_COPY_BAD", "ROOT_BAD", "PAGE_BAD"]
        let isWorn = recovered.findings.contains {
            $0.severity == .warning && codes.contains($0.code)
        }
        guard isWorn || !recovered.refusals.isEmpty else { return nil }
        var builder = RepairBuilder(recovered, file)
        return try builder.build()
    }
}
