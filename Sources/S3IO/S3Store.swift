import BlockCodec
import BlockStore
import FileIO
import Synchronization

/// The blocks of a volume as objects of a bucket, in the layout of the real s3backer.
///
/// Block `n` is the object that `BlockKeys` names; a block of zeros is no object. Block 0 carries the
/// sizes of the volume. All calls block, retries included.
public final class S3Store: BlockStore {
    public let blockSize: Int

    let client: S3Client
    let keys: BlockKeys
    let habits = BucketHabits()
    let conditions: S3Conditions
    private let volumeSize: UInt64
    private let codec: BlockCodec
    /// Whether the last object was something else than its block, and so the next one may be, too.
    let expectsEncoded: Atomic<Bool>

    /// - Parameters:
    ///   - isHashed: Names have a hash of the number (`--blockHashPrefix`).
    ///   - conditions: Those that this server is known to honour.
    public init(
        client: S3Client, prefix: String, isHashed: Bool = false, blockCount: UInt64,
        codec: BlockCodec, conditions: S3Conditions = .none
    ) {
        self.client = client
        self.codec = codec
        self.conditions = conditions
        blockSize = codec.blockSize
        keys = BlockKeys(prefix: prefix, isHashed: isHashed, blockCount: blockCount)
        volumeSize = UInt64(codec.blockSize) * blockCount
        expectsEncoded = Atomic(codec.isEncoding)
    }

    /// Blocks are stored as they are.
    public convenience init(
        client: S3Client, prefix: String, isHashed: Bool = false, blockSize: Int,
        blockCount: UInt64, conditions: S3Conditions = .none
    ) {
        self.init(
            client: client, prefix: prefix, isHashed: isHashed, blockCount: blockCount,
            codec: .plain(blockSize: blockSize), conditions: conditions)
    }

    // MARK: Operations

