import Foundation
import S3TestServers
import Testing

/// What a bucket of a server that takes any key holds.
struct BucketContents: Equatable, CustomStringConvertible {
    struct Object: Equatable {
        var body: [UInt8]
        /// Those that are the object's own: metadata, type, encoding.
        var headers: [String: String]
    }

    private(set) var objects: [String: Object] = [:]
    /// The bucket itself is there.
    private(set) var exists = true

    init(_ server: TestServer, _ bucket: String) throws {
        let list = try server.request("GET", bucket)
        if list.status == 404 {
            exists = false
            return
        }
        try #require(list.status == 200)
        // A list that is not whole would say nothing.
        try #require(list.text.contains("<IsTruncated>false</IsTruncated>"), "\(list.text)")
        for part in list.text.components(separatedBy: "<Key>").dropFirst() {
            let key = part.components(separatedBy: "</Key>")[0]
            let found = try server.request("GET", bucket + "/" + key)
            try #require(found.status == 200, "\(key)")
            objects[key] = Object(
                body: found.body,
                headers: found.headers.filter {
                    $0.key.hasPrefix("x-amz-meta-") || $0.key == "content-type"
                        || $0.key == "content-encoding"
                })
        }
    }

    var description: String { exists ? "\(objects.keys.sorted())" : "no bucket" }
}
