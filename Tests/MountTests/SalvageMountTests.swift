import Foundation
import MountSupport
import Simulation
import Synchronization
import TestSupport
import Testing

@Suite("SalvageMountTests", .serialized, .enabled(if: canMount, mountReason))
struct SalvageMountTests {
    private static let bytes = 8 << 20
    /// Much larger than what is written, so that a full cache starts no uploads.
    private static let sizes = ["--size=64m", "--blockSize=64k"]

    /// Puts what was salvaged over the blocks of a store: of a block in part, the part.
    private func overlay(_ salvaged: String, onto store: String) throws {
        let manifest = try JSONSerialization.jsonObject(
            with: Data(readFile(salvaged + "/manifest.json")))
        let object = try #require(manifest as? [String: Any])
        for block in try #require(object["blocks"] as? [[String: Any]]) {
            let number = try #require(block["block"] as? Int)
            let name = "/" + String(format: "%08x", number)
            let fresh = readFile(salvaged + name)
            var bytes = readFile(store + name)
            if bytes.isEmpty { bytes = [UInt8](repeating: 0, count: fresh.count) }
            var isOurs = [Bool](repeating: true, count: fresh.count)
            for range in try #require(block["missingBytes"] as? [[Int]]) {
                for at in range[0]...range[1] { isOurs[at] = false }
            }
            for patch in try #require(block["patched"] as? [[String: Any]]) {
                let granule = try #require(patch["granule"] as? Int) * 4096
                for range in try #require(patch["bytes"] as? [[Int]]) {
                    for at in range[0]...range[1] { isOurs[granule + at] = true }
                }
            }
            for at in fresh.indices where isOurs[at] { bytes[at] = fresh[at] }
            try writeFile(store + name, bytes)
        }
    }

    /// Kills a mount while it is written to.
    private func writeAndKill(
        _ daemon: MountedDaemon, slots: Int, writeDelayMs: Int, writes: Int, seed: UInt64
    ) throws -> KillWorkload {
        try daemon.start(
            Self.sizes + [
                "--blockCacheFile=\(daemon.cache)", "--blockCacheSize=\(slots)",
                "--blockCacheRingSize=1m", "--blockCacheWriteDelay=\(writeDelayMs)",
            ])
        let workload = KillWorkload(bytes: Self.bytes, writers: 4)
        workload.begin(daemon.file, seed: seed)
        try waitFor("the writers", seconds: 60) {
            workload.writes.load(ordering: .relaxed) >= writes
        }
        daemon.killNow()
        workload.stop()
        daemon.detach()
        return workload
    }

    @Test(
        "after kill -9 the salvaged directory, mounted at once, has every acknowledged write",
        arguments: 1...4)
    func salvage(round: Int) throws {
        let daemon = try MountedDaemon("salvage")
        defer { daemon.remove() }
        // Nothing reaches the store by itself: the cache file has everything.
        let workload = try writeAndKill(
            daemon, slots: 1024, writeDelayMs: 3_600_000, writes: 300 * round,
            seed: testSeed &+ UInt64(round))
        let stored = try FileManager.default.contentsOfDirectory(atPath: daemon.store)
        try #require(stored.allSatisfy { UInt64($0, radix: 16) == nil }, "\(stored)")
        let rescued = try MountedDaemon("rescued")
        defer { rescued.remove() }
        let outcome = try TestSupport.run(
            MountedDaemon.cachecheck, ["salvage", "--to", rescued.store, daemon.cache])
        #expect(outcome.status == 0, "\(outcome.output)")
        try rescued.start(Self.sizes)
        #expect(try workload.check(rescued.file).prefix(5) == [])
        #expect(try rescued.unmount() == 0)
    }

    @Test("the same while blocks are uploaded: what is salvaged goes over the store's")
    func beside() throws {
        let daemon = try MountedDaemon("salvage-beside")
        defer { daemon.remove() }
        let workload = try writeAndKill(
            daemon, slots: 48, writeDelayMs: 20, writes: 1500, seed: testSeed)
        let out = daemon.root + "/salvaged"
        let outcome = try TestSupport.run(
            MountedDaemon.cachecheck, ["salvage", "--to", out, daemon.cache])
        #expect(outcome.status == 0, "\(outcome.output)")
        try overlay(out, onto: daemon.store)
        try daemon.start(Self.sizes)
        #expect(try workload.check(daemon.file).prefix(5) == [])
        #expect(try daemon.unmount() == 0)
    }
}
