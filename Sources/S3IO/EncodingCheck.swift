import BlockCodec
import BlockStore
import FileIO

/// Finds out whether a codec can read what a volume holds, before anything is written with it.
public struct EncodingCheck {
    private let client: S3Client
    private let keys: BlockKeys
    private let codec: BlockCodec

    public enum Verdict {
        /// The volume has no block.
        case empty
        /// The object named was read, or does not contradict.
        case readable(String)
        /// Nothing that was looked at can be read; this is the first object, and why.
        case unreadable(String, CodecError)
    }

    /// A few, because one may be damaged or foreign.
    private static let samplesMax = 4

    public init(
        client: S3Client, prefix: String, isHashed: Bool = false, codec: BlockCodec,
        blockCount: UInt64
    ) {
        self.client = client
        self.codec = codec
        keys = BlockKeys(prefix: prefix, isHashed: isHashed, blockCount: blockCount)
    }

    /// Looks at block 0, then at what a listing finds. Blocks, for a few requests.
    public func run() throws(S3Error) -> Verdict {
        var failure: (String, CodecError)?
        func looked(at blocks: [UInt64]) throws(S3Error) -> String? {
            for block in blocks {
                let place = place(block)
                do throws(Unreadable) {
                    if try isReadable(block) { return place }
                } catch {
                    switch error {
                    case .request(let problem): throw problem
                    case .codec(let problem): failure = failure ?? (place, problem)
                    }
                }
            }
            return nil
        }
        if let place = try looked(at: [0]) { return .readable(place) }
        if let place = try looked(at: try listedBlocks()) { return .readable(place) }
        if let failure { return .unreadable(failure.0, failure.1) }
        return .empty
    }

    private enum Unreadable: Error { case request(S3Error), codec(CodecError) }

    private func place(_ block: UInt64) -> String {
        client.configuration.endpoint.description + keys.key(block)
    }

    // MARK: One block

    /// - Returns: false when there is no such block.
    private func isReadable(_ block: UInt64) throws(Unreadable) -> Bool {
        let buffer = AlignedBuffer(codec.encryption == nil ? 0 : codec.bodyBytesMax)
        let key = keys.key(block)
        var request = S3Request(
            codec.encryption == nil ? .head : .get,
            path: client.configuration.endpoint.path(key: key))
        if codec.encryption != nil { request.target = buffer.mutableBytes }
        let response: S3Response
        do throws(S3Error) {
            response = try client.perform(request, .short)
        } catch {
            if error.kind == .missing { return false }
            throw .request(error)
        }
        var isWhole = false
        do throws(CodecError) {
            let head = try codec.head(
                encoding: response.headers["content-encoding"],
                signature: response.headers[SizeHeaders.signature])
            guard codec.encryption != nil else { return true }
            isWhole = response.bodyCount <= codec.bodyBytesMax
            if !isWhole { throw codec.wrongLength(response.bodyCount) }
            let target = AlignedBuffer(codec.blockSize)
            try codec.decode(
                block, head, buffer.mutableSlice(0..<response.bodyCount),
                into: target.mutableBytes)
            return true
        } catch {
            switch error.kind {
            // Only behind a signature that was right.
            case .damaged where isWhole: return true
            // Reading it will fail, which is no matter of passwords.
            case .unknownEncoding where codec.encryption == nil: return true
            default: throw .codec(error)
            }
        }
    }

    // MARK: Listing

    /// Some blocks other than block 0.
    private func listedBlocks() throws(S3Error) -> [UInt64] {
        guard let bounds = keys.bounds(of: .all) else { return [] }
        var listing = BucketListing(
            client: client, keys: keys, bounds: bounds, habits: BucketHabits(), patience: .short)
        var found: [UInt64] = []
        try listing.run { page in
            found += page.map(\.block).filter { $0 != 0 }
            return found.count < Self.samplesMax
        }
        return Array(found.prefix(Self.samplesMax))
    }
}
