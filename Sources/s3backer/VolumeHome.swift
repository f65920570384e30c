import BlockStore
import CacheFile

/// What a mount has learnt of its volume, and what it holds of it.
struct VolumeClaim {
    var sizes: SizeRequest.Settled
    /// 16 bytes, zero when the volume has none.
    var volumeUUID: [UInt8]
    /// Value of the mount token that was set; nil: none was.
    var mountToken: UInt32?
}

/// The place where a volume's blocks are: knows its sizes and identity, and who has it mounted.
protocol VolumeHome: AnyObject {
    /// Finds out what the volume is, and takes it for this mount. Blocks.
    ///
    /// - Parameter cached: The cache file that is going to be used, if it exists already.
    /// - Throws: One line; then nothing of this mount is left behind.
    func claim(_ cached: LockedCacheFile?) throws(StartupError) -> VolumeClaim

    /// The blocks, after `claim`. Called once.
    func openStore(_ plan: MountPlan) throws(StartupError) -> any BlockStore

    /// Lets requests of the store fail that are under way or waiting to be tried again.
    func cancelRequests()

    /// Lets go of the volume. Blocks. Call when no more blocks are sent.
    ///
    /// - Parameter isComplete: The volume has everything; otherwise only the cache file does, and
    ///   the volume stays marked as mounted.
    /// - Returns: What went wrong, in one line.
    func release(isComplete: Bool) -> String?

    /// Undoes `claim` after a failed start.
    ///
    /// - Parameter hasDirty: The cache file holds blocks that the volume does not have.
    func abandon(hasDirty: Bool)
}

/// Checks that hold for every kind of volume.
enum VolumeChecks {
    /// Refuses a cache file of a volume that was here before, which may hold dirty blocks of it.
    static func compare(
        _ cached: LockedCacheFile?, path: String?, uuid: [UInt8]?, place: String, isForced: Bool
    ) throws(StartupError) {
        guard let cached, let path, cached.volumeUUID.contains(where: { $0 != 0 }) else { return }
        if let uuid {
            if uuid == cached.volumeUUID { return }
            throw StartupError(
                "--blockCacheFile=\(path): BIND_MISMATCH: made for another volume than the one "
                    + "that \(place) names now; choose another file")
        }
        if !isForced {
            throw StartupError(
                "--blockCacheFile=\(path): made for a volume whose identity \(place) is gone; "
                    + "choose another file, or use --force if it is the same volume")
        }
    }
}
