import BlockStore
import FileIO
import Glibc
import S3IO
import VolumeOptions

/// Removes a volume from its bucket: every block, the identity and the mark of a mount, and nothing
/// else. Nobody can mount it meanwhile, and what says how large it is goes last, so that one that was
/// interrupted can be run again.
struct Erasure {
    private let plan: Maintenance
    private let client: S3Client
    private let objects: BucketObjects

    private static let partsMax: UInt64 = 16
    /// A smaller part is not worth a request.
    private static let blocksPerPart: UInt64 = 10_000

    init(_ plan: Maintenance, _ client: S3Client, _ objects: BucketObjects) {
        self.plan = plan
        self.client = client
        self.objects = objects
    }

    func run(isDryRun: Bool) throws(StartupError) -> Int32 {
        let sizes = try findSizes()
        let store = S3Store(
            client: client, prefix: plan.prefix, isHashed: plan.isHashed,
            blockSize: sizes.blockSize, blockCount: sizes.blockCount)
        let parts = Int(min(Self.partsMax, sizes.blockCount / Self.blocksPerPart + 1))
        let before = try plan.asked { () throws(S3Error) in try objects.readToken() }
        if isDryRun {
            try show(store, parts, before)
            return 0
        }
        try refuseMounted(before)
        guard plan.isForced || isConfirmed() else {
            plan.say("\(plan.description) is not erased")
            return 1
        }
        let token = MountToken.ofThisProcess()
        let now = try plan.asked { () throws(S3Error) in
            try objects.writeToken(token, isNew: before == nil)
        }
        if now.session != token.session {
            throw StartupError(
                "\(plan.description) was mounted just now \(now.facts); unmount it there first")
        }
        let count = try erase(store, parts)
        do throws(S3Error) {
            try objects.deleteOthers(token)
        } catch {
            throw incomplete(error.message)
        }
        plan.say("erased \(plan.description): \(Self.blocks(count)) removed")
        return 0
    }

    // MARK: Before

    /// The larger one, if block 0 and the identity differ.
    private func findSizes() throws(StartupError) -> SizeRequest.Settled {
        let block0 = try plan.asked { () throws(S3Error) in try objects.detectSizes() }
        let identity = try plan.asked { () throws(S3Error) in try objects.readIdentity() }
        if block0 == nil && identity == nil {
            try plan.asked { () throws(S3Error) in try objects.checkBucket() }
        }
        if let identity, identity.isHashed != plan.isHashed, !plan.isForced {
            throw StartupError(
                "\(objects.place(of: VolumeObject.name)) says that the names of its blocks have "
                    + (plan.isHashed
                        ? "no hash; leave out --blockHashPrefix"
                        : "a hash; use --blockHashPrefix") + ", or override with --force")
        }
        let found = [
            block0, identity.map { (UInt64($0.blockSize), $0.size) },
        ].compactMap { $0 }.max { $0.1 / $0.0 < $1.1 / $1.0 }
        return try plan.sizes.settle(
            found.map { .init(blockSize: $0.0, size: $0.1, source: plan.description) })
    }

    private func refuseMounted(_ before: MountToken?) throws(StartupError) {
        guard let before, plan.verdict(before) != .stale, !plan.isForced else { return }
        throw StartupError(
            "\(plan.description) appears to be mounted \(before.facts); unmount it there; "
                + "--force erases it all the same")
    }

    private func isConfirmed() -> Bool {
        let question = Array("\(Program.name): erase all of \(plan.description) [y/N]? ".utf8)
        _ = write(2, question, question.count)
        let answer = readLine() ?? ""
        return ["y", "yes"].contains(answer.lowercased())
    }

    /// One name a line, on standard output; what it comes to on standard error.
    private func show(
        _ store: S3Store, _ parts: Int, _ token: MountToken?
    ) throws(StartupError) {
        let progress = Progress(nil)
        try listed(store, parts) { blocks in
            Self.printOut(blocks.map { store.place(of: $0.block) })
            progress.add(blocks.count)
            return true
        }
        let others = try plan.asked { () throws(S3Error) in try objects.others() }
        Self.printOut(others.map { objects.place(of: $0) })
        plan.say(
            "would erase \(plan.description): \(Self.blocks(progress.count)) "
                + "and \(others.count) other objects; nothing was changed")
        if let token { plan.say("it appears to be mounted \(token.facts)") }
    }

    private static func printOut(_ lines: [String]) {
        var bytes = Array(lines.map { $0 + "\n" }.joined().utf8)[...]
        while !bytes.isEmpty {
            let done = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
            if done < 0 && errno != EINTR { return }
            bytes = bytes.dropFirst(max(0, done))
        }
    }

    // MARK: Blocks

    /// - Returns: How many blocks were removed.
    private func erase(_ store: S3Store, _ parts: Int) throws(StartupError) -> Int {
        let progress = Progress(plan)
        try listed(store, parts) { blocks in
            // Block 0 says how large the volume is.
            let wanted = blocks.map(\.block).filter { $0 != 0 }
            for result in store.delete(wanted) {
                switch result {
                case .success: progress.add(1)
                case .failure(let error): progress.fail(error)
                }
            }
            return progress.error == nil
        }
        do throws(StoreError) {
            if let error = progress.error { throw error }
            if try store.head(0) != .absent {
                try store.delete(0)
                progress.add(1)
            }
        } catch {
            throw incomplete(error.message)
        }
        return progress.count
    }

    private func listed(
        _ store: S3Store, _ parts: Int, _ body: @escaping @Sendable ([ListedBlock]) -> Bool
    ) throws(StartupError) {
        do throws(StoreError) {
            try store.listAll(parts: parts, body)
        } catch {
            throw StartupError("\(error.message); nothing more is erased; try again")
        }
    }

    private func incomplete(_ reason: String) -> StartupError {
        StartupError(
            "\(plan.description) is erased in part only, and stays marked as mounted: "
                + "\(reason); run --erase again")
    }

    private static func blocks(_ count: Int) -> String {
        count == 1 ? "1 block" : "\(count) blocks"
    }
}

/// Counts what threads have done, and says so every few seconds.
private final class Progress: Sendable {
    private struct State {
        var count = 0
        var saidMs = Monotonic.nowMs
        var error: StoreError?
    }
    private let state = Locked(State())
    private let plan: Maintenance?

    private static let pauseMs: UInt64 = 2000

    /// - Parameter plan: Of whom to speak; nil: nobody.
    init(_ plan: Maintenance?) { self.plan = plan }

    var count: Int { state.withLock { $0.count } }
    /// The first one.
    var error: StoreError? { state.withLock { $0.error } }

    func add(_ count: Int) {
        let said = state.withLock { state -> Int? in
            state.count += count
            guard Monotonic.nowMs >= state.saidMs + Self.pauseMs else { return nil }
            state.saidMs = Monotonic.nowMs
            return state.count
        }
        if let said { plan?.say("\(said) blocks removed so far") }
    }

    func fail(_ error: StoreError) { state.withLock { $0.error = $0.error ?? error } }
}
