/// How a service is to keep the objects it is given: headers of every PUT, and of nothing else.
public struct S3Storage: Sendable, Equatable {
    public enum Encryption: Sendable, Equatable {
        /// With keys of the service.
        case aes256
        /// With a key of its key management.
        case kms(keyID: String)
    }

    /// `x-amz-acl`.
    public var accessType = "private"
    /// `x-amz-storage-class`; nil: the bucket's usual one.
    public var storageClass: String?
    /// By the service, beside any of ours.
    public var encryption: Encryption?

    public init() {}

    /// Names in lower case.
    package var headers: [(name: String, value: String)] {
        var headers = [(name: "x-amz-acl", value: accessType)]
        if let storageClass { headers.append(("x-amz-storage-class", storageClass)) }
        let name = "x-amz-server-side-encryption"
        switch encryption {
        case .aes256: headers.append((name, "AES256"))
        case .kms(let keyID):
            headers.append((name, "aws:kms"))
            headers.append((name + "-aws-kms-key-id", keyID))
        case nil: break
        }
        return headers
    }
}
