import ArgumentParser

/// The part of the command line that says how objects are named and kept. Names and meaning are
/// those of the real s3backer.
struct StorageOptions: ParsableArguments {
    @Flag(
        name: .customLong("blockHashPrefix"),
        help: "Begin the names of blocks with a hash; the bucket does not always say so.")
    var blockHashPrefix = false

    @Option(
        name: .customLong("storageClass"),
        help: ArgumentHelp("Storage class of the objects written.", valueName: "class"))
    var storageClass: String?

    @Flag(name: .customLong("rrs"), help: "The same as --storageClass=REDUCED_REDUNDANCY.")
    var rrs = false

    @Option(
        name: .customLong("sse"),
        help: ArgumentHelp("Encryption by the service: AES256 or aws:kms.", valueName: "kind"))
    var sse: String?

    @Option(
        name: .customLong("sse-key-id"),
        help: ArgumentHelp("Key for --sse=aws:kms.", valueName: "id"))
    var sseKeyID: String?
}

/// What can be done to a volume instead of mounting it.
struct MaintenanceOptions: ParsableArguments {
    @Flag(name: .customLong("erase"), help: "Remove the volume from the bucket.")
    var erase = false

    @Flag(name: .customLong("dry-run"), help: "With --erase: only list what would be removed.")
    var dryRun = false

    @Flag(
        name: .customLong("reset-mounted-flag"),
        help: "Remove the mark of a mount that is no more.")
    var resetMountedFlag = false

    @Flag(
        name: .customLong("flush"),
        help: "Upload what the cache file holds for the volume, and mount nothing.")
    var flush = false
}
