import BlockStore
import CacheFile
import FileIO

/// Who waits for an answer of the store, the most urgent last.
package enum FetchUrgency: Int, Comparable, CaseIterable, Sendable {
    /// Nobody yet.
    case readAhead
    /// What is missing of a dirty block, before it can be uploaded.
    case completion
    /// A write of the user.
    case write
    /// A read of the user.
    case read

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// A question to the store about one block.
package final class FetchTask: @unchecked Sendable {
    package enum Kind {
        /// The content.
        case get
        /// The version only, to verify what a restart left.
        case head
    }
    package let block: UInt64
    package let kind: Kind
    /// When it was asked; `Work.hurry` tells of more.
    package let urgency: FetchUrgency
    /// The granules wanted; nil: all of the block.
    package let part: Range<Int>?
    /// The version that a part has to be of; nil: whatever the store has.
    package let expected: ObjectVersion?
    let blockSize: Int
    let granuleSize: Int

    init(
        block: UInt64, kind: Kind, urgency: FetchUrgency, part: Range<Int>?,
        expected: ObjectVersion?, blockSize: Int, granuleSize: Int
    ) {
        self.block = block
        self.kind = kind
        self.urgency = urgency
        self.part = part
        self.expected = expected
        self.blockSize = blockSize
        self.granuleSize = granuleSize
    }

    /// Blocks.
    func ask(_ store: any BlockStore) -> Result<Fetched, StoreError> {
        do throws(StoreError) {
            guard kind == .get else {
                return .success(Fetched(version: try store.head(block), buffer: nil))
            }
            let buffer = AlignedBuffer(blockSize)
            if let part, let version = try read(part, store, buffer) {
                let found = version == .absent ? nil : buffer
                return .success(Fetched(version: version, buffer: found, part: part))
            }
            let version = try store.get(block, into: buffer.mutableBytes)
            return .success(Fetched(version: version, buffer: version == .absent ? nil : buffer))
        } catch {
            return .failure(error)
        }
    }

    /// - Returns: nil when there is another version than the one expected.
    private func read(
        _ part: Range<Int>, _ store: any BlockStore, _ buffer: AlignedBuffer
    ) throws(StoreError) -> ObjectVersion? {
        let bytes = part.lowerBound * granuleSize..<part.upperBound * granuleSize
        do throws(StoreError) {
            let answer = try store.read(
                block, bytes, into: buffer.mutableSlice(bytes),
                expected.map { .expecting($0) } ?? .always)
            if case .content(let version) = answer { return version }
            return nil
        } catch {
            if error.kind == .conflict { return nil }
            throw error
        }
    }
}

/// A block, or a part of it, as the store gave it; `buffer` is nil when it is absent, and for `head`.
package final class Fetched: @unchecked Sendable {
    let version: ObjectVersion
    /// Of the size of a block.
    let buffer: AlignedBuffer?
    /// The granules that `buffer` has; nil: all.
    private let part: Range<Int>?

    package init(version: ObjectVersion, buffer: AlignedBuffer?, part: Range<Int>? = nil) {
        self.version = version
        self.buffer = buffer
        self.part = buffer == nil ? nil : part
    }

    /// Whether it says what a granule is.
    func covers(_ granule: Int) -> Bool { part?.contains(granule) ?? true }

    var isWhole: Bool { part == nil }

    func covered(of count: Int) -> GranuleSet { GranuleSet(part ?? 0..<count) }
}
