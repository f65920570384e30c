import BlockCache
import BlockStore
import CacheFile
import FileIO
import Foundation
import Logging
import TestSupport
import Testing

/// A volume with a cache file and a directory store in a temporary directory. Every call blocks.
final class TestVolume {
    static let blockSize = 64 << 10

    let root: String
    let store: FaultyStore
    let blocks: Int
    let slots: Int
    private(set) var file: FaultyFile?
    private var volume: VolumeCache?
    private var current: VolumeAccess?

    init(
        _ name: String, blocks: Int = 64, slots: Int = 128, deletedTogether: Int = 1
    ) throws {
        root = NSTemporaryDirectory() + "s3backer-volume-\(name)-\(getpid())"
        try? FileManager.default.removeItem(atPath: root)
        try FileManager.default.createDirectory(
            atPath: root + "/store", withIntermediateDirectories: true)
        self.blocks = blocks
        self.slots = slots
        store = FaultyStore(
            try DirectoryStore(directory: root + "/store", blockSize: Self.blockSize),
            deletedTogether: deletedTogether)
        try CacheFiles.create(
            root + "/cache", identity: identity, slots: slots, info: Self.info, ringBytes: 2 << 20)
    }

    deinit {
        if let volume { _ = volume.stop(timeoutMs: 0) }
        try? FileManager.default.removeItem(atPath: root)
    }

    var size: Int { blocks * Self.blockSize }

    private var identity: VolumeIdentity {
        VolumeIdentity(
            binding: [UInt8](repeating: 7, count: 32),
            volumeUUID: [UInt8](repeating: 0, count: 16), blockSize: Self.blockSize,
            volumeBlocks: UInt64(blocks))
    }

    private static let info = SessionInfo(
        creator: "test", mounter: "test", host: "test", bootID: [], mountedAt: 1)

    // MARK: Life

    func start(_ change: (inout VolumeConfiguration) -> Void = { _ in }) throws {
        let disk = try PosixFile.open(root + "/cache", readOnly: false)
        try disk.lock(exclusive: true)
        let file = FaultyFile(disk)
        let cache = try SessionStart.open(file, identity: identity, info: Self.info)
        var configuration = VolumeConfiguration()
        configuration.writeDelayMs = 20
        configuration.uploadThreads = 4
        change(&configuration)
        let volume = VolumeCache(
            cache: cache, store: store, configuration: configuration,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        volume.start()
        self.file = file
        self.volume = volume
    }

    /// Starts with a new cache file in the place of the old one.
    func startEmpty(_ change: (inout VolumeConfiguration) -> Void = { _ in }) throws {
        try FileManager.default.removeItem(atPath: root + "/cache")
        try CacheFiles.create(
            root + "/cache", identity: identity, slots: slots, info: Self.info, ringBytes: 2 << 20)
        try start(change)
    }

    func stop(timeoutMs: Int? = 20_000) throws -> StopReport {
        let report = try #require(volume).stop(timeoutMs: timeoutMs)
        // The lock on the file goes with the last owner of the volume.
        current?.end()
        current = nil
        volume = nil
        file = nil
        return report
    }

    var statistics: VolumeStatistics { volume?.statistics ?? VolumeStatistics() }
    func resize(slots: Int) { volume?.resize(slots: slots) }
    func resetStatistics() { volume?.resetStatistics() }

    /// For several threads; ends with `stop`.
    func access() throws -> VolumeAccess {
        let access = VolumeAccess(try #require(volume))
        current = access
        return access
    }

    /// The bytes of a block in the store's directory; nil when it is absent.
    func stored(_ block: Int) -> [UInt8]? {
        let name = String(format: "%08x", block)
        return FileManager.default.contents(atPath: root + "/store/" + name).map { [UInt8]($0) }
    }
}

/// Blocking calls on a volume, from any thread.
final class VolumeAccess: Sendable {
    private let held: Locked<(any Volume)?>

    init(_ volume: any Volume) { held = Locked(volume) }

    var volume: any Volume {
        guard let volume = held.withLock({ $0 }) else { fatalError("the volume has ended") }
        return volume
    }

    func end() { held.withLock { $0 = nil } }

    /// Hands one answer from the thread that replies to the one that waits.
    private final class Answer<Value: Sendable>: Sendable {
        private let value = Locked<Value?>(nil)
        private let ready = DispatchSemaphore(value: 0)

        func set(_ result: Value) {
            value.withLock {
                precondition($0 == nil, "answered twice")
                $0 = result
            }
            ready.signal()
        }

        func get(_ what: String) throws -> Value {
            guard ready.wait(timeout: .now() + 60) == .success, let result = value.withLock({ $0 })
            else { throw TestFailure("\(what) is not answered") }
            return result
        }
    }

    func write(_ bytes: [UInt8], at offset: Int) throws {
        let answer = Answer<VolumeError?>()
        bytes.withUnsafeBytes {
            volume.write(at: UInt64(offset), from: $0) { answer.set($0) }
        }
        if let error = try answer.get("a write at \(offset)") { throw error }
    }

    func trim(at offset: Int, count: Int) throws {
        if let error = try beginTrim(at: offset, count: count)() { throw error }
    }

    /// Begins a trim; the closure waits for its answer.
    func beginTrim(at offset: Int, count: Int) -> () throws -> VolumeError? {
        let answer = Answer<VolumeError?>()
        volume.trim(at: UInt64(offset), count: UInt64(count)) { answer.set($0) }
        return { try answer.get("a trim at \(offset)") }
    }

    /// Begins a write; the closure waits for its answer.
    func beginWrite(_ bytes: [UInt8], at offset: Int) -> () throws -> VolumeError? {
        let answer = Answer<VolumeError?>()
        bytes.withUnsafeBytes {
            volume.write(at: UInt64(offset), from: $0) { answer.set($0) }
        }
        return { try answer.get("a write at \(offset)") }
    }

    func read(at offset: Int, count: Int) throws -> [UInt8] {
        let answer = Answer<Result<[UInt8], VolumeError>>()
        volume.read(at: UInt64(offset), count: count) { result in
            answer.set(result.map { [UInt8]($0.bytes) })
        }
        return try answer.get("a read at \(offset)").get()
    }

    func sync() throws {
        if let error = try beginSync()() { throw error }
    }

    /// Begins an fsync; the closure waits for its answer.
    func beginSync() -> () throws -> VolumeError? {
        let answer = Answer<VolumeError?>()
        volume.sync { answer.set($0) }
        return { try answer.get("an fsync") }
    }
}
