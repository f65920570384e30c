import ArgumentParser

/// The part of the command line that says how blocks are compressed and encrypted. Names and
/// meaning are those of the real s3backer.
package struct CodecOptions: ParsableArguments {
    package init() {}

    @Option(
        name: .customLong("compress"),
        help: ArgumentHelp(
            "Compress blocks, with deflate or as in --compress=zstd: deflate, zstd, lz4, or a level "
                + "of deflate.", valueName: "algorithm"))
    package var compress: String?

    @Option(
        name: .customLong("compress-level"),
        help: ArgumentHelp("How hard to try (default: the algorithm's).", valueName: "number"))
    package var compressLevel: String?

    @Option(
        name: .customLong("encrypt"),
        help: ArgumentHelp(
            "Compress and encrypt blocks, with AES-128-CBC or as in --encrypt=AES-256-CBC: a CBC "
                + "cipher of OpenSSL.", valueName: "cipher"))
    package var encrypt: String?

    @Option(
        name: .customLong("password"),
        help: ArgumentHelp(
            "Password of the encryption; --passwordFile is safer. Without both it is asked for.",
            valueName: "text"))
    package var password: String?

    @Option(
        name: .customLong("passwordFile"),
        help: ArgumentHelp("File whose first line is the password.", valueName: "file"))
    package var passwordFile: String?

    @Option(
        name: .customLong("keyLength"),
        help: ArgumentHelp(
            "Length of the derived key in bytes (default: the cipher's).", valueName: "bytes"))
    package var keyLength: String?

    @Option(
        name: .customLong("defaultContentEncoding"),
        help: ArgumentHelp(
            "Encoding of objects that have none, for servers that drop it.", valueName: "text"))
    package var defaultContentEncoding: String?
}
