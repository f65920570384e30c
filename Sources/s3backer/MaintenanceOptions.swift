import ArgumentParser

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
