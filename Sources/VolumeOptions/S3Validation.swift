import Glibc
import S3IO

/// Turns the options for a bucket into a configuration, or says what is wrong with them.
package struct S3Validation {
    private let options: S3Options

    private static let defaultBaseURL = "https://s3.amazonaws.com/"
    private static let accessTypes = [
        "private", "public-read", "public-read-write", "authenticated-read",
    ]
    private static let timeoutMaxSeconds: UInt64 = 24 * 3600
    private static let pauseMaxMs: UInt64 = 24 * 3600 * 1000

    package init(_ options: S3Options) { self.options = options }

    // MARK: Bucket and prefix

    /// Splits `bucket/a/b` into the bucket and the prefix `a/b/`.
    package static func split(
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

    /// All but the access key.
    package func configuration(bucket: String) throws(StartupError) -> S3Configuration {
        var result = S3Configuration(endpoint: try endpoint(bucket), credentials: nil)
        guard Self.accessTypes.contains(options.accessType) else {
            throw StartupError(
                "--accessType=\(options.accessType): must be one of "
                    + Self.accessTypes.joined(separator: ", "))
        }
        guard let version = SignatureVersion(rawValue: options.authVersion) else {
            throw StartupError("--authVersion=\(options.authVersion): must be aws4 or aws2")
        }
        result.signatureVersion = version
        result.storage.accessType = options.accessType
        result.transport = try transport()
        result.logsHTTP = options.debugHTTP
        result.initialRetryPauseMs = try OptionValue.number(
            "initialRetryPause", options.initialRetryPause, 1...Self.pauseMaxMs)
        result.maxRetryPauseMs = try OptionValue.number(
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

    // MARK: Transport

    private func transport() throws(StartupError) -> TransportOptions {
        var result = TransportOptions()
        let seconds = try OptionValue.number(
            "timeout", options.timeout, 1...Self.timeoutMaxSeconds)
        result.timeoutMs = seconds * 1000
        if let path = options.cacert {
            if access(path, R_OK) != 0 {
                throw StartupError("--cacert=\(path): \(String(cString: strerror(errno)))")
            }
            // A daemon works in another directory.
            result.authoritiesFile = PathChecks.absolute(path)
        }
        result.isInsecure = options.insecure
        result.keepsConnections = !options.noCurlCache
        result.typeOfService = try options.ipTOS.map { text throws(StartupError) in
            try typeOfService(text)
        }
        result.uploadSpeedMax = try speed("maxUploadSpeed", options.maxUploadSpeed)
        result.downloadSpeedMax = try speed("maxDownloadSpeed", options.maxDownloadSpeed)
        return result
    }

    /// Bits per second on the command line, bytes in the result.
    private func speed(_ option: String, _ text: String?) throws(StartupError) -> UInt64? {
        guard let text else { return nil }
        let bits = try OptionValue.size(option, text)
        if bits < 8 { throw StartupError("--\(option)=\(text): must be at least 8 bits a second") }
        return bits / 8
    }

    /// The names of RFC 1349.
    private static let services = [
        "lowdelay": 0x10, "throughput": 0x08, "reliability": 0x04, "lowcost": 0x02,
        "mincost": 0x02,
    ]

    private func typeOfService(_ text: String) throws(StartupError) -> Int {
        if let value = Self.services[text.lowercased()] { return value }
        let isHex = text.lowercased().hasPrefix("0x")
        guard let value = isHex ? Int(text.dropFirst(2), radix: 16) : Int(text),
            (0...255).contains(value)
        else {
            throw StartupError(
                "--ipTOS=\(text): must be a number from 0 to 255, or one of "
                    + Self.services.keys.sorted().joined(separator: ", "))
        }
        return value
    }
}
