import ArgumentParser

/// The part of the command line that says how to reach a bucket. Names and meaning are those of
/// the real s3backer.
package struct S3Options: ParsableArguments {
    package init() {}

    @Option(
        name: .customLong("accessType"),
        help: ArgumentHelp("Rights of the objects written.", valueName: "type"))
    package var accessType = "private"

    @Option(
        name: .customLong("authVersion"),
        help: ArgumentHelp("How to sign: aws4, aws2.", valueName: "version"))
    package var authVersion = "aws4"

    @Option(
        name: .customLong("baseURL"),
        help: ArgumentHelp(
            "The server (default: https://s3.amazonaws.com/, or of the region).",
            valueName: "url"))
    package var baseURL: String?

    @Option(
        name: .customLong("region"),
        help: ArgumentHelp("Region of the bucket (default: us-east-1).", valueName: "name"))
    package var region: String?

    @Flag(name: .customLong("vhost"), help: "The bucket is part of the host's name.")
    package var vhost = false

    @Flag(name: .customLong("no-vhost"), help: "The bucket is part of the path.")
    package var noVhost = false

    @Flag(name: .customLong("ssl"), help: "Insist on https.")
    package var ssl = false

    @Option(
        name: .customLong("timeout"),
        help: ArgumentHelp("Time for one request.", valueName: "seconds"))
    package var timeout = "30"

    @Option(
        name: .customLong("initialRetryPause"),
        help: ArgumentHelp("Pause before the first retry; doubles.", valueName: "ms"))
    package var initialRetryPause = "200"

    @Option(
        name: .customLong("maxRetryPause"),
        help: ArgumentHelp("Sum of the pauses of one request.", valueName: "ms"))
    package var maxRetryPause = "30000"

    @Option(
        name: .customLong("cacert"),
        help: ArgumentHelp(
            "File with the certificates of the authorities to trust.", valueName: "file"))
    package var cacert: String?

    @Flag(name: .customLong("insecure"), help: "Take any certificate of the server.")
    package var insecure = false

    @Flag(name: .customLong("http11"), help: "No HTTP/2, which is not used anyway.")
    package var http11 = false

    @Flag(name: .customLong("noCurlCache"), help: "A new connection for each request.")
    package var noCurlCache = false

    @Option(
        name: .customLong("ipTOS"),
        help: ArgumentHelp(
            "IP type of service: 0 to 255, lowdelay, throughput, reliability, lowcost.",
            valueName: "value"))
    package var ipTOS: String?

    @Option(
        name: .customLong("maxUploadSpeed"),
        help: ArgumentHelp(
            "Bits per second, over all connections together.", valueName: "speed"))
    package var maxUploadSpeed: String?

    @Option(
        name: .customLong("maxDownloadSpeed"),
        help: ArgumentHelp(
            "Bits per second, over all connections together.", valueName: "speed"))
    package var maxDownloadSpeed: String?

    @Flag(
        name: .customLong("debug-http"), help: "Log the heads of requests and replies (with -d).")
    package var debugHTTP = false
}
