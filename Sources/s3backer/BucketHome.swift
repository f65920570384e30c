import BlockCodec
import BlockStore
import CacheFile
import FileIO
import Logging
import S3IO
import VolumeOptions

/// A volume in a bucket.
final class BucketHome: VolumeHome {
    private let plan: MountPlan
    private let configuration: S3Configuration
    private let logger: Logger
    private let objects: BucketObjects
    /// For starting and ending.
    private let startClient: S3Client
    /// Of the store; cancelled by itself.
    private let client: S3Client

    /// After `claim`.
    private var codec: BlockCodec?
    /// The token that is set for this mount.
    private var token: MountToken?
    /// There was one before it, of a mount that did not end well.
    private var isTakenOver = false
    private var conditions = S3Conditions.none
    /// The identity that this start has made, and takes away if it fails.
    private var madeIdentity: VolumeObject?

    init(_ plan: MountPlan, _ configuration: S3Configuration, logger: Logger) {
        self.plan = plan
        self.configuration = configuration
        self.logger = logger
        let source = configuration.credentialsService?.source(
            userAgent: configuration.userAgent, logger: logger)
        startClient = S3Client(configuration, source: source, logger: logger)
        objects = BucketObjects(
            client: startClient, prefix: plan.prefix, isHashed: plan.isHashed)
        client = S3Client(configuration, source: source, logger: logger)
    }

    // MARK: Claim

    func claim(_ cached: LockedCacheFile?) throws(StartupError) -> VolumeClaim {
        let block0 = try asked { () throws(S3Error) in try objects.detectSizes() }
        let found = try asked { () throws(S3Error) in try objects.readIdentity() }
        if block0 == nil && found == nil { try checkBucket() }
        let sizes = try plan.sizes.settle(try known(block0, found))
        try VolumeChecks.compareNames(found, plan, place: objects.place(of: VolumeObject.name))
        try VolumeChecks.compare(
            cached, plan, sizes, uuid: found?.uuid, place: objects.place(of: VolumeObject.name))
        let before = try asked { () throws(S3Error) in try objects.readToken() }
        let continuity = VolumeClaim.Continuity(token: before?.value, of: cached)
        let value = try choose(before, cached)
        try checkEncoding(sizes)
        if plan.isReadOnly {
            let none = [UInt8](repeating: 0, count: 16)
            return VolumeClaim(
                sizes: sizes, volumeUUID: found?.uuid ?? none, continuity: continuity)
        }
        do throws(StartupError) {
            if plan.isShared && before?.isShared == true {
                logger.info("others have \(plan.description) mounted as well")
            } else {
                try setToken(value, before)
            }
            let uuid = try settleIdentity(found, sizes, cached)
            learnConditions()
            var claim = VolumeClaim(
                sizes: sizes, volumeUUID: uuid, mountToken: value, continuity: continuity)
            claim.isBlockZeroOld = block0.map { $0.size != sizes.size } ?? false
            return claim
        } catch {
            abandon(hasDirty: isTakenOver, isBound: false)
            throw error
        }
    }

    private func asked<Answer>(
        _ body: () throws(S3Error) -> Answer
    ) throws(StartupError) -> Answer {
        do throws(S3Error) { return try body() } catch { throw StartupError(error.message) }
    }

    /// A denied listing is no reason not to mount.
    private func checkBucket() throws(StartupError) {
        do throws(S3Error) {
            try objects.checkBucket()
        } catch {
            if error.kind != .denied { throw StartupError(error.message) }
            logger.warning("cannot see whether the bucket exists: \(error.message)")
        }
    }

    // MARK: Sizes and identity

