import BlockCache
import BlockStore
import CacheFile
import FileIO
import Glibc
import Logging
import Synchronization

/// A store that keeps nothing and answers after a while.
struct SlowStore: BlockStore {
    let blockSize: Int
    let latencyMs: Int

    private func wait() {
        if latencyMs > 0 { usleep(UInt32(latencyMs) * 1000) }
    }

    func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        wait()
        return .absent
    }

    func head(_ block: UInt64) throws(StoreError) -> ObjectVersion {
        wait()
        return .absent
    }

    var honorsConditions: Bool { false }
    var lateMs: UInt64 { 0 }

    func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?,
        _ hints: PutHints
    ) throws(StoreError) -> StoreOutcome {
        wait()
        return StoreOutcome(.tag("x"))
    }

    func delete(_ block: UInt64, replacing: ObjectVersion?) throws(StoreError) -> StoreOutcome {
        wait()
        return StoreOutcome(.absent)
    }

    func list(_ part: ListPart, _ page: ([ListedBlock]) -> Bool) throws(StoreError) { wait() }
}

/// A volume on a new cache file, with calls that block. Removed when it goes away.
final class BenchVolume: Sendable {
    let path: String
    let blockSize: Int
    private let volume: VolumeCache

    init(
        _ directory: String, blockSize: Int = 64 << 10, blocks: Int, slots: Int,
        latencyMs: Int = 0, writeDelayMs: Int = 250
    ) throws {
        path = directory + "/enginebench-\(getpid()).cache"
        self.blockSize = blockSize
        let identity = Self.identity(blockSize: blockSize, blocks: blocks)
        unlink(path)
        try CacheFiles.create(path, identity: identity, slots: slots, info: Self.info)
        let cache = try CacheFiles.open(path, identity: identity, info: Self.info)
        var configuration = VolumeConfiguration()
        // As the program has it.
        configuration.policy.hasFlowControl = true
        configuration.policy.statusIntervalMs = 60_000
        configuration.writeDelayMs = writeDelayMs
        volume = VolumeCache(
            cache: cache, store: SlowStore(blockSize: blockSize, latencyMs: latencyMs),
            configuration: configuration,
            logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
        volume.start()
    }

    static let info = SessionInfo(
        creator: "enginebench", mounter: "enginebench", host: "", bootID: [], mountedAt: 1)

    static func identity(blockSize: Int, blocks: Int) -> VolumeIdentity {
        VolumeIdentity(
            binding: [UInt8](repeating: 7, count: 32),
            volumeUUID: [UInt8](repeating: 0, count: 16), blockSize: blockSize,
            volumeBlocks: UInt64(blocks))
    }

    var statistics: VolumeStatistics { volume.statistics }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        waitFor { volume.write(at: UInt64(offset), from: bytes, reply: $0) }
    }

    func sync() { waitFor { volume.sync(reply: $0) } }

    /// Ends the volume without uploading more, and removes the file.
    func remove() {
        _ = volume.stop(timeoutMs: 0)
        unlink(path)
    }

    private func waitFor(_ begin: (@escaping @Sendable (VolumeError?) -> Void) -> Void) {
        let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
        sem_init(semaphore, 0, 0)
        defer {
            sem_destroy(semaphore)
            semaphore.deallocate()
        }
        let address = UInt(bitPattern: semaphore)
        begin { error in
            if let error { fatalError("\(error.message)") }
            if let waiter = UnsafeMutablePointer<sem_t>(bitPattern: address) { sem_post(waiter) }
        }
        while sem_wait(semaphore) != 0 {}
    }
}
