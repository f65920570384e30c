import BlockStore

/// The objects of a volume that are no blocks, and what the bucket says of it: for starting and
/// ending a mount. Every call blocks, for about the time of one request.
public final class BucketObjects: Sendable {
    let client: S3Client
    let prefix: String
    private let isHashed: Bool

    /// - Parameter isHashed: Names of blocks have a hash (`--blockHashPrefix`).
    public init(client: S3Client, prefix: String, isHashed: Bool = false) {
        self.client = client
        self.prefix = prefix
        self.isHashed = isHashed
    }

    /// Where an object is, for messages.
    public func place(of name: String) -> String {
        client.configuration.endpoint.description + prefix + name
    }

    // MARK: Detection

    /// Sizes of the volume as block 0 has them; nil when it has none.
    public func detectSizes() throws(S3Error) -> (blockSize: UInt64, size: UInt64)? {
        let key = BlockKeys(prefix: prefix, isHashed: isHashed).key(0)
        let path = client.configuration.endpoint.path(key: key)
        guard let response = try performed(S3Request(.head, path: path)),
            let blockSize = response.headers[SizeHeaders.blockSize].flatMap({ UInt64($0) }),
            let size = response.headers[SizeHeaders.fileSize].flatMap({ UInt64($0) }),
            blockSize > 0, size > 0
        else { return nil }
        return (blockSize, size)
    }

    /// One listing, which an existing bucket answers.
    public func checkBucket() throws(S3Error) {
        var request = S3Request(.get, path: client.configuration.endpoint.bucketPath)
        request.query = PercentEncoding.query([("max-keys", "1"), ("prefix", prefix)])
        do throws(S3Error) {
            _ = try client.perform(request, .short)
        } catch {
            guard error.kind == .missing else { throw error }
            throw S3Error(
                .noBucket, error.message + "; check bucket and --baseURL", status: error.status)
        }
    }

    // MARK: Identity

    /// - Returns: nil when the volume has none.
    public func readIdentity() throws(S3Error) -> VolumeObject? {
        guard let response = try performed(request(.get, VolumeObject.name)) else { return nil }
        do throws(VolumeObject.Invalid) {
            return try VolumeObject(response.body)
        } catch {
            throw S3Error(.refused, "\(place(of: VolumeObject.name)) \(error.message)")
        }
    }

    /// - Parameter isNew: Only if there is none yet, where the server can tell.
    /// - Returns: What the bucket has now, which is another one's when that was faster.
    public func writeIdentity(
        _ identity: VolumeObject, isNew: Bool
    ) throws(S3Error) -> VolumeObject {
        let headers = [(name: "content-type", value: "application/json")]
        do throws(S3Error) {
            try put(VolumeObject.name, identity.encoded(), headers, isNew: isNew)
        } catch {
            guard error.kind == .condition, let found = try readIdentity() else { throw error }
            return found
        }
        return identity
    }

    /// Removes the identity, if it still is this one.
    public func deleteIdentity(_ identity: VolumeObject) throws(S3Error) {
        guard try readIdentity()?.uuid == identity.uuid else { return }
        _ = try performed(request(.delete, VolumeObject.name))
    }

    // MARK: Token

    /// - Returns: nil when the volume is not mounted.
    public func readToken() throws(S3Error) -> MountToken? {
        guard try performed(request(.head, MountToken.name)) != nil,
            let response = try performed(request(.get, MountToken.name))
        else { return nil }
        return MountToken(header: response.headers[MountToken.header], body: response.body)
    }

    /// - Parameter isNew: Only if there is none yet, where the server can tell.
    /// - Returns: The token in the bucket now, which is another one's when that was faster.
    public func writeToken(_ token: MountToken, isNew: Bool) throws(S3Error) -> MountToken {
        do throws(S3Error) {
            try put(MountToken.name, token.body, Self.tokenHeaders(token), isNew: isNew)
        } catch {
            // Also when the first attempt succeeded and only its answer was lost.
            guard error.kind == .condition, let found = try readToken() else { throw error }
            return found
        }
        return token
    }

    /// Removes the token, if it still is this one.
    ///
    /// - Returns: Another one's token, which stays; nil: removed.
    public func deleteToken(_ token: MountToken) throws(S3Error) -> MountToken? {
        guard let found = try readToken() else { return nil }
        if found.value != token.value { return found }
        _ = try performed(request(.delete, MountToken.name))
        return nil
    }

    // MARK: All of them

    /// Names, after the prefix, of those that are there.
    public func others() throws(S3Error) -> [String] {
        var found: [String] = []
        for name in [VolumeObject.name, Self.probeName, MountToken.name]
        where try performed(request(.head, name)) != nil {
            found.append(name)
        }
        return found
    }

    /// Removes them, the token last, and that only if it still is this one.
    public func deleteOthers(_ token: MountToken) throws(S3Error) {
        for name in [VolumeObject.name, Self.probeName] {
            _ = try performed(request(.delete, name))
        }
        _ = try deleteToken(token)
    }

    // MARK: Requests

    func request(_ method: S3Request.Method, _ name: String) -> S3Request {
        S3Request(method, path: client.configuration.endpoint.path(key: prefix + name))
    }

    /// nil when there is no such object.
    func performed(_ request: S3Request) throws(S3Error) -> S3Response? {
        do throws(S3Error) {
            return try client.perform(request, .short)
        } catch {
            if error.kind == .missing { return nil }
            throw error
        }
    }

    /// The request that stores one of these objects, without a condition.
    package func putRequest(
        _ name: String, _ body: UnsafeRawBufferPointer, _ headers: [(name: String, value: String)]
    ) -> S3Request {
        var put = request(.put, name)
        put.body = body
        put.headers = headers
        put.headers.append(("content-md5", Digest.base64(Digest.md5(body))))
        put.headers += client.configuration.storage.headers
        return put
    }

    package static func tokenHeaders(_ token: MountToken) -> [(name: String, value: String)] {
        [("content-type", MountToken.contentType), (MountToken.header, token.headerValue)]
    }

    private func put(
        _ name: String, _ body: [UInt8], _ headers: [(name: String, value: String)], isNew: Bool
    ) throws(S3Error) {
        let problem = body.withUnsafeBytes { bytes -> S3Error? in
            let plain = putRequest(name, bytes, headers)
            var conditional = plain
            conditional.headers.append(("if-none-match", "*"))
            let error = failure(of: isNew ? conditional : plain)
            // A server that does not know conditions gets none.
            guard isNew, error?.kind == .notImplemented else { return error }
            return failure(of: plain)
        }
        if let problem { throw problem }
    }

    func failure(of request: S3Request) -> S3Error? {
        do throws(S3Error) {
            _ = try client.perform(request, .short)
            return nil
        } catch {
            return error
        }
    }
}
