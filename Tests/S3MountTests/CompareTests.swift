import Foundation
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// `cachecheck compare`: what a second writer has changed behind the cache's back.
@Suite("S3CompareTests", .serialized, .enabled(if: canMount, mountReason))
struct CompareTests {
    private static let sizes = ["--blockSize=4k", "--size=256k"]
    private static let lazy = ["--blockCacheWriteDelay=600000", "--unmountTimeout=0"]

    private func compare(_ daemon: MountedDaemon, _ words: [String]) throws -> CommandOutcome {
        let program = try #require(BuiltProgram("cachecheck"))
        return try runSplit(
            program.path, ["compare", daemon.cache] + words,
            environment: MountedDaemon.environment(home: daemon.root), deadlineSeconds: 120)
    }

    private func block(_ value: UInt8) -> [UInt8] { [UInt8](repeating: value, count: 4096) }

    @Test(
        "lists exactly the blocks that a second writer has changed, and writes nothing",
        arguments: [
            [], ["--compress=zstd"], ["--encrypt=AES-128-CBC", "--password=open-sesame"],
            ["--blockHashPrefix"],
        ])
    func exactly(codec: [String]) throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + codec
        let cached = options + ["--blockCacheFile=\(daemon.cache)"]
        try daemon.start(cached + Self.sizes, "bkt/v")
        let image = numberedBlocks(32)
        try daemon.write(image, at: 0)
        #expect(try daemon.unmount() == 0)
        // Dirty now: 3 and 4, which the bucket has, and 40 and 41, which it has not.
        try daemon.start(cached + Self.lazy, "bkt/v")
        #expect(try daemon.read().prefix(image.count).elementsEqual(image))
        for number in [3, 4, 40, 41] { try daemon.write(block(0x77), at: number * 4096) }
        daemon.killNow()
        daemon.detach()

        let same = try compare(daemon, options + ["bkt/v"])
        #expect(same.status == 0, "\(same.output)\(same.errors)")
        #expect(
            same.output == "34 blocks compared; 0 clean blocks and 0 dirty blocks differ\n",
            "\(same.output)")

        let other = try MountedDaemon()
        try other.start(options + ["--force"], "bkt/v")
        try other.write(block(1), at: 4096)
        try other.write(block(0), at: 2 * 4096)
        try other.write(block(2), at: 4 * 4096)
        // The same content once more, and a block that the cache does not have.
        try other.write(Array(image[5 * 4096..<6 * 4096]), at: 5 * 4096)
        try other.write(block(6), at: 50 * 4096)
        try other.write(block(7), at: 41 * 4096)
        #expect(try other.unmount() == 0)

        let bucket = try BucketContents(server, "bkt")
        let file = readFile(daemon.cache)
        let found = try compare(daemon, options + ["bkt/v"])
        #expect(found.status == 4, "\(found.errors)")
        #expect(
            found.output == """
                1: clean, changed in the store
                2: clean, deleted in the store
                4: dirty, changed in the store
                41: dirty, new in the store
                34 blocks compared; 2 clean blocks and 2 dirty blocks differ

                """, "\(found.output)")
        let json = try compare(daemon, options + ["--json", "bkt/v"])
        let lines = json.output.split(separator: "\n")
        #expect(lines.count == 5)
        for line in lines { _ = try JSONSerialization.jsonObject(with: Data(line.utf8)) }
        #expect(lines[0].contains("\"differingDirtyBlocks\":2"))
        #expect(readFile(daemon.cache) == file)
        #expect(try BucketContents(server, "bkt") == bucket)

        let elsewhere = try compare(daemon, options + ["bkt/w"])
        #expect(elsewhere.status == 8)
        #expect(elsewhere.errors.contains("BIND_MISMATCH"), "\(elsewhere.errors)")
        if codec.contains(where: { $0.hasPrefix("--encrypt") }) {
            let wrong = server.options + ["--encrypt", "--password=wrong", "bkt/v"]
            let refused = try compare(daemon, wrong)
            #expect(refused.status == 8 && refused.errors.contains("incorrect signature"))
        }
    }

    @Test("blocks in a directory")
    func directory() throws {
        let daemon = try MountedDaemon()
        let words = Self.sizes + ["--blockCacheFile=\(daemon.cache)"]
        try daemon.start(words)
        try daemon.write(numberedBlocks(8), at: 0)
        #expect(try daemon.unmount() == 0)
        try writeFile(daemon.store + "/00000003", block(9))
        try FileManager.default.removeItem(atPath: daemon.store + "/00000005")
        let names = try daemon.blockNames()
        let found = try compare(daemon, ["--test", daemon.store])
        #expect(found.status == 4, "\(found.errors)")
        #expect(
            found.output == """
                3: clean, changed in the store
                5: clean, deleted in the store
                8 blocks compared; 2 clean blocks and 0 dirty blocks differ

                """, "\(found.output)")
        #expect(try daemon.blockNames() == names)
        #expect(try compare(daemon, ["--test", daemon.store, "--compress=zstd"]).status == 8)
    }
}
