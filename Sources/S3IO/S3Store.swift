import BlockCodec
import BlockStore
import FileIO
import Synchronization

/// The blocks of a volume as objects of a bucket, in the layout of the real s3backer.
///
/// Block `n` is the object `PREFIX` and eight lower-case hexadecimal digits; a block of zeros is no
/// object. Block 0 carries the sizes of the volume. All calls block, retries included.
public final class S3Store: BlockStore {
    public let blockSize: Int

    private let client: S3Client
    private let prefix: String
    private let volumeSize: UInt64
    private let codec: BlockCodec
    /// Whether the last object was something else than its block, and so the next one may be, too.
    private let expectsEncoded: Atomic<Bool>

    private static let blocksMax: UInt64 = 1 << 32

    public init(client: S3Client, prefix: String, blockCount: UInt64, codec: BlockCodec) {
        precondition(blockCount <= Self.blocksMax)
        self.client = client
        self.prefix = prefix
        self.codec = codec
        blockSize = codec.blockSize
        volumeSize = UInt64(codec.blockSize) * blockCount
        expectsEncoded = Atomic(codec.isEncoding)
    }

    /// Blocks are stored as they are.
    public convenience init(
        client: S3Client, prefix: String, blockSize: Int, blockCount: UInt64
    ) {
        self.init(
            client: client, prefix: prefix, blockCount: blockCount,
            codec: .plain(blockSize: blockSize))
    }

    /// Key of a block.
    package static func key(prefix: String, block: UInt64) -> String {
        prefix + String(decoding: BlockCodec.digits(block), as: UTF8.self)
    }

    // MARK: Operations

    public func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        precondition(target.count == blockSize)
        if !expectsEncoded.load(ordering: .relaxed) {
            var request = request(.get, block)
            request.target = target
            guard let response = try perform(request, block).found else { return .absent }
            let head = try head(of: response, block)
            if head.isPlain {
                if response.bodyCount != blockSize {
                    throw damaged(block, codec.wrongLength(response.bodyCount))
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
        var request = request(.get, block)
        request.target = buffer.mutableBytes
        guard let response = try perform(request, block).found else { return .absent }
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
            throw damaged(block, error)
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
            throw damaged(block, error)
        }
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
        let encoded = codec.encode(block, source)
        let request = putRequest(block, encoded?.bytes ?? source, encoded)
        guard let response = try perform(request, block).found else {
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

    /// - Parameter encoded: What `body` was made by; nil: it is the block itself.
    package func putRequest(
        _ block: UInt64, _ body: UnsafeRawBufferPointer, _ encoded: BlockCodec.Encoded? = nil
    ) -> S3Request {
        var request = request(.put, block)
        request.body = body
        request.headers = [
            ("content-type", "application/x-s3backer-block"),
            ("content-md5", Digest.base64(Digest.md5(body))),
            ("x-amz-acl", client.configuration.accessType),
        ]
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

    /// Anything that is not a block is an error, never data.
    private func damaged(_ block: UInt64, _ what: CodecError) -> StoreError {
        let key = Self.key(prefix: prefix, block: block)
        let place = client.configuration.endpoint.description + key
        return StoreError(.damaged, "block \(block): object \(place) \(what.message)", block: block)
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
