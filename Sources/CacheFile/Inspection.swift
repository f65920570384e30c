import FileIO
import Journal

/// What a look at a cache file found; nothing was written.
public struct Inspection: Sendable {
    public let superblock: Superblock
    public let geometry: Geometry
    public let findings: [Finding]
    public let dirtyBlocks: Int
    public let cleanBlocks: Int
    /// Blocks whose object somebody else has changed; never uploaded as they are.
    public let conflictBlocks: Int
    public var usedSlots: Int { cleanBlocks + dirtyBlocks + conflictBlocks }
    /// Trimmed blocks in no slot that may still be in the store, and the ranges they make.
    public let zeroBlocks: UInt64
    public let zeroExtents: Int
    /// Bytes of dirty blocks that are held locally.
    public let dirtyBytes: Int
    public let replayGroups: Int
    public let endLSN: LSN
    /// The last session did not mark the file clean.
    public let needsReplay: Bool
    public let ringBytesUsed: Int
    /// nil: no block's bytes were read.
    public let data: DataReport?

    public var worst: Finding.Severity? {
        let order: [Finding.Severity] = [.info, .warning, .error, .fatal]
        return findings.map(\.severity).max {
            (order.firstIndex(of: $0) ?? 0) < (order.firstIndex(of: $1) ?? 0)
        }
    }
}

extension CacheFiles {
    /// Runs recovery in memory on an open file, then reads the bytes of blocks as `depth` says.
    /// Throws what a mount would. Blocks: disk reads.
    ///
    /// - Parameter progress: slots read, slots to read.
    public static func inspect(
        _ file: any FileIO, data depth: DataDepth = .none,
        progress: @escaping (Int, Int) -> Void = { _, _ in }
    ) throws(CacheFileError) -> Inspection {
        try inspect(file, data: depth, judged: nil, progress: progress)
    }

    /// The same of a file without the bytes of blocks, where `judged` is given.
    package static func inspect(
        _ file: any FileIO, data depth: DataDepth, judged: JudgedPayloads?,
        progress: @escaping (Int, Int) -> Void
    ) throws(CacheFileError) -> Inspection {
        let recovered = try Recovery.run(file, judged: judged)
        var data = depth == .none ? nil : DataCheck(recovered, file, depth, progress: progress)
        data?.run()
        return inspection(of: recovered, data)
    }

    package static func inspection(of recovered: RecoveredFile) -> Inspection {
        inspection(of: recovered, nil)
    }

    private static func inspection(
        of recovered: RecoveredFile, _ data: DataCheck?
    ) -> Inspection {
        let sb = recovered.superblock
        let state = recovered.state
        return Inspection(
            superblock: sb, geometry: recovered.geometry,
            findings: recovered.findings + uploadFindings(state) + (data?.findings ?? []),
            dirtyBlocks: state.dirtySlots,
            cleanBlocks: state.cleanSlots, conflictBlocks: state.conflictSlots,
            zeroBlocks: state.zeros.blockCount, zeroExtents: state.zeros.count,
            dirtyBytes: dirtyBytes(state),
            replayGroups: recovered.scan.accepted.count, endLSN: recovered.scan.end.lsn,
            needsReplay: sb.state != Superblock.State.clean.rawValue,
            ringBytesUsed: Int(recovered.scan.end.position - sb.tail.position),
            data: data?.report)
    }

    package static func dirtyBytes(_ state: CacheState) -> Int {
        guard state.dirtySlots + state.conflictSlots > 0 else { return 0 }
        var bytes = 0
        for slot in 0..<state.geometry.slotCount {
            guard [.dirty, .conflict].contains(state.slots.state(slot)) else { continue }
            bytes += state.local(slot: slot).count * state.geometry.granuleSize
            let patches = state.patched(state.slots.block(slot))
            bytes += patches.reduce(0) { $0 + $1.payloadBytes }
        }
        return bytes
    }

    private static func uploadFindings(_ state: CacheState) -> [Finding] {
        var found: [Finding] = []
        if state.intentBlocks > 0 {
            found.append(
                Finding(
                    "INTENT_OPEN", .info,
                    "\(state.intentBlocks) blocks have uploads whose outcome is not known"))
        }
        if state.conflictSlots > 0 {
            found.append(
                Finding(
                    "S3_CONFLICT", .warning,
                    "\(state.conflictSlots) blocks were changed here and by somebody else in the "
                        + "store; they are kept and not uploaded"))
        }
        return found
    }

    /// Opens a file to look at it, with a shared lock: `.locked` when a mount has it.
    public static func inspect(
        _ path: String, data depth: DataDepth = .none,
        progress: @escaping (Int, Int) -> Void = { _, _ in }
    ) throws(CacheFileError) -> Inspection {
        let file = try io { () throws(FileError) in
            let file = try PosixFile.open(path, readOnly: true)
            try file.lock(exclusive: false)
            return file
        }
        return try inspect(file, data: depth, progress: progress)
    }
}
