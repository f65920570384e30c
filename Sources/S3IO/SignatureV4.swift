import BlockStore
import FileIO

/// AWS Signature Version 4 for one set of credentials and one region.
package final class SignatureV4: Sendable {
    private let credentials: Credentials
    private let region: String
    /// The signing key depends on the day only.
    private let cachedKey = Locked<(day: String, key: HMACKey)?>(nil)

    package init(_ credentials: Credentials, region: String) {
        self.credentials = credentials
        self.region = region
    }

    /// One request as it is signed. Header names are lower case.
    package struct Request {
        package var method: String
        /// Encoded, without the query.
        package var path: String
        /// Encoded and sorted.
        package var query: String
        package let headers: [(name: String, value: String)]
        /// Hex SHA-256 of the body.
        package var payloadHash: String

        package init(
            method: String, path: String, query: String,
            headers: [(name: String, value: String)], payloadHash: String
        ) {
            self.method = method
            self.path = path
            self.query = query
            self.headers = headers.sorted { $0.name < $1.name }
            self.payloadHash = payloadHash
            var names = ""
            for header in self.headers {
                if !names.isEmpty { names += ";" }
                names += header.name
            }
            signedHeaders = names
        }

        /// Their names.
        package let signedHeaders: String

        package var canonical: String {
            var text = ""
            text.reserveCapacity(1024)
            text += method
            text += "\n"
            text += path
            text += "\n"
            text += query
            text += "\n"
            for header in headers {
                text += header.name
                text += ":"
                text += Self.trimmed(header.value)
                text += "\n"
            }
            text += "\n"
            text += signedHeaders
            text += "\n"
            text += payloadHash
            return text
        }

        /// Without blanks around, and with one blank where there were several.
        private static func trimmed(_ value: String) -> String {
            // Nearly all values have none but single ones inside.
            var isAfterBlank = true
            var isPlain = true
            for byte in value.utf8 {
                let isBlank = byte == 0x20 || byte == 0x09
                if isBlank && (isAfterBlank || byte == 0x09) { isPlain = false }
                isAfterBlank = isBlank
            }
            if isPlain && !isAfterBlank { return value }
            return value.split(whereSeparator: { $0 == " " || $0 == "\t" }).joined(separator: " ")
        }
    }

    /// - Parameter date: `YYYYMMDDTHHMMSSZ`, the value of `x-amz-date`.
    package func stringToSign(_ request: Request, date: String) -> String {
        stringToSign(request, date: date, scope(date))
    }

    private func stringToSign(_ request: Request, date: String, _ scope: String) -> String {
        var canonical = request.canonical
        let hash = canonical.withUTF8 { Digest.sha256(UnsafeRawBufferPointer($0)) }
        return "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + Digest.hex(hash)
    }

    /// The value of the `Authorization` header.
    package func authorization(_ request: Request, date: String) -> String {
        let scope = scope(date)
        var text = stringToSign(request, date: date, scope)
        let key = key(day: date.utf8.prefix(8))
        let signature = text.withUTF8 { key.sign(UnsafeRawBufferPointer($0)) }
        return "AWS4-HMAC-SHA256 Credential=" + credentials.accessID + "/" + scope
            + ", SignedHeaders=" + request.signedHeaders + ", Signature=" + Digest.hex(signature)
    }

    private func scope(_ date: String) -> String {
        date.prefix(8) + "/" + region + "/s3/aws4_request"
    }

    private func key(day: Substring.UTF8View) -> HMACKey {
        let known = cachedKey.withLock { cached in
            cached.flatMap { $0.day.utf8.elementsEqual(day) ? $0.key : nil }
        }
        if let known { return known }
        let day = String(Substring(day))
        var bytes = Array("AWS4".utf8) + Array(credentials.accessKey.utf8)
        for part in [day, region, "s3", "aws4_request"] {
            bytes = Digest.hmacSHA256(key: bytes, Array(part.utf8))
        }
        let key = HMACKey(sha256: bytes)
        cachedKey.withLock { $0 = (day, key) }
        return key
    }
}
