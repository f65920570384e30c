/// How to reach a bucket.
public struct S3Configuration: Sendable, Equatable {
    public var endpoint: S3Endpoint
    /// nil: anonymous, unless a service gives the key.
    public var credentials: Credentials?
    /// Gives the key, instead of `credentials`.
    public var credentialsService: CredentialsService?
    public var signatureVersion = SignatureVersion.aws4
    public var transport = TransportOptions()
    /// How objects are kept.
    public var storage = S3Storage()
    public var initialRetryPauseMs = 200
    /// Sum of the pauses of one request.
    public var maxRetryPauseMs = 30_000
    public var userAgent = "s3backer"
    /// The heads of requests and replies go to the log, without what could be used to sign.
    public var logsHTTP = false

    public init(endpoint: S3Endpoint, credentials: Credentials?) {
        self.endpoint = endpoint
        self.credentials = credentials
    }
}
