import BlockStore
import CCurl
import FileIO
import FoundationEssentials
import Glibc
import Logging

/// A service of the machine that hands out keys.
public enum CredentialsService: Sendable, Equatable {
    /// Of a container.
    ///
    /// - Parameters:
    ///   - authorization: Value of the header `Authorization`; nil: none.
    ///   - authorizationFile: Where it is, instead; read each time, since it changes.
    case container(url: String, authorization: String?, authorizationFile: String?)
    /// Of an EC2 instance.
    ///
    /// - Parameters:
    ///   - endpoint: `http://HOST[:PORT]`, without a slash at the end.
    ///   - usesSession: By version 2 of the protocol, which asks for a token first.
    case instance(role: String, endpoint: String, usesSession: Bool)

    public static let instanceEndpoint = "http://169.254.169.254"
    public static let containerEndpoint = "http://169.254.170.2"

    /// For the option, the remedy and the logs.
    private var option: String {
        switch self {
        case .container: "--accessContainer"
        case .instance(let role, _, _): "--accessEC2IAM=\(role)"
        }
    }

    /// A key that is fetched when it is needed first, and renewed in the background.
    ///
    /// - Parameter now: Seconds since 1970.
    public func source(
        userAgent: String, logger: Logger, now: @escaping @Sendable () -> Int = { time(nil) }
    ) -> ExpiringCredentials {
        ExpiringCredentials(
            logger: logger, now: now,
            inBackground: { Worker(name: "credentials", $0).detach() },
            fetch: { () throws(S3Error) in try fetch(userAgent: userAgent) })
    }

    // MARK: Fetching

    private static let tokenHeader = "X-aws-ec2-metadata-token"
    private static let sessionSeconds = 21600
    private static let timeoutMs = 5000
    private static let fileBytesMax = 64 << 10

    /// Asks once. Blocks for a few seconds at most.
    package func fetch(userAgent: String) throws(S3Error) -> ExpiringCredentials.Key {
        switch self {
        case .container(let url, let authorization, let file):
            var headers: [String] = []
            if let value = try file.map({ path throws(S3Error) in try read(path) }) ?? authorization
            {
                headers.append("Authorization: " + value)
            }
            return try key(ask(.get, url, headers, userAgent))
        case .instance(let role, let endpoint, let usesSession):
            var headers: [String] = []
            if usesSession {
                let reply = try ask(
                    .put, endpoint + "/latest/api/token",
                    ["\(Self.tokenHeader)-ttl-seconds: \(Self.sessionSeconds)", "Content-Type:"],
                    userAgent)
                headers.append(Self.tokenHeader + ": " + (try line(reply)))
            }
            let path = PercentEncoding.encode(role, keepingSlashes: true)
            return try key(
                ask(
                    .get, endpoint + "/latest/meta-data/iam/security-credentials/" + path, headers,
                    userAgent))
        }
    }

    private func ask(
        _ method: S3Request.Method, _ url: String, _ headers: [String], _ userAgent: String
    ) throws(S3Error) -> [UInt8] {
        var options = TransportOptions()
        options.timeoutMs = Self.timeoutMs
        // It is on this machine or next to it.
        options.isDirect = true
        let outcome = CurlHandle(options, userAgent: userAgent, CancelFlag()).perform(
            CurlHandle.Transfer(
                method: method, url: url, headers: headers, timeoutMs: Self.timeoutMs))
        guard outcome.code == CURLE_OK else { throw failed("cannot be asked: \(outcome.reason)") }
        guard outcome.response.status == 200 else {
            throw failed("answers \(outcome.response.status)", outcome.response.status)
        }
        return outcome.response.body
    }

    private func failed(_ what: String, _ status: Int = 0) -> S3Error {
        let place =
            switch self {
            case .container(let url, _, _): url
            case .instance(_, let endpoint, _): endpoint
            }
        return S3Error(
            status == 0 || status >= 500 ? .unreachable : .denied,
            "\(option): the service \(place) \(what)", status: status)
    }

    // MARK: Reading

    private struct Document: Decodable {
        var id: String?
        var secret: String?
        var token: String?
        var expiration: String?

        enum CodingKeys: String, CodingKey {
            case id = "AccessKeyId"
            case secret = "SecretAccessKey"
            case token = "Token"
            case expiration = "Expiration"
        }
    }

    private func key(_ body: [UInt8]) throws(S3Error) -> ExpiringCredentials.Key {
        guard let document = try? JSONDecoder().decode(Document.self, from: Data(body)),
            let id = document.id, let secret = document.secret
        else { throw failed("gives no key") }
        let credentials = Credentials(accessID: id, accessKey: secret, sessionToken: document.token)
        guard credentials.isPlain else { throw failed("gives a key that cannot be one") }
        return (credentials, document.expiration.flatMap(S3Date.seconds))
    }

    private func line(_ body: [UInt8]) throws(S3Error) -> String {
        let text = String(decoding: body, as: UTF8.self)
        guard !text.isEmpty, text.utf8.count <= 4096,
            text.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
        else { throw failed("gives no token") }
        return text
    }

    private func read(_ path: String) throws(S3Error) -> String {
        let bytes: [UInt8]
        do throws(SmallFile.Unreadable) {
            bytes = try SmallFile.read(path, bytesMax: Self.fileBytesMax)
        } catch {
            throw S3Error(.denied, "\(option): cannot read \(path): \(error.message)")
        }
        var text = String(decoding: bytes, as: UTF8.self)
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}
