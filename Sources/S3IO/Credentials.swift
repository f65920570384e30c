/// An access key. Anonymous access has none.
public struct Credentials: Sendable, Equatable {
    public let accessID: String
    public let accessKey: String

    public init(accessID: String, accessKey: String) {
        self.accessID = accessID
        self.accessKey = accessKey
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
}
