import BlockStore

/// The conditions on changes that a server is known to honour. One that ignores them would change an
/// object that somebody else has changed before, without a word.
public struct S3Conditions: Sendable, Equatable {
    /// PUT with `If-Match` or `If-None-Match: *`.
    public var whenPutting: Bool
    /// DELETE with `If-Match`.
    public var whenDeleting: Bool

    public static let none = S3Conditions(whenPutting: false, whenDeleting: false)

    public init(whenPutting: Bool, whenDeleting: Bool) {
        self.whenPutting = whenPutting
        self.whenDeleting = whenDeleting
    }

    /// The header that makes a change happen only to this version.
    static func header(_ version: ObjectVersion) -> (name: String, value: String) {
        switch version {
        case .absent: ("if-none-match", "*")
        case .tag(let tag): ("if-match", "\"\(tag)\"")
        }
    }
}

extension BucketObjects {
    /// Begins the name of no block, and the real s3backer does not know it.
    package static let probeName = "s3backer-probe"
    /// No entity tag of anything.
    private static let wrongTag = ObjectVersion.tag("00000000000000000000000000000bad")

    /// Finds out which conditions the server honours, with an object of its own that is gone
    /// afterwards: changes that must be refused have to be refused, and those that must not be have to
    /// happen. Blocks for about seven requests.
    ///
    /// Every start asks anew: a volume may have been copied to another service meanwhile, and to
    /// believe in conditions that are not honoured would cost data.
    ///
    /// - Throws: Where that cannot be found out.
    public func probeConditions() throws(S3Error) -> S3Conditions {
        do throws(S3Error) {
            let answer = try probe()
            if !answer.whenDeleting { try removeProbe() }
            return answer
        } catch {
            try? removeProbe()
            throw error
        }
    }

    private func removeProbe() throws(S3Error) {
        _ = try performed(request(.delete, Self.probeName))
    }

    private enum Effect { case done(tag: String?), refused, unknown }

    private func probe() throws(S3Error) -> S3Conditions {
        guard case .done(let first) = try put("1", nil) else { return .none }
        for version in [.absent, Self.wrongTag] {
            guard case .refused = try put("2", version) else { return .none }
        }
        guard let tag = try tagOfProbe(first), case .done(let last) = try put("3", .tag(tag)),
            let now = try tagOfProbe(last), now != tag
        else { return .none }
        var honored = S3Conditions(whenPutting: true, whenDeleting: false)
        if case .refused = try delete(Self.wrongTag), try tagOfProbe() == now,
            case .done = try delete(.tag(now))
        {
            honored.whenDeleting = true
        }
        return honored
    }

    /// - Parameter known: What the answer to the PUT says.
    private func tagOfProbe(_ known: String? = nil) throws(S3Error) -> String? {
        if let known { return known }
        return try performed(request(.head, Self.probeName))?.entityTag
    }

    private func put(_ text: String, _ version: ObjectVersion?) throws(S3Error) -> Effect {
        let body = Array("s3backer asks what conditions are honoured: \(text)\n".utf8)
        let result = body.withUnsafeBytes { bytes -> Result<Effect, S3Error> in
            let put = putRequest(Self.probeName, bytes, [("content-type", "text/plain")])
            do throws(S3Error) { return .success(try effect(put, version)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private func delete(_ version: ObjectVersion) throws(S3Error) -> Effect {
        try effect(request(.delete, Self.probeName), version)
    }

    /// What a request with a condition has led to, as the server says.
    private func effect(
        _ request: S3Request, _ version: ObjectVersion?
    ) throws(S3Error) -> Effect {
        var request = request
        if let version { request.headers.append(S3Conditions.header(version)) }
        do throws(S3Error) {
            return .done(tag: try client.perform(request, .short).entityTag)
        } catch {
            switch error.kind {
            case .condition where version != nil: return .refused
            // A server that does not know conditions says so in one of these ways.
            case .notImplemented where version != nil, .refused where version != nil:
                return .unknown
            default: throw error
            }
        }
    }
}
