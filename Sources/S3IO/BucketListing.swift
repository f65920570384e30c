import BlockStore
import FileIO
import Synchronization

/// What has been learnt of what a server cannot do; shared by the threads of a store.
final class BucketHabits: Sendable {
    /// The second version of listing is not understood.
    let wantsOldListing = Atomic<Bool>(false)
    /// Many objects cannot be deleted with one request.
    let refusesBulkDelete = Atomic<Bool>(false)
    /// Parts of objects cannot be had.
    let ignoresRanges = Atomic<Bool>(false)
}

/// One pass through the names of one part of a volume, a page at a time.
///
/// The server is not trusted: a page has to end behind the one before, what lies between two
/// possible names of blocks is passed over, and a page takes at most `pageBytes`. So a listing ends,
/// whatever the server says, and never takes strangers' objects for blocks.
struct BucketListing {
    private let client: S3Client
    private let keys: BlockKeys
    private let bounds: ClosedRange<UInt32>
    private let habits: BucketHabits
    private let patience: S3Client.Patience
    private let buffer = AlignedBuffer(pageBytes)
    /// The next page begins behind this name,
    private var after: String
    /// or where the server says, when the last one was empty.
    private var token: String?
    /// Pages in a row that were empty, or all of strangers where no name of a block can be.
    private var stalledPages = 0
    private var leading: UInt32

    /// A page of the longest keys, encoded, and some more.
    private static let pageBytes = 4 << 20
    private static let keysMax = 1000
    private static let stalledPagesMax = 100

    private static let shape = XMLTable.Shape(
        root: "ListBucketResult",
        fields: ["IsTruncated", "EncodingType", "NextContinuationToken", "NextMarker"],
        row: "Contents", columns: ["Key", "ETag", "Size"])

    private struct Page {
        var blocks: [ListedBlock] = []
        var lastKey: String?
        /// There may be more behind it.
        var isTruncated = false
        var token: String?
        /// The server did not begin where it was asked to.
        var isOutOfPlace = false
    }

    init(
        client: S3Client, keys: BlockKeys, bounds: ClosedRange<UInt32>, habits: BucketHabits,
        patience: S3Client.Patience = .long
    ) {
        self.patience = patience
        self.client = client
        self.keys = keys
        self.bounds = bounds
        self.habits = habits
        leading = bounds.lowerBound
        after = keys.before(leading)
    }

    /// - Parameter body: Gets the blocks of each page; returns false to stop.
    /// - Returns: Whether there are no more than `body` got.
    @discardableResult
    mutating func run(_ body: ([ListedBlock]) -> Bool) throws(S3Error) -> Bool {
        while true {
            let page = try next()
            let isStopped = !page.blocks.isEmpty && !body(page.blocks)
            guard page.isTruncated, try advance(page) else { return true }
            if isStopped { return false }
        }
    }

    // MARK: Pages

    private mutating func next() throws(S3Error) -> Page {
        if !habits.wantsOldListing.load(ordering: .relaxed) {
            do throws(S3Error) {
                let page = try ask(isOld: false)
                if !page.isOutOfPlace { return page }
            } catch {
                guard error.kind == .notImplemented || error.kind == .refused else { throw error }
                // If the old way does not work either, it was not the version.
                guard let page = try? ask(isOld: true), !page.isOutOfPlace else { throw error }
                habits.wantsOldListing.store(true, ordering: .relaxed)
                return page
            }
            habits.wantsOldListing.store(true, ordering: .relaxed)
            token = nil
        }
        let page = try ask(isOld: true)
        if page.isOutOfPlace { throw bad("begins with names that were listed before") }
        return page
    }

    /// - Returns: Whether there may be more.
    private mutating func advance(_ page: Page) throws(S3Error) -> Bool {
        stalledPages += 1
        if stalledPages == Self.stalledPagesMax { throw bad("does not get on") }
        guard let last = page.lastKey else {
            guard let next = page.token, next != token else { throw bad("does not get on") }
            token = next
            return true
        }
        token = nil
        after = last
        guard last.utf8.starts(with: keys.prefix.utf8) else { return true }
        guard let next = keys.leading(after: Array(last.utf8)), bounds.contains(next) else {
            return false
        }
        if next == leading { return true }
        leading = next
        stalledPages = 0
        let skipped = keys.before(leading)
        if after.precedes(skipped) { after = skipped }
        return true
    }

