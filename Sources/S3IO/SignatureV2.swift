import BlockStore

/// AWS Signature Version 2, for servers that know nothing newer.
///
/// Only `?delete` of the sub-resources is ever sent, and signed as the protocol demands.
package struct SignatureV2: Sendable {
    private let credentials: Credentials

    package init(_ credentials: Credentials) { self.credentials = credentials }

    /// - Parameters:
    ///   - headers: Names in lower case, `date` among them.
    ///   - resource: `/bucket/key` encoded, whatever the form of the URL.
    package func stringToSign(
        method: String, headers: [(name: String, value: String)], resource: String
    ) -> String {
        func value(_ name: String) -> String { headers.first { $0.name == name }?.value ?? "" }
        var text =
            "\(method)\n\(value("content-md5"))\n\(value("content-type"))\n\(value("date"))\n"
        for header in headers.filter({ $0.name.hasPrefix("x-amz-") }).sorted(by: {
            $0.name < $1.name
        }) {
            text += "\(header.name):\(header.value)\n"
        }
        return text + resource
    }

    /// The value of the `Authorization` header.
    package func authorization(
        method: String, headers: [(name: String, value: String)], resource: String
    ) -> String {
        let text = stringToSign(method: method, headers: headers, resource: resource)
        let digest = Digest.hmacSHA1(key: Array(credentials.accessKey.utf8), Array(text.utf8))
        return "AWS \(credentials.accessID):\(Digest.base64(digest))"
    }
}
