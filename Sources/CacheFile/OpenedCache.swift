import FileIO
import Journal

/// What a cache file is bound to. docs/format.md, "Binding".
public struct VolumeIdentity: Sendable, Equatable {
    /// SHA-256 over the canonical name of the volume, 32 bytes.
    public var binding: [UInt8]
    /// 16 bytes, zero when the volume has none.
    public var volumeUUID: [UInt8]
    public var blockSize: Int
    public var volumeBlocks: UInt64

    public init(binding: [UInt8], volumeUUID: [UInt8], blockSize: Int, volumeBlocks: UInt64) {
        precondition(binding.count == 32 && volumeUUID.count == 16)
        self.binding = binding
        self.volumeUUID = volumeUUID
        self.blockSize = blockSize
        self.volumeBlocks = volumeBlocks
    }

    /// Whether the volume has a UUID.
    public var hasUUID: Bool { volumeUUID.contains { $0 != 0 } }
}

/// Who mounts: for diagnosis, and to know one's own mount token again.
public struct SessionInfo: Sendable {
    public var creator: String
    public var mounter: String
    public var host: String
    public var bootID: [UInt8]
    /// Seconds since 1970.
    public var mountedAt: UInt64
    /// Value of the mount token in the store; 0: none. nil keeps the one of the session before.
    public var mountToken: UInt64?

    public init(
        creator: String, mounter: String, host: String, bootID: [UInt8], mountedAt: UInt64,
        mountToken: UInt64? = nil
    ) {
        self.creator = creator
        self.mounter = mounter
        self.host = host
        self.bootID = bootID.count == 16 ? bootID : [UInt8](repeating: 0, count: 16)
        self.mountedAt = mountedAt
        self.mountToken = mountToken
    }
}

/// A recovered cache with a session of its own, ready for the engine.
///
/// `@unchecked Sendable`: it is handed from the thread that opened it to the engine, which keeps
/// `state`, `journal` parts and `checkpointer` under its lock; the file is safe from any thread.
public final class OpenedCache: @unchecked Sendable {
    public let file: any FileIO
    public let geometry: Geometry
    public let seeds: SeedSpace
    public let state: CacheState
    public let checkpointer: Checkpointer
    /// Granules of fills whose bytes were not on the medium. They are invalid, and a checkpoint has
    /// said so before the session's first group (I21).
    public let droppedFills: [EvictRecord]
    public let findings: [Finding]
    /// One line when the last session did not end cleanly.
    public let recoverySummary: String?
    /// No copy of the data survives the process: fsync has to reach the store.
    public let isVolatile: Bool
    public internal(set) var warnings: [String] = []

    let end: RingPoint
    let starts: [RingPoint]
    let firstEpoch: UInt64

    init(
        file: any FileIO, recovered: RecoveredFile, checkpointer: Checkpointer,
        summary: String?, isVolatile: Bool
    ) {
        self.file = file
        geometry = recovered.geometry
        seeds = recovered.seeds
        state = recovered.state
        self.checkpointer = checkpointer
        droppedFills = recovered.droppedFills
        findings = recovered.findings
        recoverySummary = summary
        self.isVolatile = isVolatile
        end = recovered.scan.end
        starts = recovered.scan.accepted.map {
            RingPoint(
                position: $0.header.position, lsn: $0.header.firstLSN,
                prevGroupCRC: $0.header.prevGroupCRC)
        }
        firstEpoch = recovered.lastEpoch + 1
    }

    /// The journal of this session, at the end of what recovery accepted.
    public func makeJournal() -> Journal {
        Journal(
            geometry: geometry.ring, session: checkpointer.superblock.session, seeds: seeds,
            epoch: firstEpoch, end: end, tail: checkpointer.superblock.tail.position,
            starts: starts)
    }

    public var slotCount: Int { geometry.slotCount }
    public var dirtyBlocks: Int { state.dirtySlots }
    /// Trimmed blocks in no slot that may still be in the store.
    public var zeroBlocks: UInt64 { state.zeros.blockCount }
    public var cleanBlocks: Int { state.cleanSlots }
    public var conflictBlocks: Int { state.conflictSlots }

    /// Tells other processes whether this one serves a mount, or is starting or stopping.
    public func setServing(_ serving: Bool) { (file as? PosixFile)?.setServing(serving) }

    /// Keeps the file out of the page cache from now on. Call before an engine has it.
    public func dropPages() { (file as? PosixFile)?.dropPages() }
}

/// Opens a file for a session: recovery steps 1 to 9.
public enum SessionStart {
    /// - Parameters:
    ///   - file: locked by the caller, if it can be locked.
    ///   - identity: nil skips the binding check (tests).
    public static func open(
        _ file: any FileIO, identity: VolumeIdentity?, info: SessionInfo, isVolatile: Bool = false
    ) throws(CacheFileError) -> OpenedCache {
        try open(file, identity: identity, info: info, isVolatile: isVolatile) { _ in }
    }

