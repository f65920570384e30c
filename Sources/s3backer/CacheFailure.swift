import CacheFile
import VolumeOptions

/// Turns the reasons why a cache file cannot be used into lines that say what to do.
enum CacheFailure {
    static func explain(_ error: CacheFileError, path: String) -> StartupError {
        let remedy = remedy(error.kind)
        let subject = error.message.contains(path) ? "" : "=" + path
        return StartupError("--blockCacheFile\(subject): \(error.message); \(remedy)")
    }

    private static func remedy(_ kind: CacheFileError.Kind) -> String {
        switch kind {
        case .missing: "create its directory or choose another file"
        case .exists: "choose another file"
        case .denied: "give access to it or choose another file"
        case .locked: "unmount what uses it or choose another file"
        case .noSpace: "make room or use a smaller --blockCacheSize"
        case .shortFile: "it was cut off: run cachecheck repair or choose another file"
        case .io: "check the disk it is on or choose another file"
        case .garbage:
            "move it away or choose another file"
        case .foreign:
            "mount it once with the real s3backer and --blockCacheRecoverDirtyBlocks to upload "
                + "its dirty blocks, unmount, then choose a new file"
        case .otherVolume:
            "mount that volume or choose another file"
        case .otherBlockSize: "use the --blockSize it was made with or choose another file"
        case .otherSize: "use the --size it was made with or choose another file"
        case .unsupported: "use the version of s3backer that made it or choose another file"
        case .invalid: "use another --blockCacheSize or --blockSize"
        case .needsCheck: "run cachecheck on it, and cachecheck repair, or choose another file"
        }
    }
}
