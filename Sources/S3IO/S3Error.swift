import BlockStore
import CCurl

/// Why a request did not succeed, with what the user can do about it.
public struct S3Error: Error, Sendable, CustomStringConvertible {
    public enum Kind: Sendable {
        /// 404 of an object.
        case missing
        /// The bucket itself does not exist.
        case noBucket
        /// 401, 403: wrong key, or no right.
        case denied
        /// 3xx, or a signature made for another region.
        case redirected
        /// 412, 409: the condition did not hold.
        case condition
        /// 501: the server does not know what was asked.
        case notImplemented
        /// No connection, or no name.
        case unreachable
        case timeout
        /// 5xx, 429, or a connection that broke.
        case server
        /// The body is not the one that the server has.
        case damaged
        /// The certificate, or TLS itself.
        case insecure
        /// `S3Client.cancel` was called.
        case cancelled
        /// Any other refusal.
        case refused
    }

    public let kind: Kind
    /// One line.
    public let message: String
    /// The status of the reply; 0 when there was none.
    public let status: Int
    /// `Code` of the error document; empty when there was none.
    public let code: String
    /// A try before the last one was not answered; it may have happened, or yet happen.
    public internal(set) var hadUnansweredTry = false
    /// How long the server asks to wait (`Retry-After`), in milliseconds.
    var retryAfterMs: Int?
    /// `Date` of the reply.
    var serverDate: String?

    package init(_ kind: Kind, _ message: String, status: Int = 0, code: String = "") {
        self.kind = kind
        self.message = message
        self.status = status
        self.code = code
    }

    public var description: String { message }

    /// Whether the same request may succeed later.
    public var isTemporary: Bool {
        switch kind {
        case .unreachable, .timeout, .server, .damaged, .cancelled: true
        default: false
        }
    }

    /// The server wants less of this.
    var isSlowDown: Bool { code == "SlowDown" || status == 429 }

    /// The date of the request is too far from the server's.
    var isSkewed: Bool { code == "RequestTimeTooSkewed" }

    /// The key has ended.
    var isExpired: Bool { code == "ExpiredToken" || code == "ExpiredTokenException" }

    /// Whether the server's word is hidden: replies to HEAD have no body.
    var needsExplanation: Bool {
        code.isEmpty && status >= 300 && status < 500 && kind != .missing && kind != .condition
    }
}

/// Who talks to what, for messages.
struct S3ErrorContext {
    let endpoint: S3Endpoint
    /// nil: anonymous.
    let accessID: String?

    // MARK: Replies

    /// The error for a reply that is no success.
    func error(_ response: S3Response, _ what: String) -> S3Error {
        var error = refusal(response, what)
        error.serverDate = response.headers["date"]
        if error.kind == .server, let text = response.headers["retry-after"] {
            error.retryAfterMs = Self.retryAfterMs(text, date: error.serverDate)
        }
        return error
    }

    /// A number of seconds, or a date (RFC 9110, section 10.2.3).
    private static func retryAfterMs(_ text: String, date: String?) -> Int? {
        let longest = 24 * 3600
        if let seconds = UInt32(text) { return min(Int(seconds), longest) * 1000 }
        guard let until = S3Date.seconds(text), let now = date.flatMap(S3Date.seconds) else {
            return nil
        }
        return max(0, min(until - now, longest)) * 1000
    }

    /// The error for a reply that succeeded and cannot be used.
    func failure(_ kind: S3Error.Kind, _ problem: String, _ what: String) -> S3Error {
        S3Error(kind, "\(endpoint.description): \(problem) (\(what))")
    }

    private func refusal(_ response: S3Response, _ what: String) -> S3Error {
        let document = XMLFields(response.body)
        let code = clean(document["Code"] ?? "")
        let status = response.status
        func make(_ kind: S3Error.Kind, _ text: String) -> S3Error {
            let answer = code.isEmpty ? "\(status)" : "\(status) \(code)"
            return S3Error(
                kind, "\(endpoint.description): \(text) (\(answer) to \(what))", status: status,
                code: code)
        }
        if status == 404 {
            if code == "NoSuchBucket" { return make(.noBucket, noBucket) }
            return make(.missing, "no such object")
        }
        if let region = wrongRegion(response, document, code) {
            return make(.redirected, region)
        }
        switch status {
        case 300..<400: return make(.redirected, redirected(response, document))
        case 401, 403: return make(.denied, denied(code))
        // How some servers take a request without a signature.
        case 400 where accessID == nil: return make(.denied, denied(code))
        case 409, 412: return make(.condition, "the condition of the request does not hold")
        case 408, 429: return make(.server, "the server is overloaded")
        case 400 where code == "RequestTimeout" || code == "SlowDown":
            return make(.server, "the server is overloaded")
        case 501: return make(.notImplemented, "the server cannot do this")
        case 500...: return make(.server, "the server has a problem")
        default:
            let text = clean(document["Message"] ?? "")
            return make(.refused, text.isEmpty ? "the server refuses" : "the server says: \(text)")
        }
    }

