import BlockCodec
import BlockStore
import FileIO
import Glibc
import Logging
import S3IO

/// Where the blocks of volumes are.
package enum VolumeSource: Equatable {
    /// Without symbolic links.
    case directory(String)
    case bucket(S3Configuration)
}

/// Where the blocks of one volume are: what the command line says of it.
package struct VolumeAddress: Equatable {
    package let source: VolumeSource
    /// Begins the name of every block.
    package let prefix: String
    /// Names of blocks have a hash.
    package let isHashed: Bool

    package init(source: VolumeSource, prefix: String, isHashed: Bool) {
        self.source = source
        self.prefix = prefix
        self.isHashed = isHashed
    }

    /// Checks what can be checked without a request.
    ///
    /// - Parameters:
    ///   - text: bucket, with a prefix perhaps; with `isTest` a directory.
    package init(
        _ text: String, isTest: Bool, prefix: String, access: AccessOptions, s3: S3Options,
        storage: StorageOptions, environment: Environment = .process
    ) throws(StartupError) {
        isHashed = storage.blockHashPrefix
        if isTest {
            source = .directory(try PathChecks.storeDirectory(text, prefix: prefix))
            self.prefix = prefix
            return
        }
        let (bucket, prefix) = try S3Validation.split(text, prefix: prefix)
        var configuration = try S3Validation(s3).configuration(bucket: bucket)
        configuration.storage = try StorageValidation(storage)
            .storage(accessType: configuration.storage.accessType)
        let validation = AccessValidation(access, environment)
        configuration.credentialsService = try validation.service()
        if configuration.credentialsService == nil {
            configuration.credentials = try validation.credentials()
        }
        source = .bucket(configuration)
        self.prefix = prefix
    }

    /// For logs and /proc/mounts.
    package var description: String {
        switch source {
        case .directory(let directory): "file://\(directory)/\(prefix)"
        case .bucket(let configuration): configuration.endpoint.description + prefix
        }
    }

    package var name: VolumeName {
        switch source {
        case .directory(let directory):
            VolumeName(directory: directory, prefix: prefix, isHashed: isHashed)
        case .bucket(let configuration):
            VolumeName(bucket: configuration.endpoint.bucket, prefix: prefix, isHashed: isHashed)
        }
    }
}

/// What a cache file is bound to. The way to the bucket (server, URL style) and the coding of the
/// blocks do not matter.
package struct VolumeName: Equatable {
    private let place: String
    private let prefix: String
    private let isHashed: Bool

    init(directory: String, prefix: String, isHashed: Bool) {
        self.init(bucket: "file://" + directory, prefix: prefix, isHashed: isHashed)
    }

    init(bucket: String, prefix: String, isHashed: Bool) {
        place = bucket
        self.prefix = prefix
        self.isHashed = isHashed
    }

    /// As the command line says it: a bucket, with a prefix perhaps, or with `isTest` a directory.
    package init(
        _ text: String, isTest: Bool, prefix: String, isHashed: Bool
    ) throws(StartupError) {
        if isTest {
            let directory = try PathChecks.storeDirectory(text, prefix: prefix)
            self.init(directory: directory, prefix: prefix, isHashed: isHashed)
        } else {
            let (bucket, prefix) = try S3Validation.split(text, prefix: prefix)
            self.init(bucket: bucket, prefix: prefix, isHashed: isHashed)
        }
    }

    /// Never change it.
    package func text(blockSize: Int) -> String {
        """
        s3backer-binding-1
        bucket=\(place)
        prefix=\(prefix)
        blockSize=\(blockSize)
        blockHashPrefix=\(isHashed ? 1 : 0)

        """
    }

    /// As a superblock has it, 32 bytes.
    package func binding(blockSize: Int) -> [UInt8] {
        Array(text(blockSize: blockSize).utf8).withUnsafeBytes { Digest.sha256($0) }
    }
}

/// What a cache file says of its volume.
package struct KnownVolume {
    /// Zeros: none.
    let uuid: [UInt8]
    let blockSize: Int
    let blockCount: UInt64

    package init(uuid: [UInt8], blockSize: Int, blockCount: UInt64) {
        self.uuid = uuid
        self.blockSize = blockSize
        self.blockCount = blockCount
    }
}