    private func ask(isOld: Bool) throws(S3Error) -> Page {
        var query = [
            (name: "encoding-type", value: "url"), ("max-keys", String(Self.keysMax)),
            ("prefix", keys.prefix),
        ]
        if isOld {
            query.append(("marker", token ?? after))
        } else {
            query.append(("list-type", "2"))
            query.append(
                token.map { (name: "continuation-token", value: $0) } ?? ("start-after", after))
        }
        var request = S3Request(.get, path: client.configuration.endpoint.bucketPath)
        request.query = PercentEncoding.query(query)
        request.target = buffer.mutableBytes
        let response = try client.perform(request, patience)
        guard response.bodyCount <= Self.pageBytes else {
            throw bad("is longer than \(Self.pageBytes) bytes")
        }
        let table: XMLTable
        do throws(XMLTable.Invalid) {
            let bytes = UnsafeRawBufferPointer(rebasing: buffer.bytes[..<response.bodyCount])
            table = try XMLTable(bytes, Self.shape)
        } catch {
            throw bad(error.message)
        }
        return try read(table, isOld: isOld)
    }

    private func read(_ table: XMLTable, isOld: Bool) throws(S3Error) -> Page {
        var page = Page()
        switch table.fields["IsTruncated"] {
        case "true": page.isTruncated = true
        case "false": break
        default: throw bad("does not say whether it is complete")
        }
        page.token = table.fields[isOld ? "NextMarker" : "NextContinuationToken"]
        let isEncoded = table.fields["EncodingType"]?.lowercased() == "url"
        for row in table.rows {
            guard var key = row[0] else { throw bad("has an entry without a name") }
            if isEncoded {
                guard let plain = PercentEncoding.decode(key) else {
                    throw bad("has a name that is not encoded as it says")
                }
                key = plain
            }
            page.lastKey = key
            if !after.precedes(key) { page.isOutOfPlace = true }
            guard let block = keys.block(of: key.utf8), bounds.contains(keys.leading(block)) else {
                continue
            }
            guard let count = row[2].flatMap({ UInt64($0) }) else {
                throw bad("does not say how large \(key) is")
            }
            let tag = row[1].flatMap { S3Response.entityTag($0) }
            page.blocks.append(
                ListedBlock(block: block, version: tag.map { .tag($0) }, byteCount: count))
        }
        return page
    }

    private func bad(_ what: String) -> S3Error {
        S3Error(.refused, "the list of \(client.configuration.endpoint.description) \(what)")
    }
}

extension BlockKeys {
    /// A name that stands before all that begin with these eight digits, and behind all others of
    /// which that can be said.
    func before(_ leading: UInt32) -> String {
        var digits = Array(Self.text(leading).utf8)
        digits[digits.count - 1] -= 1
        return prefix + String(decoding: digits, as: UTF8.self) + "~"
    }

    /// The smallest eight digits that a block's name behind `name`, which has the prefix, can have;
    /// nil: there is none.
    func leading(after name: [UInt8]) -> UInt32? {
        let tail = name.dropFirst(prefix.utf8.count)
        var value: UInt64 = 0
        var shift: UInt64 = 32
        for byte in tail.prefix(8) {
            shift -= 4
            switch byte {
            case 0x30...0x39: value |= UInt64(byte - 0x30) << shift
            case 0x61...0x66: value |= UInt64(byte - 0x61 + 10) << shift
            case ..<0x30: return UInt32(value)
            case ..<0x61: return UInt32(value | 10 << shift)
            default: return UInt32(exactly: value + 16 << shift)
            }
        }
        if tail.count < 8 { return UInt32(value) }
        let rest = tail.dropFirst(8)
        let isPassed = !isHashed || !rest.lexicographicallyPrecedes("-g".utf8)
        return UInt32(exactly: isPassed ? value + 1 : value)
    }
}

extension String {
    /// In the order of names in a bucket.
    func precedes(_ other: String) -> Bool { utf8.lexicographicallyPrecedes(other.utf8) }
}
