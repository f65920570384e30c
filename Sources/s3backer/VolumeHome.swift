import BlockStore
import CacheFile
import S3IO
import VolumeOptions

/// What a mount has learnt of its volume, and what it holds of it.
struct VolumeClaim {
    var sizes: SizeRequest.Settled
    /// 16 bytes, zero when the volume has none.
    var volumeUUID: [UInt8]
    /// What block 0 says of the size is not true any more.
    var isBlockZeroOld = false
    /// Value of the mount token that was set; nil: none was.
    var mountToken: UInt32?
    var continuity = Continuity.unbroken

    /// Whether others may have mounted the volume since the cache file was last used, as far as its
    /// token tells. Without a file, or without tokens, there is nothing that could be out of date.
    enum Continuity {
        /// Nobody has: the token is the file's.
        case unbroken
        /// There is no token: the mount before this one ended cleanly, and who came then did so, too.
        case unknown
        /// Somebody has: the token is another one.
        case broken

        init(token: UInt32?, of cached: LockedCacheFile?) {
            switch (token, cached) {
            case (_, nil): self = .unbroken
            case (nil, _): self = .unknown
            case (let token?, let cached?):
                self = UInt64(token) == cached.mountToken ? .unbroken : .broken
            }
        }
    }
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

    /// Lets requests fail that are under way or waiting to be tried again. Called from another thread
    /// than the rest.
    func cancelRequests(_ which: CancelledRequests)

    /// Lets go of the volume. Blocks. Call when no more blocks are sent.
    ///
    /// - Parameter isComplete: The volume has everything; otherwise only the cache file does, and
    ///   the volume stays marked as mounted.
    /// - Returns: What went wrong, in one line.
    func release(isComplete: Bool) -> String?

    /// Undoes `claim` after a failed start.
    ///
    /// - Parameters:
    ///   - hasDirty: The cache file holds blocks that the volume does not have.
    ///   - isBound: A cache file that stays may have learnt the volume's identity.
    func abandon(hasDirty: Bool, isBound: Bool)
}

enum CancelledRequests {
    case ofBlocks
    /// Those that let go of the volume as well.
    case all
}

/// Checks that hold for every kind of volume.
enum VolumeChecks {
    /// Refuses to look for blocks under names that they do not have: all would be zeros.
    static func compareNames(
        _ found: VolumeObject?, _ plan: MountPlan, place: String
    ) throws(StartupError) {
        guard let found, found.isHashed != plan.isHashed, !plan.isForced else { return }
        throw StartupError(
            plan.isHashed
                ? "--blockHashPrefix: \(place) says that the names of its blocks have no hash; "
                    + "leave the option out, or override with --force"
                : "\(place) says that the names of its blocks have a hash; "
                    + "use --blockHashPrefix, or override with --force")
    }

    /// Refuses a cache file of another volume, or of one that was here before: it may hold dirty
    /// blocks of it.
    ///
    /// - Parameters:
    ///   - uuid: What the volume's identity says; nil: it has none.
    ///   - place: Where the identity is or would be.
    static func compare(
        _ cached: LockedCacheFile?, _ plan: MountPlan, _ sizes: SizeRequest.Settled,
        uuid: [UInt8]?, place: String
    ) throws(StartupError) {
        try plan.consistency?.check(blockCount: sizes.blockCount)
        let slots = plan.isCacheSizeGiven ? nil : cached?.slotCount
        try plan.policy.check(slots: slots ?? sizes.cacheSlots)
        guard let cached, let path = plan.cacheFile?.path else { return }
        var settled = plan
        settled.settle(sizes)
        let none = [UInt8](repeating: 0, count: 16)
        do throws(CacheFileError) {
            try cached.check(CacheOpening.identity(settled, uuid: uuid ?? none))
        } catch {
            throw CacheFailure.explain(error, path: path)
        }
        if uuid == nil && cached.volumeUUID != none && !plan.isForced {
            throw StartupError(
                "--blockCacheFile=\(path): made for a volume whose identity \(place) is gone; "
                    + "choose another file, or use --force if it is the same volume")
        }
    }
}