    private func known(
        _ block0: (blockSize: UInt64, size: UInt64)?, _ found: VolumeObject?
    ) throws(StartupError) -> SizeRequest.Known? {
        let place = objects.place(of: VolumeObject.name)
        if let block0, let found, !plan.isForced,
            block0.blockSize != UInt64(found.blockSize) || block0.size > found.size
        {
            throw StartupError(
                "\(place) says \(SizeGrammar.text(found.size)) in blocks of "
                    + "\(SizeGrammar.text(UInt64(found.blockSize))), but block 0 says "
                    + "\(SizeGrammar.text(block0.size)) in blocks of "
                    + "\(SizeGrammar.text(block0.blockSize)); "
                    + "give --size and --blockSize with --force")
        }
        // A disk that has grown, and whose block 0 was not written since.
        let isGrown = block0 != nil && block0?.size ?? 0 < found?.size ?? 0
        if let block0, !isGrown {
            let size = SizeGrammar.text(block0.size)
            let blockSize = SizeGrammar.text(block0.blockSize)
            logger.info("auto-detected block size=\(blockSize) and total size=\(size)")
            return .init(
                blockSize: block0.blockSize, size: block0.size, source: plan.description)
        }
        guard let found else {
            logger.info("auto-detection failed: \(plan.description) has no sizes yet")
            return nil
        }
        return .init(
            blockSize: UInt64(found.blockSize), size: found.size, source: plan.description)
    }

    /// - Returns: The volume's UUID.
    private func settleIdentity(
        _ found: VolumeObject?, _ sizes: SizeRequest.Settled, _ cached: LockedCacheFile?
    ) throws(StartupError) -> [UInt8] {
        let size = UInt64(sizes.blockSize) * sizes.blockCount
        var wanted = VolumeObject(
            blockSize: sizes.blockSize, size: size, isHashed: plan.isHashed)
        if let found {
            wanted.uuid = found.uuid
            if found == wanted { return found.uuid }
        } else if let cached, cached.volumeUUID.contains(where: { $0 != 0 }) {
            wanted.uuid = cached.volumeUUID
        }
        // Also when the answer is an error, it may have been written.
        if found == nil { madeIdentity = wanted }
        let now = try asked { () throws(S3Error) in
            try objects.writeIdentity(wanted, isNew: found == nil)
        }
        if now.uuid != wanted.uuid { madeIdentity = nil }
        if now.hasSameLayout(as: wanted) { return now.uuid }
        throw StartupError(
            "\(objects.place(of: VolumeObject.name)) was made by another program just now, "
                + "with another layout; mount again")
    }

    // MARK: Encoding

    /// Nothing is written with a key that cannot read the volume.
    private func checkEncoding(_ sizes: SizeRequest.Settled) throws(StartupError) {
        let bucket = configuration.endpoint.bucket
        let codec = try plan.codec.makeCodec(
            blockSize: sizes.blockSize, bucket: bucket, prefix: plan.prefix)
        self.codec = codec
        let check = EncodingCheck(
            client: startClient, prefix: plan.prefix, isHashed: plan.isHashed, codec: codec,
            blockCount: sizes.blockCount)
        let verdict: EncodingCheck.Verdict
        do throws(S3Error) {
            verdict = try check.run()
        } catch {
            if codec.encryption != nil { throw StartupError(error.message) }
            logger.debug("cannot see whether the volume is encrypted: \(error.message)")
            return
        }
        switch verdict {
        case .unreadable(let place, let error):
            throw StartupError(plan.codec.explain(error, place: place))
        case .readable(let place):
            if codec.encryption != nil { logger.info("the password fits \(place)") }
        case .empty:
            if codec.encryption != nil {
                logger.notice(
                    "\(plan.description) has no block yet, so the password cannot be checked")
            }
        }
    }

    // MARK: Token

