import S3IO

/// Turns the options for storage into headers, or says what is wrong with them.
package struct StorageValidation {
    private let options: StorageOptions

    private static let classes = [
        "STANDARD", "STANDARD_IA", "ONEZONE_IA", "REDUCED_REDUNDANCY", "INTELLIGENT_TIERING",
        "GLACIER", "DEEP_ARCHIVE", "OUTPOSTS",
    ]
    /// Nothing can be read of these before somebody asks for it and hours have passed.
    private static let archives: Set<String> = ["GLACIER", "DEEP_ARCHIVE"]

    package init(_ options: StorageOptions) { self.options = options }

    /// - Parameter accessType: Checked already.
    package func storage(accessType: String) throws(StartupError) -> S3Storage {
        var storage = S3Storage()
        storage.accessType = accessType
        storage.storageClass = try storageClass()
        storage.encryption = try encryption()
        return storage
    }

    /// What the user should know of the choice.
    package var notices: [String] {
        guard let name = options.storageClass, Self.archives.contains(name) else { return [] }
        return [
            "--storageClass=\(name): blocks written so cannot be read until they are restored"
        ]
    }

    private func storageClass() throws(StartupError) -> String? {
        guard let name = options.storageClass else {
            return options.rrs ? "REDUCED_REDUNDANCY" : nil
        }
        guard Self.classes.contains(name) else {
            throw StartupError(
                "--storageClass=\(name): must be one of " + Self.classes.joined(separator: ", "))
        }
        return name
    }

    private func encryption() throws(StartupError) -> S3Storage.Encryption? {
        let keyID = options.sseKeyID
        switch options.sse {
        case nil, "AES256":
            if keyID != nil {
                throw StartupError("--sse-key-id is only for --sse=aws:kms; leave it out")
            }
            return options.sse == nil ? nil : .aes256
        case "aws:kms":
            guard let keyID else { throw StartupError("--sse=aws:kms needs --sse-key-id=ID") }
            if keyID.isEmpty || !keyID.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) {
                throw StartupError("--sse-key-id=\(keyID): must be the id of a key")
            }
            return .kms(keyID: keyID)
        case .some(let other):
            throw StartupError("--sse=\(other): must be AES256 or aws:kms")
        }
    }
}
