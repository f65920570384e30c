import BlockStore

/// The blocks of a volume as objects of a bucket, in the layout of the real s3backer.
///
/// Block `n` is the object `PREFIX` and eight lower-case hexadecimal digits; a block of zeros is no
/// object. Block 0 carries the sizes of the volume. All calls block, retries included.
public final class S3Store: BlockStore {
    public let blockSize: Int

    private let client: S3Client
    private let prefix: String
    private let volumeSize: UInt64

    private static let blocksMax: UInt64 = 1 << 32

    public init(client: S3Client, prefix: String, blockSize: Int, blockCount: UInt64) {
        precondition(blockSize > 0 && blockCount <= Self.blocksMax)
        self.client = client
        self.prefix = prefix
        self.blockSize = blockSize
        volumeSize = UInt64(blockSize) * blockCount
    }

    /// Key of a block.
    package static func key(prefix: String, block: UInt64) -> String {
        precondition(block < blocksMax)
        let digits = String(block, radix: 16)
        return prefix + String(repeating: "0", count: 8 - digits.count) + digits
    }

    // MARK: Operations

    public func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        precondition(target.count == blockSize)
        var request = request(.get, block)
        request.target = target
        guard let response = try perform(request, block).found else { return .absent }
        try check(response, block)
        return try version(response, block)
    }

    public func head(_ block: UInt64) throws(StoreError) -> ObjectVersion {
        guard let response = try perform(request(.head, block), block).found else { return .absent }
        return try version(response, block)
    }

    /// Requests carry no conditions: it is not known whether this server honours them.
    public var honorsConditions: Bool { false }

    /// A request whose sender has gone counts as lost, as if nothing on the way could hold it back.
    public var lateMs: UInt64 { 0 }

    public func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?
    ) throws(StoreError) -> StoreOutcome {
        precondition(source.count == blockSize && replacing == nil)
        guard let response = try perform(putRequest(block, source), block).found else {
            throw StoreError(
                .permanent, "block \(block): the server has no such place (404)", block: block)
        }
        // Some servers say the tag only when asked.
        let version: ObjectVersion
        if let tag = response.entityTag { version = .tag(tag) } else { version = try head(block) }
        return StoreOutcome(version, mayArriveAgain: response.hadUnansweredTry)
    }

    public func delete(
        _ block: UInt64, replacing: ObjectVersion?
    ) throws(StoreError) -> StoreOutcome {
        precondition(replacing == nil)
        let answer = try perform(request(.delete, block), block)
        return StoreOutcome(.absent, mayArriveAgain: answer.hadUnansweredTry)
    }

    // MARK: Requests

    private func request(_ method: S3Request.Method, _ block: UInt64) -> S3Request {
        let key = Self.key(prefix: prefix, block: block)
        return S3Request(method, path: client.configuration.endpoint.path(key: key))
    }

    package func putRequest(_ block: UInt64, _ source: UnsafeRawBufferPointer) -> S3Request {
        var request = request(.put, block)
        request.body = source
        request.headers = [
            ("content-type", "application/x-s3backer-block"),
            ("content-md5", Digest.base64(Digest.md5(source))),
            ("x-amz-acl", client.configuration.accessType),
        ]
        if block == 0 {
            request.headers.append((SizeHeaders.blockSize, String(blockSize)))
            request.headers.append((SizeHeaders.fileSize, String(volumeSize)))
        }
        return request
    }

    /// - Returns: `found` is nil when there is no such object.
    private func perform(
        _ request: S3Request, _ block: UInt64
    ) throws(StoreError) -> (found: S3Response?, hadUnansweredTry: Bool) {
        do throws(S3Error) {
            let response = try client.perform(request)
            return (response, response.hadUnansweredTry)
        } catch {
            if error.kind == .missing { return (nil, error.hadUnansweredTry) }
            let kind: StoreError.Kind =
                switch error.kind {
                case .damaged: .damaged
                default: error.isTemporary ? .temporary : .permanent
                }
            throw StoreError(kind, "block \(block): \(error.message)", block: block)
        }
    }

    // MARK: Replies

    /// Anything that is not plainly a block is an error, never data.
    private func check(_ response: S3Response, _ block: UInt64) throws(StoreError) {
        let coding = response.headers["content-encoding"] ?? ""
        if !coding.isEmpty && coding.lowercased() != "identity" {
            throw damaged(
                block, "has the encoding \"\(coding)\", which this build cannot decode")
        }
        if response.headers[SizeHeaders.signature] != nil {
            throw damaged(block, "is encrypted, which this build cannot decode")
        }
        if response.bodyCount != blockSize {
            throw damaged(block, "has \(response.bodyCount) bytes instead of \(blockSize)")
        }
    }

    private func damaged(_ block: UInt64, _ what: String) -> StoreError {
        let key = Self.key(prefix: prefix, block: block)
        let place = client.configuration.endpoint.description + key
        return StoreError(.damaged, "block \(block): object \(place) \(what)", block: block)
    }

    private func version(
        _ response: S3Response, _ block: UInt64
    ) throws(StoreError) -> ObjectVersion {
        if let tag = response.entityTag { return .tag(tag) }
        throw StoreError(
            .permanent, "block \(block): the server sends no ETag, which is needed", block: block)
    }
}

/// Metadata of blocks.
enum SizeHeaders {
    static let blockSize = "x-amz-meta-s3backer-blocksize"
    static let fileSize = "x-amz-meta-s3backer-filesize"
    /// On encrypted blocks only.
    static let signature = "x-amz-meta-s3backer-hmac"
}