    private var noBucket: String {
        "bucket \(endpoint.bucket) does not exist; create it, or check its name, --baseURL and --region"
    }

    private func wrongRegion(
        _ response: S3Response, _ document: XMLFields, _ code: String
    ) -> String? {
        let codes: Set<String> = [
            "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
        ]
        let named = response.headers["x-amz-bucket-region"] ?? document["Region"] ?? ""
        let region = clean(named)
        let isRedirect = (300..<400).contains(response.status)
        let isOther = !region.isEmpty && region != endpoint.region
        guard codes.contains(code) || (isOther && (isRedirect || response.status == 400)) else {
            return nil
        }
        if region.isEmpty || !isOther {
            return "bucket \(endpoint.bucket) is not in region \(endpoint.region); "
                + "use the right --region"
        }
        return "bucket \(endpoint.bucket) is in region \(region), not \(endpoint.region); "
            + "use --region=\(region)"
    }

    private func redirected(_ response: S3Response, _ document: XMLFields) -> String {
        let target = clean(document["Endpoint"] ?? response.headers["location"] ?? "")
        let to = target.isEmpty ? "" : " to \(target)"
        return "the server redirects\(to), which is not followed; "
            + "use another --region or --baseURL, or --vhost"
    }

    private func denied(_ code: String) -> String {
        guard let accessID else {
            return "anonymous access is not allowed; give --accessId and --accessKey, "
                + "or an --accessFile"
        }
        switch code {
        case "InvalidAccessKeyId", "InvalidClientTokenId":
            return "the server does not know access id \(accessID); "
                + "check --accessId, --accessKey or --accessFile"
        case "SignatureDoesNotMatch":
            return "the secret of access id \(accessID) is wrong; "
                + "check --accessKey or --accessFile"
        case "ExpiredToken", "ExpiredTokenException":
            return "the key of access id \(accessID) has expired; get a new one"
        case "RequestTimeTooSkewed":
            return "the clock of this machine differs from the server's; set it"
        default:
            return "access id \(accessID) is not allowed to do this; check --accessId, "
                + "--accessKey, --accessFile and the rights of the bucket"
        }
    }

    /// What a server says, made safe for one line.
    private func clean(_ text: String) -> String {
        let printable = text.unicodeScalars.map {
            $0.value < 0x20 || (0x7f...0x9f).contains($0.value) ? " " : $0
        }
        var result = String.UnicodeScalarView()
        result.append(contentsOf: printable.prefix(200))
        return String(result)
    }

    // MARK: No reply

    /// The error for a transfer that libcurl could not complete.
    func error(_ code: CURLcode, _ reason: String, _ what: String) -> S3Error {
        let text = clean(reason)
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_CONNECT:
            return S3Error(
                .unreachable,
                "cannot reach \(endpoint.host): \(text); check --baseURL and the network")
        case CURLE_OPERATION_TIMEDOUT:
            return S3Error(
                .timeout,
                "\(endpoint.host) does not answer \(what): \(text); "
                    + "check --baseURL and the network, or use a longer --timeout")
        case CURLE_ABORTED_BY_CALLBACK: return S3Error(.cancelled, "\(what) was given up")
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CERTPROBLEM:
            return S3Error(
                .insecure,
                "\(endpoint.host) cannot prove who it is: \(text); check --baseURL, "
                    + "or give the certificate of its authority with --cacert")
        case CURLE_SSL_CONNECT_ERROR:
            return S3Error(
                .server,
                "\(endpoint.host) does not speak TLS: \(text); "
                    + "without TLS use --baseURL=http://...")
        case CURLE_URL_MALFORMAT:
            return S3Error(.refused, "bad URL for \(what): \(text); check --baseURL")
        default: return S3Error(.server, "\(endpoint.host) broke off \(what): \(text)")
        }
    }
}
