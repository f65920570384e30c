import ArgumentParser

/// The part of the command line that says how to reach a bucket. Names and meaning are those of
/// the real s3backer.
struct S3Options: ParsableArguments {
    @Option(
        name: .customLong("accessFile"),
        help: ArgumentHelp(
            "File with lines id:key (default: ~/.s3backer_passwd).", valueName: "file"))
    var accessFile: String?

    @Option(
        name: .customLong("accessId"),
        help: ArgumentHelp("Access key id; empty: anonymous.", valueName: "id"))
    var accessId: String?

    @Option(
        name: .customLong("accessKey"),
        help: ArgumentHelp("Secret access key.", valueName: "key"))
    var accessKey: String?

    @Option(
        name: .customLong("accessType"),
        help: ArgumentHelp("Rights of the objects written.", valueName: "type"))
    var accessType = "private"

    @Option(
        name: .customLong("authVersion"),
        help: ArgumentHelp("How to sign: aws4.", valueName: "version"))
    var authVersion = "aws4"

    @Option(
        name: .customLong("baseURL"),
        help: ArgumentHelp(
            "The server (default: https://s3.amazonaws.com/, or of the region).",
            valueName: "url"))
    var baseURL: String?

    @Option(
        name: .customLong("region"),
        help: ArgumentHelp("Region of the bucket (default: us-east-1).", valueName: "name"))
    var region: String?

    @Flag(name: .customLong("vhost"), help: "The bucket is part of the host's name.")
    var vhost = false

    @Flag(name: .customLong("no-vhost"), help: "The bucket is part of the path.")
    var noVhost = false

    @Flag(name: .customLong("ssl"), help: "Insist on https.")
    var ssl = false

    @Option(
        name: .customLong("timeout"),
        help: ArgumentHelp("Time for one request.", valueName: "seconds"))
    var timeout = "30"

    @Option(
        name: .customLong("initialRetryPause"),
        help: ArgumentHelp("Pause before the first retry; doubles.", valueName: "ms"))
    var initialRetryPause = "200"

    @Option(
        name: .customLong("maxRetryPause"),
        help: ArgumentHelp("Sum of the pauses of one request.", valueName: "ms"))
    var maxRetryPause = "30000"
}
