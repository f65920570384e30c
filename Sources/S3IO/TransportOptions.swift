/// How connections are made, whatever goes over them.
public struct TransportOptions: Sendable, Equatable {
    /// For one attempt, connecting included.
    public var timeoutMs = 30_000
    /// File with the certificates of the authorities to trust; nil: those of the system.
    public var authoritiesFile: String?
    /// Takes any certificate.
    public var isInsecure = false
    /// Connections stay open for further requests.
    public var keepsConnections = true
    /// `IP_TOS` of every packet, 0...255.
    public var typeOfService: Int?
    /// Bytes of bodies per second, over all connections together; nil: no limit.
    public var uploadSpeedMax: UInt64?
    public var downloadSpeedMax: UInt64?
    /// Talks to the server itself, whatever the environment says of proxies.
    public var isDirect = false

    public init() {}

    /// To connect. A server that is there answers within a few seconds, so that another attempt
    /// soon is worth more than a long wait.
    var connectTimeoutMs: Int { min(timeoutMs, 10_000) }

    /// Seconds without a single byte after which a transfer is dead, however long it may take.
    var stallSeconds: Int { min(max(1, timeoutMs / 1000), 30) }
}
