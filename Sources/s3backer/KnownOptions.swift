import VolumeOptions

/// The names of options, for `-o` and for messages.
enum KnownOptions {
    /// Taken by this program, without a value.
    static let flags: Set<String> = [
        "test", "readOnly", "force", "quiet", "debug", "foreground", "help", "version",
        "vhost", "no-vhost", "ssl", "insecure", "http11", "noCurlCache", "debug-http",
        "accessEC2IAM-IMDSv2", "accessContainer", "blockHashPrefix", "rrs",
        "sharedDiskMode", "directIO", "erase", "dry-run", "reset-mounted-flag", "flush",
        "listBlocks", "blockCacheNoVerify",
        "blockCacheSync", "blockCacheRecoverDirtyBlocks", "blockCacheFileAdvise",
    ]

    /// Taken by this program, with a value.
    static let values: Set<String> = [
        "size", "blockSize", "prefix", "blockCacheFile", "blockCacheSize",
        "blockCacheWriteDelay", "blockCacheThreads", "readAhead", "readAheadTrigger", "filename",
        "statsFilename", "fileMode",
        "uid", "gid", "debugPhaseFile", "blockCacheRingSize",
        "accessFile", "accessId", "accessKey", "accessType", "authVersion", "baseURL", "region",
        "timeout", "initialRetryPause", "maxRetryPause", "accessKeyEnv", "accessEC2IAM", "cacert",
        "ipTOS", "maxUploadSpeed", "maxDownloadSpeed",
        "compress-level", "password", "passwordFile", "keyLength", "defaultContentEncoding",
        "storageClass", "sse", "sse-key-id", "md5CacheSize", "md5CacheTime", "minWriteDelay",
        "listBlocksThreads", "resolveConflicts",
        "unmountTimeout", "fsyncMode", "blockCacheMaxDirty", "blockCacheTimeout",
        "blockCacheNumProtected", "statsFileMirror", "statsFileMirrorInterval",
    ]

    /// Taken by this program, with a value or without.
    static let optionalValues: Set<String> = ["compress", "encrypt"]

    static func isOwn(_ name: String) -> Bool {
        flags.contains(name) || values.contains(name) || optionalValues.contains(name)
    }

    /// Options of the real s3backer that this build does not have.
    static let missing: Set<String> = [
        "configFile", "nbd", "nbd-flag", "nbd-param",
        "noAutoDetect", "test-delays", "test-discard", "test-errors",
    ]

    /// The error for a name that is no option; `shown` is how the user wrote it.
    static func unknown(
        _ name: String, shown: String, isMountWord: Bool = false
    ) -> StartupError {
        if missing.contains(name) {
            return StartupError("option \(shown) is not supported yet by this build; leave it out")
        }
        if let near = suggestion(for: name, isMountWord) {
            return StartupError("unknown option \(shown); did you mean \(near)?")
        }
        return StartupError("unknown option \(shown); see \(Program.name) --help")
    }

    /// The known name that is nearest to `name`, if one is near.
    private static func suggestion(for name: String, _ isMountWord: Bool) -> String? {
        let lower = Array(name.lowercased().utf8)
        var best: (name: String, distance: Int)?
        var candidates = flags.union(values).union(optionalValues).subtracting(hidden).map {
            ("--" + $0, $0)
        }
        if isMountWord { candidates += MountWords.all.map { ("-o " + $0, $0) } }
        for (shown, known) in candidates.sorted(by: { $0.1 < $1.1 }) {
            let distance = editDistance(lower, Array(known.lowercased().utf8))
            if distance < best?.distance ?? Int.max { best = (shown, distance) }
        }
        guard let best, best.distance <= max(1, min(3, lower.count / 2)) else { return nil }
        return best.name
    }

    private static let hidden: Set<String> = ["debugPhaseFile", "blockCacheRingSize"]

    /// How many letters must be changed, added or removed to turn `a` into `b`.
    private static func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for (i, letter) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, other) in b.enumerated() {
                let change = diagonal + (letter == other ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(change, diagonal + 1, row[j] + 1)
            }
        }
        return row[b.count]
    }
}
