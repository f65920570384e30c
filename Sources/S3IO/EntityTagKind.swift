import BlockStore
import FileIO
import Synchronization

/// Finds out whether the entity tags of a server are the MD5 of what is stored, as those of S3
/// are for objects stored in one piece; if so, a body that was damaged on its way is noticed.
final class EntityTagKind: Sendable {
    private enum Known: UInt8, AtomicRepresentable {
        case nothing, isMD5, isOther
    }

    private let known = Atomic<Known>(.nothing)
    /// Digest of the last body that was not what its tag says, while nothing is known.
    private let doubtful = Locked<(path: String, digest: [UInt8])?>(nil)

    /// - Returns: What is wrong with the body of a successful reply; nil: nothing that can be known.
    func problem(_ request: S3Request, _ response: S3Response) -> String? {
        // A part is no body of which the tag says anything, also where it is sent with 200.
        guard response.status == 200, let tag = response.entityTag.flatMap(Self.digest),
            response.headers["content-range"] == nil, !Self.isEncryptedByServer(response)
        else { return nil }
        switch request.method {
        case .put: return learn(request, tag)
        case .get: return check(request, response, tag)
        case .head, .delete, .post: break
        }
        return nil
    }

    private func learn(_ request: S3Request, _ tag: [UInt8]) -> String? {
        guard let digest = request.payloadMD5 else { return nil }
        let isMD5 = digest == tag
        switch known.load(ordering: .relaxed) {
        case .nothing: known.store(isMD5 ? .isMD5 : .isOther, ordering: .relaxed)
        case .isMD5 where !isMD5: return Self.difference(digest, tag)
        // Not by chance: the reply before was the odd one.
        case .isOther where isMD5: known.store(.isMD5, ordering: .relaxed)
        case .isMD5, .isOther: break
        }
        return nil
    }

    private func check(_ request: S3Request, _ response: S3Response, _ tag: [UInt8]) -> String? {
        guard known.load(ordering: .relaxed) != .isOther else { return nil }
        let digest: [UInt8]
        if let target = request.target {
            // A body of another length is noticed by itself.
            guard response.bodyCount <= target.count else { return nil }
            digest = Digest.md5(UnsafeRawBufferPointer(rebasing: target[..<response.bodyCount]))
        } else {
            guard response.bodyCount == response.body.count else { return nil }
            digest = response.body.withUnsafeBytes { Digest.md5($0) }
        }
        if digest == tag {
            known.store(.isMD5, ordering: .relaxed)
            return nil
        }
        if known.load(ordering: .relaxed) == .nothing {
            // The same body twice is what the server has; its tags are something else.
            let isSame = doubtful.withLock { doubtful in
                let isSame = doubtful?.path == request.path && doubtful?.digest == digest
                doubtful = (request.path, digest)
                return isSame
            }
            if isSame {
                known.store(.isOther, ordering: .relaxed)
                return nil
            }
        }
        return Self.difference(digest, tag)
    }

    private static func difference(_ digest: [UInt8], _ tag: [UInt8]) -> String {
        "MD5 \(Digest.hex(digest)) instead of its ETag \(Digest.hex(tag))"
    }

    /// The MD5 that a tag may be: 32 hexadecimal digits, of any case.
    private static func digest(_ tag: String) -> [UInt8]? {
        guard tag.utf8.count == 32 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16)
        var high: UInt8?
        for letter in tag.utf8 {
            guard let digit = PercentEncoding.hexValue(letter) else { return nil }
            if let first = high { bytes.append(first << 4 | digit) }
            high = high == nil ? digit : nil
        }
        return bytes
    }

    /// Then the tag is that of what is on the server's disks.
    private static func isEncryptedByServer(_ response: S3Response) -> Bool {
        response.headers["x-amz-server-side-encryption-customer-algorithm"] != nil
            || response.headers["x-amz-server-side-encryption"].map { $0 != "AES256" } == true
    }
}
