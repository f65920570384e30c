import Foundation
import MountSupport
import S3TestServers
import Testing

/// One after the other: each needs the machine for itself.
@Suite("KillTests", .serialized, .enabled(if: canMount, mountReason))
struct KillTests {
    private static func options(_ size: String, blockSize: String, slots: Int) -> [String] {
        [
            "--size=\(size)", "--blockSize=\(blockSize)", "--blockCacheSize=\(slots)",
            "--blockCacheRingSize=512k",
        ]
    }

    @Test("every acknowledged write survives kill -9 in every state of the engine")
    func directory() throws {
        let options = Self.options("32m", blockSize: "64k", slots: 96)
        try KillLoop(
            .init("directory", options + ["--blockCacheWriteDelay=30"], bytes: 32 << 20)
        ).run()
    }

    /// rclone keeps metadata in memory only: one server for all of it.
    @Test("the same with the blocks on rclone, which checks signatures")
    func rclone() throws {
        let server = try TestServer.rclone(buckets: ["bkt"])
        defer { server.stop() }
        let options = Self.options("8m", blockSize: "64k", slots: 64)
        try KillLoop(
            .init(
                "rclone", server.options + options + ["--blockCacheWriteDelay=30"],
                bucket: "bkt/disk", bytes: 8 << 20)
        ).run()
    }

    /// moto takes its time for every request: fewer blocks, which wait longer for more writes.
    @Test("the same with the blocks on moto, which checks signatures and rights")
    func moto() throws {
        let server = try TestServer.strictMoto(bucket: "bkt")
        defer { server.stop() }
        let options = Self.options("4m", blockSize: "128k", slots: 24)
        try KillLoop(
            .init(
                "moto", server.options + options + ["--blockCacheWriteDelay=100"],
                bucket: "bkt/disk", bytes: 4 << 20)
        ).run()
    }
}