extension VolumeAddress {
    /// A volume that is only looked at: nothing is written, no token set, nothing tried out.
    package struct ReadOnly {
        package let store: any BlockStore
        /// Of the mount that has it, or did not end well.
        package let mountToken: UInt64?
    }

    /// Opens the volume that a cache file knows; refuses another one, and one that the codec cannot
    /// read. Blocks, for a few requests.
    package func openReadOnly(
        _ known: KnownVolume, _ plan: CodecPlan, logger: Logger
    ) throws(StartupError) -> ReadOnly {
        switch source {
        case .directory(let directory): try openDirectory(directory, known)
        case .bucket(let configuration): try openBucket(configuration, known, plan, logger)
        }
    }

    private func openDirectory(
        _ directory: String, _ known: KnownVolume
    ) throws(StartupError) -> ReadOnly {
        let path = directory + "/" + prefix + VolumeObject.name
        try check(try VolumeObject.read(path), known, place: path)
        do throws(StoreError) {
            let store = try DirectoryStore(
                directory: directory, prefix: prefix, isHashed: isHashed,
                blockSize: known.blockSize, blockCount: known.blockCount, removeLeftovers: false)
            return ReadOnly(store: store, mountToken: nil)
        } catch {
            throw StartupError(error.message)
        }
    }

    private func openBucket(
        _ configuration: S3Configuration, _ known: KnownVolume, _ plan: CodecPlan, _ logger: Logger
    ) throws(StartupError) -> ReadOnly {
        let service = configuration.credentialsService?.source(
            userAgent: configuration.userAgent, logger: logger)
        let client = S3Client(configuration, source: service, logger: logger)
        let objects = BucketObjects(client: client, prefix: prefix, isHashed: isHashed)
        let found = try asked { () throws(S3Error) in try objects.readIdentity() }
        if found == nil { try asked { () throws(S3Error) in try objects.checkBucket() } }
        try check(found, known, place: objects.place(of: VolumeObject.name))
        let token = try asked { () throws(S3Error) in try objects.readToken() }
        let codec = try plan.makeCodec(
            blockSize: known.blockSize, bucket: configuration.endpoint.bucket, prefix: prefix)
        let verdict = try asked { () throws(S3Error) in
            try EncodingCheck(
                client: client, prefix: prefix, isHashed: isHashed, codec: codec,
                blockCount: known.blockCount
            ).run()
        }
        if case .unreadable(let place, let error) = verdict {
            throw StartupError(plan.explain(error, place: place))
        }
        let store = S3Store(
            client: client, prefix: prefix, isHashed: isHashed, blockCount: known.blockCount,
            codec: codec)
        return ReadOnly(store: store, mountToken: token.map { UInt64($0.value) })
    }

    private func asked<Answer>(
        _ body: () throws(S3Error) -> Answer
    ) throws(StartupError) -> Answer {
        do throws(S3Error) { return try body() } catch { throw StartupError(error.message) }
    }

    /// - Parameter found: The volume's identity; nil: it has none.
    private func check(
        _ found: VolumeObject?, _ known: KnownVolume, place: String
    ) throws(StartupError) {
        guard known.uuid.contains(where: { $0 != 0 }) else { return }
        guard let found else {
            throw StartupError(
                "BIND_MISMATCH: made for a volume whose identity \(place) is gone")
        }
        if found.uuid != known.uuid {
            throw StartupError("BIND_MISMATCH: \(place) is that of another volume")
        }
    }
}

extension VolumeObject {
    /// The identity of a volume in a directory; nil: it has none.
    package static func read(_ path: String) throws(StartupError) -> VolumeObject? {
        let bytes: [UInt8]
        do throws(SmallFile.Unreadable) {
            bytes = try SmallFile.read(path, bytesMax: VolumeObject.bytesMax)
        } catch {
            if error.code == ENOENT { return nil }
            throw StartupError("cannot read \(path): \(error.message)")
        }
        do throws(VolumeObject.Invalid) {
            return try VolumeObject(bytes)
        } catch {
            throw StartupError("\(path) \(error.message)")
        }
    }
}
