import Glibc
import S3IO

/// Turns the options for a bucket into a configuration, or says what is wrong with them.
struct S3Validation {
    private let options: S3Options
    private let home: String?

    private static let defaultBaseURL = "https://s3.amazonaws.com/"
    private static let accessTypes = [
        "private", "public-read", "public-read-write", "authenticated-read",
    ]
    private static let timeoutMaxSeconds: UInt64 = 24 * 3600
    private static let pauseMaxMs: UInt64 = 24 * 3600 * 1000
    private static let accessFileBytesMax = 1 << 20

    /// - Parameter home: The user's home directory, for the usual access file.
    init(_ options: S3Options, home: String?) {
        self.options = options
        self.home = home
    }

    // MARK: Bucket and prefix

    /// Splits `bucket/a/b` into the bucket and the prefix `a/b/`.
    static func split(
        _ source: String, prefix: String
    ) throws(StartupError) -> (bucket: String, prefix: String) {
        let parts = source.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count > 1 else { return (source, prefix) }
        if parts.contains(where: \.isEmpty) {
            throw StartupError(
                "invalid S3 bucket/prefix \(source): no slash at the beginning or end, "
                    + "and no two together")
        }
        if !prefix.isEmpty {
            throw StartupError(
                "--prefix=\(prefix): \(source) names a prefix already; give one of the two")
        }
        return (String(parts[0]), parts.dropFirst().joined(separator: "/") + "/")
    }

    // MARK: Configuration

    /// Reads the access file.
    func configuration(bucket: String) throws(StartupError) -> S3Configuration {
        let endpoint = try endpoint(bucket)
        var result = S3Configuration(endpoint: endpoint, credentials: try credentials())
        guard Self.accessTypes.contains(options.accessType) else {
            throw StartupError(
                "--accessType=\(options.accessType): must be one of "
                    + Self.accessTypes.joined(separator: ", "))
        }
        if options.authVersion != "aws4" {
            throw StartupError(
                "--authVersion=\(options.authVersion): only aws4 is supported by this build")
        }
        result.accessType = options.accessType
        result.timeoutMs =
            try Validation.readNumber("timeout", options.timeout, 1...Self.timeoutMaxSeconds) * 1000
        result.initialRetryPauseMs = try Validation.readNumber(
            "initialRetryPause", options.initialRetryPause, 1...Self.pauseMaxMs)
        result.maxRetryPauseMs = try Validation.readNumber(
            "maxRetryPause", options.maxRetryPause, 0...Self.pauseMaxMs)
        if result.initialRetryPauseMs > result.maxRetryPauseMs && result.maxRetryPauseMs > 0 {
            throw StartupError(
                "--initialRetryPause=\(options.initialRetryPause): must not be more than "
                    + "--maxRetryPause=\(options.maxRetryPause)")
        }
        result.userAgent = "\(Program.name)/\(Program.version)"
        return result
    }

    private func endpoint(_ bucket: String) throws(StartupError) -> S3Endpoint {
        let isPlain = bucket.utf8.allSatisfy { (0x21...0x7e).contains($0) }
        if bucket.isEmpty || !isPlain || bucket == "." || bucket == ".." {
            throw StartupError("invalid S3 bucket \(bucket); give the name of a bucket")
        }
        let region = options.region ?? S3Endpoint.defaultRegion
        let isRegionPlain = region.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x2d || $0 == 0x5f
        }
        if region.isEmpty || !isRegionPlain {
            throw StartupError("--region=\(region): must be the name of a region")
        }
        if options.vhost && options.noVhost {
            throw StartupError("--vhost and --no-vhost contradict each other; give one of them")
        }
        let base = options.baseURL ?? Self.baseURL(region)
        if options.ssl && !base.hasPrefix("https://") {
            throw StartupError("--baseURL=\(base): is not https; leave out --ssl or use https://")
        }
        do throws(S3Endpoint.Invalid) {
            return try S3Endpoint(
                baseURL: base, bucket: bucket, region: region,
                isVirtualHosted: options.vhost || (options.region != nil && !options.noVhost))
        } catch {
            throw StartupError("--baseURL=\(base): \(error.message)")
        }
    }

    private static func baseURL(_ region: String) -> String {
        region == S3Endpoint.defaultRegion
            ? defaultBaseURL : "https://s3.\(region).amazonaws.com/"
    }

    // MARK: Credentials

    private func credentials() throws(StartupError) -> Credentials? {
        if let id = options.accessId, id.isEmpty { return nil }
        if let key = options.accessKey {
            guard let id = options.accessId else {
                throw StartupError("--accessKey is given without --accessId; give both")
            }
            return try checked(Credentials(accessID: id, accessKey: key))
        }
        if let text = try accessFile(),
            let found = Credentials.find(in: text, accessID: options.accessId)
        {
            return try checked(found)
        }
        guard let id = options.accessId else { return nil }
        throw StartupError(
            "no \"accessKey\" for --accessId=\(id); give --accessKey or an --accessFile with it")
    }

    private func checked(_ credentials: Credentials) throws(StartupError) -> Credentials {
        let all = Array(credentials.accessID.utf8) + Array(credentials.accessKey.utf8)
        if credentials.accessKey.isEmpty || !all.allSatisfy({ (0x21...0x7e).contains($0) }) {
            throw StartupError(
                "the access id or key contains blanks or is empty; "
                    + "check --accessId, --accessKey or --accessFile")
        }
        return credentials
    }

    /// nil when there is none, which is no error for the usual one.
    private func accessFile() throws(StartupError) -> String? {
        guard let path = options.accessFile ?? home.map({ $0 + "/.s3backer_passwd" }) else {
            return nil
        }
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        if fd < 0 {
            if errno == ENOENT && options.accessFile == nil { return nil }
            throw StartupError("--accessFile=\(path): \(String(cString: strerror(errno)))")
        }
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: Self.accessFileBytesMax)
        var count = 0
        while count < bytes.count {
            let got = bytes.withUnsafeMutableBytes {
                read(fd, $0.baseAddress.map { $0 + count }, $0.count - count)
            }
            if got == 0 { break }
            if got > 0 {
                count += got
            } else if errno != EINTR {
                throw StartupError("--accessFile=\(path): \(String(cString: strerror(errno)))")
            }
        }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
