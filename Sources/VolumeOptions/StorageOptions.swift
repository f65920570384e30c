import ArgumentParser

/// The part of the command line that says how objects are named and kept. Names and meaning are
/// those of the real s3backer.
package struct StorageOptions: ParsableArguments {
    package init() {}

    @Flag(
        name: .customLong("blockHashPrefix"),
        help: "Begin the names of blocks with a hash; the bucket does not always say so.")
    package var blockHashPrefix = false

    @Option(
        name: .customLong("storageClass"),
        help: ArgumentHelp("Storage class of the objects written.", valueName: "class"))
    package var storageClass: String?

    @Flag(name: .customLong("rrs"), help: "The same as --storageClass=REDUCED_REDUNDANCY.")
    package var rrs = false

    @Option(
        name: .customLong("sse"),
        help: ArgumentHelp("Encryption by the service: AES256 or aws:kms.", valueName: "kind"))
    package var sse: String?

    @Option(
        name: .customLong("sse-key-id"),
        help: ArgumentHelp("Key for --sse=aws:kms.", valueName: "id"))
    package var sseKeyID: String?
}
