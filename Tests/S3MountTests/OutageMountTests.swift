import Dispatch
import Foundation
import Glibc
import MountSupport
import S3TestServers
import Synchronization
import TestSupport
import Testing

/// The store goes away while a mount is written to, and comes back.
@Suite("S3OutageMountTests", .serialized, .enabled(if: canMount, mountReason))
struct OutageMountTests {
    /// Work in another thread: nil while it goes on, then the number of failures.
    private final class Background: Sendable {
        private let failures = Mutex<Int?>(nil)
        var result: Int? { failures.withLock { $0 } }

        init(_ body: @escaping @Sendable () -> Int) {
            DispatchQueue.global().async { [self] in
                let count = body()
                failures.withLock { $0 = count }
            }
        }
    }

    private static let sizes = ["--blockSize=4k", "--size=256k", "--blockCacheSize=32"]
    private static let patience = ["--initialRetryPause=50", "--maxRetryPause=200"]

    @Test(
        "cut off while writing: no error, writers wait, it goes on by itself, nothing is lost",
        arguments: ["--blockCacheMaxDirty=0", "--blockCacheMaxDirty=20"])
    func writing(limit: String) throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let proxy = try DelayProxy(to: server.port)
        defer { proxy.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(
            server.options + Self.sizes + Self.patience + [
                "--baseURL=\(proxy.url)", "--blockCacheFile=\(daemon.cache)", limit,
            ], "bkt")
        let image = numberedBlocks(64)
        proxy.set(.cut)
        let file = daemon.file
        let writer = Background {
            let fd = open(file, O_WRONLY)
            defer { close(fd) }
            var failures = fd < 0 ? 1 : 0
            for block in 0..<64 {
                let bytes = Array(image[block * 4096..<(block + 1) * 4096])
                if pwrite(fd, bytes, 4096, block * 4096) != 4096 { failures += 1 }
            }
            if Glibc.fsync(fd) != 0 { failures += 1 }
            return failures
        }
        let most = limit.hasSuffix("20") ? 20 : 32
        try waitFor("dirty blocks", seconds: 60) {
            daemon.statistic("cache_file_dirty_blocks") == most
        }
        try waitFor("the failure of the store; \(daemon.log)", seconds: 60) {
            daemon.statistic("cache_file_store_failing") != nil
        }
        #expect(writer.result == nil)
        #expect(daemon.statistic("cache_file_dirty_blocks") == most)
        proxy.set(.on)
        try waitFor("the writer", seconds: 120) { writer.result != nil }
        #expect(writer.result == 0)
        #expect(try daemon.unmount() == 0)
        for block in 0..<64 {
            let name = String(format: "bkt/%08x", block)
            let stored = try server.request("GET", name).body
            #expect(stored == Array(image[block * 4096..<(block + 1) * 4096]), "block \(block)")
        }
    }

    @Test("with --fsyncMode=remote fsync and O_SYNC writes return when the store has everything")
    func fsync() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let proxy = try DelayProxy(to: server.port)
        defer { proxy.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(
            server.options + Self.sizes + Self.patience + [
                "--baseURL=\(proxy.url)", "--blockCacheFile=\(daemon.cache)", "--fsyncMode=remote",
                "--blockCacheWriteDelay=600000",
            ], "bkt")
        let bytes = [UInt8](repeating: 7, count: 4096)
        try daemon.write(bytes, at: 0)
        #expect(try server.request("GET", "bkt/00000000").body == bytes)
        proxy.set(.cut)
        let file = daemon.file
        let writer = Background {
            let fd = open(file, O_WRONLY | O_SYNC)
            defer { close(fd) }
            return pwrite(fd, bytes, 4096, 8192) == 4096 ? 0 : 1
        }
        try waitFor("the log", seconds: 60) {
            daemon.log.contains("waits for the store, which fails: ")
        }
        #expect(writer.result == nil)
        proxy.set(.on)
        try waitFor("the writer", seconds: 120) { writer.result != nil }
        #expect(writer.result == 0)
        #expect(try server.request("GET", "bkt/00000002").body == bytes)
        #expect(try daemon.unmount() == 0)
    }
}
