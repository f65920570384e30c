import FileIO
import Glibc
import S3IO

/// Finds the access key: options, access file, `--accessKeyEnv`, `AWS_*` variables, shared
/// credentials file; a service of the machine only where an option asks for it.
package struct AccessValidation {
    private let options: AccessOptions
    private let environment: Environment

    private static let fileBytesMax = 1 << 20
    private static let usualFile = "/.s3backer_passwd"
    private static let sharedFile = "/.aws/credentials"

    package init(_ options: AccessOptions, _ environment: Environment) {
        self.options = options
        self.environment = environment
    }

    // MARK: Keys that stay

    /// - Returns: nil: anonymous.
    package func credentials() throws(StartupError) -> Credentials? {
        if let id = options.accessId, id.isEmpty {
            if options.accessKey != nil || options.accessKeyEnv != nil {
                throw StartupError(
                    "--accessId= means anonymous, which needs no key; leave out --accessKey "
                        + "and --accessKeyEnv")
            }
            return nil
        }
        if let found = try given() { return try checked(found.credentials, found.source) }
        guard let id = options.accessId else { return nil }
        throw StartupError(
            "no \"accessKey\" for --accessId=\(id); give --accessKey or an --accessFile with it")
    }

    private typealias Found = (credentials: Credentials, source: String)

    private func given() throws(StartupError) -> Found? {
        if let key = options.accessKey {
            if options.accessKeyEnv != nil {
                throw StartupError("give one of --accessKey and --accessKeyEnv, not both")
            }
            return try (with(key, option: "--accessKey"), "--accessId and --accessKey")
        }
        if let file = try accessFile(),
            let found = Credentials.find(in: file.text, accessID: options.accessId)
        {
            return (found, file.path)
        }
        if let name = options.accessKeyEnv {
            guard let key = environment[name] else {
                throw StartupError("--accessKeyEnv=\(name): the variable is not set; set it")
            }
            return try (with(key, option: "--accessKeyEnv"), "--accessId and --accessKeyEnv")
        }
        if let id = environment["AWS_ACCESS_KEY_ID"],
            let key = environment["AWS_SECRET_ACCESS_KEY"], isWanted(id)
        {
            let token = environment["AWS_SESSION_TOKEN"]
            return (Credentials(accessID: id, accessKey: key, sessionToken: token), "AWS_*")
        }
        return try shared()
    }

    private func with(_ key: String, option: String) throws(StartupError) -> Credentials {
        guard let id = options.accessId else {
            throw StartupError("\(option) is given without --accessId; give both")
        }
        return Credentials(accessID: id, accessKey: key)
    }

    private func isWanted(_ id: String) -> Bool {
        options.accessId == nil || options.accessId == id
    }

    private func checked(
        _ credentials: Credentials, _ source: String
    ) throws(StartupError) -> Credentials {
        guard credentials.isPlain else {
            throw StartupError(
                "the access id or key contains blanks or is empty; check \(source)")
        }
        return credentials
    }

    // MARK: Files

    /// nil when there is none, which is no error for the usual one.
    private func accessFile() throws(StartupError) -> (path: String, text: String)? {
        guard let path = options.accessFile ?? environment["HOME"].map({ $0 + Self.usualFile })
        else { return nil }
        let isOptional = options.accessFile == nil
        guard let text = try read(path, "--accessFile=\(path)", isOptional: isOptional) else {
            return nil
        }
        return (path, text)
    }

    private func shared() throws(StartupError) -> Found? {
        let named = environment["AWS_SHARED_CREDENTIALS_FILE"]
        guard let path = named ?? environment["HOME"].map({ $0 + Self.sharedFile }),
            let text = try read(path, path, isOptional: named == nil)
        else { return nil }
        let profile = environment["AWS_PROFILE"] ?? "default"
        guard let found = Credentials.find(inProfiles: text, profile: profile) else {
            if environment["AWS_PROFILE"] == nil { return nil }
            throw StartupError(
                "AWS_PROFILE=\(profile): \(path) has no key for it; add it, or unset the variable")
        }
        return isWanted(found.accessID) ? (found, path) : nil
    }

    private func read(
        _ path: String, _ shown: String, isOptional: Bool
    ) throws(StartupError) -> String? {
        do throws(SmallFile.Unreadable) {
            return String(
                decoding: try SmallFile.read(path, bytesMax: Self.fileBytesMax), as: UTF8.self)
        } catch {
            if isOptional && (error.code == ENOENT || error.code == ENOTDIR) { return nil }
            throw StartupError("\(shown): \(error.message)")
        }
    }

    // MARK: Services

    /// The service that is asked for; nil: none.
    package func service() throws(StartupError) -> CredentialsService? {
        let asked = options.accessEC2IAM != nil || options.accessContainer
        if asked, options.accessId != nil || options.accessKey != nil {
            throw StartupError(
                "--accessEC2IAM and --accessContainer bring their own key; "
                    + "leave out --accessId and --accessKey")
        }
        if options.accessEC2IAMv2 && options.accessEC2IAM == nil {
            throw StartupError("--accessEC2IAM-IMDSv2 needs a role; give --accessEC2IAM=ROLE")
        }
        if let role = options.accessEC2IAM {
            if options.accessContainer {
                throw StartupError("give one of --accessEC2IAM and --accessContainer, not both")
            }
            if role.isEmpty { throw StartupError("--accessEC2IAM= needs the name of a role") }
            return .instance(
                role: role, endpoint: try instanceEndpoint(), usesSession: options.accessEC2IAMv2)
        }
        return options.accessContainer ? try container() : nil
    }

    private func instanceEndpoint() throws(StartupError) -> String {
        let name = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
        guard var url = environment[name] else { return CredentialsService.instanceEndpoint }
        while url.hasSuffix("/") { url.removeLast() }
        return try plain(url, name)
    }

    private func container() throws(StartupError) -> CredentialsService {
        let relative = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
        let full = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
        let url: String
        if let path = environment[relative] {
            guard path.hasPrefix("/") else {
                throw StartupError("\(relative)=\(path): must be a path, /...")
            }
            url = try plain(CredentialsService.containerEndpoint + path, relative)
        } else if let text = environment[full] {
            url = try plain(text, full)
            guard url.hasPrefix("https://") || Self.isNear(url) else {
                throw StartupError(
                    "\(full)=\(url): http:// is only for this machine and the services of ECS "
                        + "and EKS; use https://")
            }
        } else {
            throw StartupError("--accessContainer: neither \(relative) nor \(full) is set")
        }
        return .container(
            url: url, authorization: environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"],
            authorizationFile: environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])
    }

    /// Besides 127.0.0.0/8: who may be told the token, and asked for the key, without TLS.
    private static let near = [
        "localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]",
    ]

    /// Names are not looked up: they could mean another host a moment later.
    private static func isNear(_ url: String) -> Bool {
        var host = url.dropFirst("http://".count).prefix { !"/?#".contains($0) }.lowercased()
        if let colon = host.lastIndex(of: ":"),
            host[colon...].dropFirst().utf8.allSatisfy({ (0x30...0x39).contains($0) })
        {
            host.removeSubrange(colon...)
        }
        var address = in_addr()
        return near.contains(host)
            || (host.hasPrefix("127.") && inet_pton(AF_INET, host, &address) == 1)
    }

    private func plain(_ url: String, _ name: String) throws(StartupError) -> String {
        let isPlain = url.utf8.allSatisfy { (0x21...0x7e).contains($0) }
        guard isPlain, url.hasPrefix("http://") || url.hasPrefix("https://") else {
            throw StartupError("\(name)=\(url): must be a URL, http:// or https://")
        }
        return url
    }
}
