/// Where a bucket is: base URL, bucket, and which of the two forms of URL it takes.
public struct S3Endpoint: Sendable, Equatable {
    /// What is wrong with a base URL or bucket name: the end of a sentence that begins with it.
    public struct Invalid: Error, Equatable { public let message: String }

    public let bucket: String
    public let region: String
    /// The bucket is part of the host's name, not of the path.
    public let isVirtualHosted: Bool
    public let isSecure: Bool
    /// Host and port as in the `Host` header: without the scheme's usual port.
    public let host: String
    /// Path of the bucket itself: without a slash at the end, unless there is nothing else.
    package let bucketPath: String

    public static let defaultRegion = "us-east-1"

    /// - Parameter baseURL: `http://HOST[:PORT]/[PATH/]` or the same with https.
    public init(
        baseURL: String, bucket: String, region: String, isVirtualHosted: Bool
    ) throws(Invalid) {
        let rest: Substring
        if baseURL.hasPrefix("http://") {
            isSecure = false
            rest = baseURL.dropFirst(7)
        } else if baseURL.hasPrefix("https://") {
            isSecure = true
            rest = baseURL.dropFirst(8)
        } else {
            throw Invalid(message: "must begin with http:// or https://")
        }
        var authority = String(rest.prefix { $0 != "/" }).lowercased()
        let path = String(rest.drop { $0 != "/" })
        let usualPort = isSecure ? ":443" : ":80"
        if authority.hasSuffix(usualPort) { authority.removeLast(usualPort.utf8.count) }
        if authority.isEmpty || authority.hasPrefix(":") {
            throw Invalid(message: "has no host")
        }
        if authority.utf8.contains(0x40) {
            throw Invalid(message: "contains a user name; use --accessId and --accessKey")
        }
        let isPlain = baseURL.utf8.allSatisfy { (0x21...0x7e).contains($0) }
        if !isPlain || path.contains("?") || path.contains("#") || authority.contains("?") {
            throw Invalid(message: "must be a plain URL: http://HOST[:PORT]/[PATH/]")
        }
        self.bucket = bucket
        self.region = region
        self.isVirtualHosted = isVirtualHosted
        host = isVirtualHosted ? bucket + "." + authority : authority
        let basePath = path.hasSuffix("/") ? path : path + "/"
        bucketPath =
            isVirtualHosted
            ? basePath : basePath + PercentEncoding.encode(bucket, keepingSlashes: false)
    }

    /// Path of an object, encoded: in the URL and in what is signed.
    package func path(key: String) -> String {
        bucketPath + (isVirtualHosted ? "" : "/")
            + PercentEncoding.encode(key, keepingSlashes: true)
    }

    package func url(path: String, query: String) -> String {
        (isSecure ? "https://" : "http://") + host + path + (query.isEmpty ? "" : "?" + query)
    }

    /// The bucket for people: base URL and, in path style, the bucket.
    public var description: String {
        (isSecure ? "https://" : "http://") + host + bucketPath + (isVirtualHosted ? "" : "/")
    }
}
