import BlockStore
import CacheFile
import FileIO
import Glibc
import S3IO
import VolumeOptions

/// A volume in a directory (`--test`): has an identity, and no token.
final class DirectoryHome: VolumeHome {
    private let plan: MountPlan
    private let directory: String
    /// This start has made the identity, and takes it away if it fails.
    private var hasMadeIdentity = false

    init(_ plan: MountPlan, directory: String) {
        self.plan = plan
        self.directory = directory
    }

    private var path: String { directory + "/" + plan.prefix + VolumeObject.name }

    func claim(_ cached: LockedCacheFile?) throws(StartupError) -> VolumeClaim {
        let found = try VolumeObject.read(path)
        var known: SizeRequest.Known?
        if let found {
            known = .init(blockSize: UInt64(found.blockSize), size: found.size, source: path)
        }
        let sizes = try plan.sizes.settle(known)
        try VolumeChecks.compareNames(found, plan, place: path)
        try VolumeChecks.compare(cached, plan, sizes, uuid: found?.uuid, place: path)
        var identity = VolumeObject(
            blockSize: sizes.blockSize, size: UInt64(sizes.blockSize) * sizes.blockCount,
            isHashed: plan.isHashed)
        if plan.isReadOnly || found.map({ $0.hasSameLayout(as: identity) }) == true {
            return VolumeClaim(
                sizes: sizes, volumeUUID: found?.uuid ?? [UInt8](repeating: 0, count: 16))
        }
        if let uuid = found?.uuid ?? Self.uuid(of: cached) { identity.uuid = uuid }
        try writeIdentity(identity)
        hasMadeIdentity = found == nil
        return VolumeClaim(sizes: sizes, volumeUUID: identity.uuid)
    }

    private static func uuid(of cached: LockedCacheFile?) -> [UInt8]? {
        cached.flatMap { $0.volumeUUID.contains { $0 != 0 } ? $0.volumeUUID : nil }
    }

    func openStore(_ plan: MountPlan) throws(StartupError) -> any BlockStore {
        do throws(StoreError) {
            return try DirectoryStore(
                directory: directory, prefix: plan.prefix, isHashed: plan.isHashed,
                blockSize: plan.blockSize, blockCount: plan.blockCount,
                removeLeftovers: !plan.isReadOnly)
        } catch {
            throw StartupError(error.message)
        }
    }

    func cancelRequests(_ which: CancelledRequests) {}
    func release(isComplete: Bool) -> String? { nil }

    func abandon(hasDirty: Bool, isBound: Bool) {
        if hasMadeIdentity && !isBound { unlink(path) }
    }

    // MARK: The file

    /// Appears complete, by a rename.
    private func writeIdentity(_ identity: VolumeObject) throws(StartupError) {
        let temporary = "\(path).\(getpid())"
        let fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        let bytes = identity.encoded()
        var isGood = fd >= 0 && write(fd, bytes, bytes.count) == bytes.count && fsync(fd) == 0
        if isGood { isGood = rename(temporary, path) == 0 }
        let reason = String(cString: strerror(errno))
        if fd >= 0 { close(fd) }
        if isGood { return }
        unlink(temporary)
        throw StartupError(
            "cannot write \(path): \(reason); give access to its directory or use --readOnly")
    }
}
