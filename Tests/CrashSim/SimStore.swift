import BlockStore
import FileIO
import Journal

/// The store of a simulated world: a value, so that a crash can be tried on a copy.
///
/// Operations happen at once when the scheduler performs them; whether and when the reply arrives
/// is the scheduler's choice as well.
package struct SimStore {
    struct Object {
        var bytes: [UInt8]
        var version: ObjectVersion
        /// The user write that this content is as of; 0 for what was there from the start.
        var asOf: LSN
    }

    private(set) var objects: [UInt64: Object] = [:]
    /// Deletions are versions too: a block removed as of an LSN.
    private(set) var deletedAsOf: [UInt64: LSN] = [:]
    private var tagCount = 0
    /// Entity tags are digests of the content, as those of S3 mostly are, so that a version comes
    /// back when the content does; else no two are equal.
    var hasContentTags = false

    /// LSN that a block in the store is as of.
    func asOf(_ block: UInt64) -> LSN { objects[block]?.asOf ?? deletedAsOf[block] ?? 0 }

    func version(_ block: UInt64) -> ObjectVersion { objects[block]?.version ?? .absent }

    mutating func put(_ block: UInt64, _ bytes: [UInt8], asOf: LSN) -> ObjectVersion {
        let version = ObjectVersion.tag(hasContentTags ? Self.digest(bytes) : nextTag())
        objects[block] = Object(bytes: bytes, version: version, asOf: asOf)
        deletedAsOf[block] = nil
        return version
    }

    mutating func delete(_ block: UInt64, asOf: LSN) {
        objects[block] = nil
        deletedAsOf[block] = asOf
    }

    private static func digest(_ bytes: [UInt8]) -> String {
        Digest.hex(bytes.withUnsafeBytes { Digest.md5($0) })
    }

    /// Someone copied the object onto itself: the same content under a new version.
    mutating func touch(_ block: UInt64) {
        guard objects[block] != nil, !hasContentTags else { return }
        let version = ObjectVersion.tag(nextTag())
        objects[block]?.version = version
    }

    /// Entity tags of the three kinds a base can hold: MD5-like, short, and long.
    private mutating func nextTag() -> String {
        tagCount += 1
        let digits = String(tagCount, radix: 16)
        switch tagCount % 3 {
        case 0: return String(repeating: "0", count: 32 - digits.count) + digits
        case 1: return "tag-\(digits)"
        default: return "a-long-entity-tag-of-some-other-store-\(digits)"
        }
    }
}
