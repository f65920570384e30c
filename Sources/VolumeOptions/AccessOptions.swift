import ArgumentParser

/// The part of the command line that says by which key a bucket is used.
package struct AccessOptions: ParsableArguments {
    package init() {}

    @Option(
        name: .customLong("accessFile"),
        help: ArgumentHelp(
            "File with lines id:key (default: ~/.s3backer_passwd).", valueName: "file"))
    package var accessFile: String?

    @Option(
        name: .customLong("accessId"),
        help: ArgumentHelp("Access key id; empty: anonymous.", valueName: "id"))
    package var accessId: String?

    @Option(
        name: .customLong("accessKey"),
        help: ArgumentHelp("Secret access key; others can see it in ps.", valueName: "key"))
    package var accessKey: String?

    @Option(
        name: .customLong("accessKeyEnv"),
        help: ArgumentHelp(
            "Environment variable with the secret access key.", valueName: "name"))
    package var accessKeyEnv: String?

    @Option(
        name: .customLong("accessEC2IAM"),
        help: ArgumentHelp(
            "Key of this role, from the metadata service of EC2.", valueName: "role"))
    package var accessEC2IAM: String?

    @Flag(
        name: .customLong("accessEC2IAM-IMDSv2"), help: "Ask that service by version 2 only.")
    package var accessEC2IAMv2 = false

    @Flag(
        name: .customLong("accessContainer"),
        help: "Key from the container's service (AWS_CONTAINER_CREDENTIALS_*).")
    package var accessContainer = false
}