    public func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        try getWhole(block, into: target, []) ?? .absent
    }

    /// - Parameter headers: Conditions.
    /// - Returns: nil when the server says that it is unchanged.
    func getWhole(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer,
        _ headers: [(name: String, value: String)]
    ) throws(StoreError) -> ObjectVersion? {
        precondition(target.count == blockSize)
        var request = request(.get, block)
        request.headers = headers
        request.acceptsNotModified = true
        if !expectsEncoded.load(ordering: .relaxed) {
            request.target = target
            guard let response = try perform(request, block).found else { return .absent }
            if response.status == Self.unchanged { return nil }
            let head = try head(of: response, block)
            if head.isPlain {
                if response.bodyCount != blockSize {
                    throw damaged(block, codec.wrongLength(response.bodyCount).message)
                }
                return try version(response, block)
            }
            // Bytes that did not fit are lost.
            if response.bodyCount <= blockSize {
                let buffer = AlignedBuffer(response.bodyCount)
                let body = UnsafeMutableRawBufferPointer(rebasing: target[..<response.bodyCount])
                buffer.mutableBytes.copyMemory(from: UnsafeRawBufferPointer(body))
                return try decode(response, block, head, buffer, into: target)
            }
        }
        let buffer = AlignedBuffer(codec.bodyBytesMax)
        request.target = buffer.mutableBytes
        guard let response = try perform(request, block).found else { return .absent }
        if response.status == Self.unchanged { return nil }
        return try decode(response, block, head(of: response, block), buffer, into: target)
    }

    private func head(
        of response: S3Response, _ block: UInt64
    ) throws(StoreError) -> BlockCodec.Head {
        do throws(CodecError) {
            let head = try codec.head(
                encoding: response.headers["content-encoding"],
                signature: response.headers[SizeHeaders.signature])
            expectsEncoded.store(!head.isPlain, ordering: .relaxed)
            return head
        } catch {
            throw damaged(block, error.message)
        }
    }

    private func decode(
        _ response: S3Response, _ block: UInt64, _ head: BlockCodec.Head, _ buffer: AlignedBuffer,
        into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        do throws(CodecError) {
            // More than fits was dropped.
            if response.bodyCount > buffer.count { throw codec.wrongLength(response.bodyCount) }
            try codec.decode(
                block, head, buffer.mutableSlice(0..<response.bodyCount), into: target)
        } catch {
            throw damaged(block, error.message)
        }
        return try version(response, block)
    }

    public func head(_ block: UInt64) throws(StoreError) -> ObjectVersion {
        guard let response = try perform(request(.head, block), block).found else { return .absent }
        return try version(response, block)
    }

    public var honorsConditions: Bool { conditions.whenPutting }

    /// A request whose sender has gone counts as lost, as if nothing on the way could hold it back.
    public var lateMs: UInt64 { 0 }

    public func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?,
        _ hints: PutHints
    ) throws(StoreError) -> StoreOutcome {
        precondition(source.count == blockSize && (replacing == nil || conditions.whenPutting))
        let encoded = codec.encode(block, source)
        var request = putRequest(block, encoded?.bytes ?? source, encoded)
        if let replacing { request.headers.append(S3Conditions.header(replacing)) }
        // The body is the block then.
        if encoded == nil { request.payloadHash = hints.digest }
        // Servers that know conditions replace an object as a whole or not at all, as S3 does. Of
        // others it is not known what a transfer leaves that breaks off.
        if conditions.whenPutting { request.cancel = hints.overtaken }
        guard let response = try perform(request, block).found else {
            // What was to be replaced is gone.
            if case .tag = replacing { throw conflict(block) }
            throw StoreError(
                .permanent, "block \(block): the server has no such place (404)", block: block)
        }
        // The body lives until here.
        withExtendedLifetime(encoded) {}
        // Some servers say the tag only when asked.
        let version: ObjectVersion
        if let tag = response.entityTag { version = .tag(tag) } else { version = try head(block) }
        return StoreOutcome(version, mayArriveAgain: response.hadUnansweredTry)
    }

    /// On a condition that the server does not honour, the version is looked at just before.
    public func delete(
        _ block: UInt64, replacing: ObjectVersion?
    ) throws(StoreError) -> StoreOutcome {
        var request = request(.delete, block)
        if let replacing {
            if case .tag = replacing, conditions.whenDeleting {
                request.headers.append(S3Conditions.header(replacing))
            } else {
                let found = try head(block)
                if found != .absent && found != replacing { throw conflict(block) }
                if found == .absent { return StoreOutcome(.absent) }
            }
        }
        let answer = try perform(request, block)
        return StoreOutcome(.absent, mayArriveAgain: answer.hadUnansweredTry)
    }

    func conflict(_ block: UInt64) -> StoreError {
        StoreError(
            .conflict, "block \(block): the bucket has another version of it", block: block)
    }

    // MARK: Requests

    func request(_ method: S3Request.Method, _ block: UInt64) -> S3Request {
        var request = S3Request(
            method, path: client.configuration.endpoint.path(key: keys.key(block)))
        request.needsTag = method == .get || method == .head
        return request
    }

    /// - Parameter encoded: What `body` was made by; nil: it is the block itself.
    package func putRequest(
        _ block: UInt64, _ body: UnsafeRawBufferPointer, _ encoded: BlockCodec.Encoded? = nil
    ) -> S3Request {
        var request = request(.put, block)
        let digest = Digest.md5(body)
        request.body = body
        request.payloadMD5 = digest
        request.headers = [
            ("content-type", "application/x-s3backer-block"),
            ("content-md5", Digest.base64(digest)),
        ]
        request.headers += client.configuration.storage.headers
        if let encoded { request.headers.append(("content-encoding", encoded.encoding)) }
        if let signature = encoded?.signature {
            request.headers.append((SizeHeaders.signature, signature))
        }
        if block == 0 {
            request.headers.append((SizeHeaders.blockSize, String(blockSize)))
            request.headers.append((SizeHeaders.fileSize, String(volumeSize)))
        }
        return request
    }

    /// Status of a reply to a conditional read that has no content.
    static let unchanged = 304

    /// - Returns: `found` is nil when there is no such object.
    /// - Throws: `.conflict` where a condition of the request does not hold.
    func perform(
        _ request: S3Request, _ block: UInt64
    ) throws(StoreError) -> (found: S3Response?, hadUnansweredTry: Bool) {
        do throws(S3Error) {
            let response = try client.perform(request)
            return (response, response.hadUnansweredTry)
        } catch {
            if error.kind == .missing { return (nil, error.hadUnansweredTry) }
            if error.kind == .condition, request.isConditional { throw conflict(block) }
            let kind: StoreError.Kind =
                switch error.kind {
                case .damaged: .damaged
                case .cancelled where request.cancel?.isSet == true: .overtaken
                default: error.isTemporary ? .temporary : .permanent
                }
            throw StoreError(kind, "block \(block): \(error.message)", block: block)
        }
    }

    // MARK: Replies

    /// Anything that is not a block is an error, never data.
    func damaged(_ block: UInt64, _ what: String) -> StoreError {
        StoreError(.damaged, "block \(block): object \(place(of: block)) \(what)", block: block)
    }

    /// Whether the bytes of an object are not those of the block, or cannot be told from such.
    func isEncoded(_ response: S3Response) -> Bool {
        let head = try? codec.head(
            encoding: response.headers["content-encoding"],
            signature: response.headers[SizeHeaders.signature])
        return head?.isPlain != true
    }

    /// Where the object of a block is, for people.
    public func place(of block: UInt64) -> String {
        client.configuration.endpoint.description + keys.key(block)
    }

    func version(
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
