/// An access key. Anonymous access has none.
public struct Credentials: Sendable, Equatable {
    public let accessID: String
    public let accessKey: String
    /// Goes with keys that expire.
    public let sessionToken: String?

    public init(accessID: String, accessKey: String, sessionToken: String? = nil) {
        self.accessID = accessID
        self.accessKey = accessKey
        self.sessionToken = sessionToken
    }

    /// Whether every part can stand in a header.
    public var isPlain: Bool {
        let all = [accessID, accessKey, sessionToken ?? "x"]
        return all.allSatisfy { text in
            !text.isEmpty && text.utf8.allSatisfy { (0x21...0x7e).contains($0) }
        }
    }

    /// Looks into the text of an access file: lines `id:key`; lines that begin with `#` or white
    /// space, or have no colon, mean nothing.
    ///
    /// - Parameter accessID: whose key is wanted; nil: the first one in the file.
    public static func find(in text: String, accessID: String?) -> Credentials? {
        for line in text.split(separator: "\n") {
            guard let first = line.first, first != "#", !first.isWhitespace,
                let colon = line.firstIndex(of: ":")
            else { continue }
            let id = String(line[..<colon])
            if accessID != nil && accessID != id { continue }
            var key = line[line.index(after: colon)...]
            while key.last?.isWhitespace == true { key.removeLast() }
            return Credentials(accessID: id, accessKey: String(key))
        }
        return nil
    }

    /// Looks into the text of a shared credentials file (`~/.aws/credentials`): sections
    /// `[profile]` of lines `name = value`.
    ///
    /// - Returns: nil when there is no such profile, or none of its keys.
    public static func find(inProfiles text: String, profile: String) -> Credentials? {
        var isWanted = false
        var values: [String: String] = [:]
        for line in text.split(whereSeparator: \.isNewline) {
            let line = trimmed(line)
            if line.hasPrefix("#") || line.hasPrefix(";") { continue }
            if line.hasPrefix("[") && line.hasSuffix("]") {
                isWanted = trimmed(line.dropFirst().dropLast()) == profile
            } else if isWanted, let sign = line.firstIndex(of: "=") {
                values[trimmed(line[..<sign]).lowercased()] = trimmed(
                    line[line.index(after: sign)...])
            }
        }
        guard let id = values["aws_access_key_id"], let key = values["aws_secret_access_key"]
        else { return nil }
        return Credentials(
            accessID: id, accessKey: key, sessionToken: values["aws_session_token"])
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }

    private static func trimmed(_ text: String) -> String { trimmed(text[...]) }
}