    /// The same; `observe` sees what recovery made of the file before the session begins.
    package static func open(
        _ file: any FileIO, identity: VolumeIdentity?, info: SessionInfo, isVolatile: Bool = false,
        observe: (RecoveredFile) -> Void
    ) throws(CacheFileError) -> OpenedCache {
        // What a kill left in the page cache becomes durable before anything is concluded from
        // it (I6).
        try io { () throws(FileError) in try file.flush() }
        var recovered = try Recovery.run(file)
        observe(recovered)
        if let identity { try Binding.check(recovered.superblock, identity) }
        if let identity, recovered.superblock.volumeBlocks < identity.volumeBlocks {
            // A session that ends at once: the next one finds a file of the larger volume.
            _ = try begin(file, recovered, identity, info)
            recovered = try Recovery.run(file)
        }
        let sb = try begin(file, recovered, identity, info)
        let checkpointer = Checkpointer(
            geometry: recovered.geometry, seeds: recovered.seeds, superblock: sb,
            root: recovered.root)
        if !recovered.droppedFills.isEmpty { try settle(recovered, checkpointer, file) }
        let cache = OpenedCache(
            file: file, recovered: recovered, checkpointer: checkpointer,
            summary: summary(recovered), isVolatile: isVolatile)
        do throws(FileError) {
            try cutOff(file, recovered.geometry)
        } catch {
            cache.warnings.append(error.message)
        }
        return cache
    }

    /// A crash while the file grew or shrank leaves it longer than what its superblock describes.
    /// Both pairs of copies describe the same by now.
    private static func cutOff(_ file: any FileIO, _ geometry: Geometry) throws(FileError) {
        if try file.size() > geometry.fileSize { try file.truncate(to: geometry.fileSize) }
    }

    /// Step 8: the session exists once its superblock is durable; nothing was written before.
    private static func begin(
        _ file: any FileIO, _ recovered: RecoveredFile, _ identity: VolumeIdentity?,
        _ info: SessionInfo
    ) throws(CacheFileError) -> Superblock {
        let geometry = recovered.geometry
        let old = recovered.superblock
        return try io { () throws(FileError) in
            let bad = recovered.superblocks.badCopies
            if !bad.isEmpty {
                // Not the good one: a power cut must not find both half written.
                try SuperblockSet.write(old, copies: bad, to: file) {
                    geometry.superblockOffset($0)
                }
                try file.flush()
            }
            var sb = old.successor()
            sb.session += 1
            sb.state = Superblock.State.mounted.rawValue
            sb.recoveredLSN = recovered.scan.end.lsn - 1
            sb.recoveredPosition = recovered.scan.end.position
            sb.recoveredCRC = recovered.scan.end.prevGroupCRC
            sb.mounter = info.mounter
            sb.host = info.host
            sb.bootID = info.bootID
            sb.mountedAt = info.mountedAt
            if let token = info.mountToken { sb.mountToken = token }
            if let identity { sb.volumeBlocks = identity.volumeBlocks }
            // A volume may get its UUID after the file was made.
            if let identity, identity.hasUUID { sb.volumeUUID = identity.volumeUUID }
            try SuperblockSet.write(sb, to: file) { geometry.superblockOffset($0) }
            try file.flush()
            return sb
        }
    }

    /// Makes the directory as recovery left it durable: granules dropped from fills are invalid in
    /// it, so no later recovery looks at the records that named them (I21). A record of the new
    /// session would do as well, but there may be no room for it in the ring.
    private static func settle(
        _ recovered: RecoveredFile, _ checkpointer: Checkpointer, _ file: any FileIO
    ) throws(CacheFileError) {
        try io { () throws(FileError) in
            try checkpointer.take(
                recovered.state, lsn: recovered.scan.end.lsn - 1, tail: recovered.tail,
                epoch: recovered.lastEpoch, cleanEnd: nil, in: file)
        }
    }

    private static func summary(_ recovered: RecoveredFile) -> String? {
        let state = recovered.superblock.state
        guard state != Superblock.State.clean.rawValue else { return nil }
        let cause =
            state == Superblock.State.poisoned.rawValue
            ? "recovered after a write to it failed" : "recovered after an unclean end"
        let groups = recovered.scan.accepted.count
        let torn = recovered.scan.verdict == .tornTail ? ", torn tail cut" : ""
        return "\(cause): \(groups) journal groups replayed\(torn), "
            + "\(recovered.state.dirtySlots) dirty blocks"
            + (recovered.state.zeros.isEmpty
                ? "" : ", \(recovered.state.zeros.blockCount) trimmed blocks to delete")
    }
}

enum Binding {
    /// Refuses a file that belongs to another volume.
    static func check(_ sb: Superblock, _ identity: VolumeIdentity) throws(CacheFileError) {
        if sb.blockSize != UInt32(identity.blockSize) {
            throw CacheFileError(
                .otherBlockSize,
                "made for blocks of \(sb.blockSize) bytes, not \(identity.blockSize)")
        }
        if sb.binding != identity.binding {
            throw CacheFileError(.otherVolume, "BIND_MISMATCH: made for another volume")
        }
        let none = [UInt8](repeating: 0, count: 16)
        if sb.volumeUUID != none, identity.volumeUUID != none, sb.volumeUUID != identity.volumeUUID
        {
            throw CacheFileError(.otherVolume, "BIND_MISMATCH: made for a volume of another UUID")
        }
        // A volume may have grown since; that it is the same one its UUID says.
        let isGrown = sb.volumeBlocks < identity.volumeBlocks
        let isSame = sb.volumeUUID != none && sb.volumeUUID == identity.volumeUUID
        if sb.volumeBlocks != identity.volumeBlocks, !(isGrown && isSame) {
            let size = sb.volumeBlocks * UInt64(sb.blockSize)
            throw CacheFileError(.otherSize, "made for a volume of \(size) bytes")
        }
    }
}
