import FileIO

/// How requests are signed.
public enum SignatureVersion: String, Sendable, CaseIterable {
    case aws2, aws4
}

/// Dates and signs requests, with the key that holds at the time.
final class Signer: Sendable {
    private let endpoint: S3Endpoint
    private let version: SignatureVersion
    private let source: any CredentialsSource
    /// Of the key used last; its signing key is worth keeping.
    private let latest = Locked<(credentials: Credentials, signature: SignatureV4)?>(nil)
    /// Requests of one second have the same date.
    private let latestDate = Locked<(seconds: Int, text: String)>((.min, ""))

    init(_ endpoint: S3Endpoint, _ version: SignatureVersion, _ source: any CredentialsSource) {
        self.endpoint = endpoint
        self.version = version
        self.source = source
    }

    func credentials() throws(S3Error) -> Credentials? { try source.current() }

    func hasExpired(_ credentials: Credentials?) -> Bool { source.hasExpired(credentials) }

    /// The headers of a request with date, digest and, unless anonymous, signature.
    ///
    /// - Parameters:
    ///   - seconds: The date, since 1970.
    ///   - payloadHash: SHA-256 of the body in hexadecimal digits; only for version 4.
    func lines(
        _ request: S3Request, at seconds: Int, payloadHash: () -> String,
        _ credentials: Credentials?
    ) -> [String] {
        var headers = request.headers
        headers.reserveCapacity(headers.count + 4)
        var authorization: String?
        switch version {
        case .aws4:
            let date = date(seconds)
            let hash = payloadHash()
            headers.append(("x-amz-date", date))
            headers.append(("x-amz-content-sha256", hash))
            if let token = credentials?.sessionToken {
                headers.append(("x-amz-security-token", token))
            }
            if let credentials {
                let signed = SignatureV4.Request(
                    method: request.method.rawValue, path: request.path, query: request.query,
                    headers: headers + [("host", endpoint.host)], payloadHash: hash)
                authorization = signature(credentials).authorization(signed, date: date)
            }
        case .aws2:
            headers.append(("date", S3Date.httpText(seconds)))
            if let token = credentials?.sessionToken {
                headers.append(("x-amz-security-token", token))
            }
            if let credentials {
                authorization = SignatureV2(credentials).authorization(
                    method: request.method.rawValue, headers: headers, resource: resource(request))
            }
        }
        var lines: [String] = []
        lines.reserveCapacity(headers.count + 3)
        for header in headers { lines.append(header.name + ": " + header.value) }
        if let authorization { lines.append("Authorization: " + authorization) }
        return lines
    }

    private func date(_ seconds: Int) -> String {
        latestDate.withLock { latest in
            if latest.seconds != seconds { latest = (seconds, S3Date.text(seconds)) }
            return latest.text
        }
    }

    /// What version 2 signs of the URL.
    private func resource(_ request: S3Request) -> String {
        let bucket = endpoint.isVirtualHosted ? "/" + endpoint.bucket : ""
        let isDelete = request.query == "delete" || request.query == "delete="
        return bucket + request.path + (isDelete ? "?delete" : "")
    }

    private func signature(_ credentials: Credentials) -> SignatureV4 {
        latest.withLock { latest in
            if let latest, latest.credentials == credentials { return latest.signature }
            let signature = SignatureV4(credentials, region: endpoint.region)
            latest = (credentials, signature)
            return signature
        }
    }
}
