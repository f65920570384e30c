import BlockStore

/// One request, before it is dated and signed.
package struct S3Request {
    package enum Method: String, Sendable {
        case get = "GET"
        case head = "HEAD"
        case put = "PUT"
        case post = "POST"
        case delete = "DELETE"
    }

    package var method: Method
    /// Encoded.
    package var path: String
    /// Encoded and sorted; empty: none.
    package var query = ""
    /// Signed, with lower-case names. Date, digest and host are added when it is sent.
    package var headers: [(name: String, value: String)] = []
    /// What is sent. Lives as long as the call.
    package var body: UnsafeRawBufferPointer?
    /// Where the body of a successful reply goes; nil: into the reply. Lives as long as the call.
    package var target: UnsafeMutableRawBufferPointer?
    /// Digests of the body, if they are known already.
    package var payloadHash: [UInt8]?
    package var payloadMD5: [UInt8]?
    /// Set: nobody wants it any more.
    package var cancel: CancelFlag?
    /// A success without an entity tag is none: some servers leave it out while the object is being
    /// replaced.
    package var needsTag = false
    /// 304 is an answer to it, not a failure.
    package var acceptsNotModified = false

    /// It only asks for, or changes, a certain version.
    var isConditional: Bool {
        headers.contains { $0.name == "if-match" || $0.name == "if-none-match" }
    }

    func accepts(_ status: Int) -> Bool { acceptsNotModified && status == 304 }

    package init(_ method: Method, path: String) {
        self.method = method
        self.path = path
    }
}

/// A successful reply.
package struct S3Response {
    package let status: Int
    package let headers: S3Headers
    /// Bytes of the body, wherever they went; more than fit means that the rest was dropped.
    package var bodyCount: Int
    /// The body, when the request had no target.
    package var body: [UInt8]
    /// A try before this one was not answered; it may have happened, or yet happen.
    package var hadUnansweredTry = false

    /// The entity tag without quotes and without the mark of a weak one; nil when there is none.
    package let entityTag: String?

    init(status: Int, headers: S3Headers, bodyCount: Int, body: [UInt8]) {
        self.status = status
        self.headers = headers
        self.bodyCount = bodyCount
        self.body = body
        entityTag = headers["etag"].flatMap(Self.entityTag)
    }

    package static func entityTag(_ text: String) -> String? {
        var tag = text.utf8[...]
        if tag.starts(with: "W/".utf8) || tag.starts(with: "w/".utf8) { tag = tag.dropFirst(2) }
        let quote = UInt8(ascii: "\"")
        if tag.count >= 2, tag.first == quote, tag.last == quote {
            tag = tag.dropFirst().dropLast()
        }
        // It is sent back in conditions, and in a document anything can stand.
        let isPlain = tag.allSatisfy { $0 >= 0x20 && $0 != quote && $0 != 0x7f }
        return tag.isEmpty || !isPlain ? nil : String(Substring(tag))
    }
}