    /// - Returns: The value of the token to set.
    private func choose(
        _ before: MountToken?, _ cached: LockedCacheFile?
    ) throws(StartupError) -> UInt32 {
        let known = cached.flatMap { UInt32(exactly: $0.mountToken) }
        guard let before else { return newValue() }
        if before.isShared && plan.isShared { return before.value }
        let verdict = before.verdict(
            known: known, owner: ThisMachine.owner, isRunning: ThisMachine.isRunning)
        switch verdict {
        case .ours, .stale:
            isTakenOver = true
            logger.info("the mount before this one did not end cleanly (\(before.facts))")
            return known == before.value ? before.value : newValue()
        case .running, .foreign:
            if plan.isForced {
                logger.warning(
                    "\(plan.description) is mounted \(before.facts); overridden by --force")
                return newValue()
            }
            throw StartupError(
                "\(plan.description) appears to be mounted already \(before.facts); "
                    + "unmount it there; if it is not mounted any more, use --force "
                    + "or s3backer --reset-mounted-flag")
        }
    }

    private func newValue() -> UInt32 {
        plan.isShared ? MountToken.sharedValue : MountToken.randomValue()
    }

    private func setToken(_ value: UInt32, _ before: MountToken?) throws(StartupError) {
        let wanted = MountToken.ofThisProcess(value)
        // Also when the answer is an error, it may have been written.
        token = wanted
        let now = try asked { () throws(S3Error) in
            try objects.writeToken(wanted, isNew: before == nil)
        }
        if now.session != wanted.session {
            token = nil
            // Others of the kind may have been faster.
            if plan.isShared && now.isShared { return }
            throw StartupError(
                "\(plan.description) was mounted just now \(now.facts); unmount it there first")
        }
        logger.info("established new mount token \(wanted.valueText)")
    }

    // MARK: Conditions

    /// Finds out, and says, what is promised if somebody else writes to the volume all the same.
    private func learnConditions() {
        do throws(S3Error) {
            conditions = try objects.probeConditions()
        } catch {
            logger.warning("cannot see whether the server honours conditions: \(error.message)")
        }
        if !conditions.whenPutting {
            logger.notice(
                """
                the server honours no conditional requests: if others write to \
                \(plan.description) as well, in spite of the mount token, their changes are \
                noticed only when a block is read, and can be overwritten
                """)
        } else if !conditions.whenDeleting {
            logger.notice(
                """
                the server honours conditional PUTs and ignores conditions of DELETE: blocks that \
                others change are not overwritten; one that becomes zeros is looked at just before \
                it is deleted
                """)
        } else {
            logger.info(
                "the server honours conditional requests: what others change is not overwritten")
        }
    }

    // MARK: Store

    func openStore(_ plan: MountPlan) -> any BlockStore {
        S3Store(
            client: client, prefix: plan.prefix, isHashed: plan.isHashed,
            blockCount: plan.blockCount, codec: codec ?? .plain(blockSize: plan.blockSize),
            conditions: conditions)
    }

    func cancelRequests(_ which: CancelledRequests) {
        client.cancel()
        if case .all = which { startClient.cancel() }
    }

    // MARK: Release

    func release(isComplete: Bool) -> String? {
        guard let token, isComplete else { return nil }
        self.token = nil
        if token.isShared {
            return "\(plan.description) stays marked as mounted in shared disk mode, since others "
                + "may have joined; when nobody has: s3backer --reset-mounted-flag"
        }
        let place = objects.place(of: MountToken.name)
        do throws(S3Error) {
            guard let other = try objects.deleteToken(token) else { return nil }
            return "\(place) is of another mount now and stays: mounted \(other.facts)"
        } catch {
            return "cannot remove \(place): \(error.message)"
        }
    }

    func abandon(hasDirty: Bool, isBound: Bool) {
        if let madeIdentity, !isBound {
            self.madeIdentity = nil
            // While the token keeps others away.
            do throws(S3Error) {
                try objects.deleteIdentity(madeIdentity)
            } catch {
                let place = objects.place(of: VolumeObject.name)
                logger.warning("cannot remove \(place): \(error.message)")
            }
        }
        if let problem = release(isComplete: !(hasDirty && isTakenOver)) {
            logger.warning("\(problem)")
        }
    }
}
