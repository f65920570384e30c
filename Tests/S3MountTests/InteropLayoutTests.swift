import Foundation
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// Names, listings and erasing, with the real s3backer 1.5.4 as partner.
@Suite("S3InteropLayoutTests", .serialized, .enabled(if: canMountReal, mountRealReason))
struct InteropLayoutTests {
    static let blockSize = 4096
    static let size = 256 << 10
    static let sizes = ["--blockSize=4k", "--size=256k"]

    struct Layout: Sendable, CustomTestStringConvertible {
        var prefix: String
        var isHashed: Bool

        var testDescription: String { "\"\(prefix)\"\(isHashed ? " hashed" : "")" }

        static let all = [
            Layout(prefix: "", isHashed: false), Layout(prefix: "", isHashed: true),
            Layout(prefix: "a/b/", isHashed: true), Layout(prefix: "x", isHashed: false),
        ]

        func options(_ server: TestServer, _ program: MountedDaemon.Program) -> [String] {
            server.options + ["--prefix=\(prefix)"] + (isHashed ? ["--blockHashPrefix"] : [])
                + (program == .real ? ["--listBlocks"] : [])
        }
    }

    /// Objects that belong to no volume, among those of all of them.
    static let strangers = [
        "00000040", "0000000A", "00000001x", "0000001", "ffffffff", "zz", "d211cad9-00000000",
        "D211CAD9-00000001", "d211cad9-00000001x", "a&b<c>", "7f", "s3backer",
    ]

    private func addStrangers(_ server: TestServer, _ layout: Layout) throws -> Set<String> {
        let keys = Self.strangers.map { layout.prefix + $0 } + ["other/00000001", "y00000001"]
        for key in keys {
            let path = key.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) ?? key
            #expect(try server.request("PUT", "bkt/" + path, body: [1]).status == 200, "\(key)")
        }
        return Set(keys)
    }

    /// All keys of the bucket, as the server says.
    private func keys(_ server: TestServer) throws -> Set<String> {
        let list = try server.request("GET", "bkt")
        try #require(list.text.contains("<IsTruncated>false</IsTruncated>"))
        return Set(
            list.text.components(separatedBy: "<Key>").dropFirst().map {
                $0.components(separatedBy: "</Key>")[0].replacingOccurrences(of: "&lt;", with: "<")
                    .replacingOccurrences(of: "&gt;", with: ">")
                    .replacingOccurrences(of: "&amp;", with: "&")
            })
    }

    private func real(_ options: [String]) throws -> Int32 {
        let home = TemporaryDirectory()
        return try runSplit(
            MountedDaemon.real, options + ["bkt"],
            environment: MountedDaemon.environment(home: home.path), deadlineSeconds: 60
        ).status
    }

    /// A disk with data in some blocks, block 0 among them, and zeros in others.
    private func image(seed: Int) -> [UInt8] {
        var image = pattern(Self.size, blockSize: Self.blockSize, seed: UInt64(seed))
        for index in 0..<Self.blockSize { image[index] = UInt8(truncatingIfNeeded: index | 1) }
        return image
    }

    private func dataBlocks(_ image: [UInt8]) -> [Int] {
        (0..<Self.size / Self.blockSize).filter { block in
            image[block * Self.blockSize..<(block + 1) * Self.blockSize].contains { $0 != 0 }
        }
    }

    @Test(
        "names with and without hash and prefix, listed among strangers' objects",
        arguments: Layout.all, [true, false])
    func names(layout: Layout, oursFirst: Bool) throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let strangers = try addStrangers(server, layout)
        let programs: [MountedDaemon.Program] = oursFirst ? [.ours, .real] : [.real, .ours]
        let first = try MountedDaemon(program: programs[0])
        let second = try MountedDaemon(program: programs[1])
        var image = image(seed: 11)
        try first.start(layout.options(server, programs[0]) + Self.sizes, "bkt")
        try first.write(image, at: 0)
        #expect(try first.unmount() == 0)
        let written = try keys(server).subtracting(strangers)
        #expect(
            written.filter { !$0.hasSuffix("s3backer-volume") }.count == dataBlocks(image).count)

        // Told no sizes, it finds block 0, and with a list of what is there all the others.
        try second.start(layout.options(server, programs[1]), "bkt")
        #expect(try second.read() == image)
        let zeros = [UInt8](repeating: 0, count: 2 * Self.blockSize)
        image.replaceSubrange(0..<2 * Self.blockSize, with: zeros)
        try second.write(zeros, at: 0)
        #expect(try second.unmount() == 0)
        let left = try keys(server)
        #expect(strangers.isSubset(of: left))
        #expect(
            left.subtracting(strangers).filter { !$0.hasSuffix("s3backer-volume") }.count
                == dataBlocks(image).count)

        // Block 0 being zeros, the real one does not know the sizes any more.
        try first.start(layout.options(server, programs[0]) + Self.sizes + ["--readOnly"], "bkt")
        #expect(try first.read() == image)
        #expect(try first.unmount() == 0)
    }

    @Test("each erases what the other wrote, and nothing else", arguments: Layout.all)
    func erase(layout: Layout) throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let strangers = try addStrangers(server, layout)
        let image = image(seed: 12)
        // Ours that of the real one, with the mark of a mount that was killed.
        let other = try MountedDaemon(program: .real)
        try other.start(
            layout.options(server, .real) + Self.sizes + ["--blockCacheWriteDelay=0"], "bkt")
        try other.write(image, at: 0)
        let count = dataBlocks(image).count
        try waitFor("the uploads", seconds: 60) {
            try keys(server).subtracting(strangers).count == count + 1
        }
        other.killNow()
        other.detach()
        let theirs = try keys(server).subtracting(strangers)
        let options = ["--prefix=\(layout.prefix)"] + (layout.isHashed ? ["--blockHashPrefix"] : [])
        let refused = try MaintenanceTests.run(options + ["--erase"], server, bucket: "bkt")
        #expect(refused.status == 1 && refused.errors.contains("appears to be mounted"))
        let dry = try MaintenanceTests.run(
            options + ["--erase", "--dry-run"], server, bucket: "bkt")
        let named = dry.output.split(separator: "\n").map {
            String($0.dropFirst("\(server.url)bkt/".count))
        }
        #expect(Set(named) == theirs && named.count == theirs.count, "\(dry)")
        let done = try MaintenanceTests.run(
            options + ["--erase", "--force"], server, bucket: "bkt")
        #expect(done.status == 0 && done.errors.contains("\(count) blocks removed"), "\(done)")
        #expect(try keys(server) == strangers)

        // The real one ours; it leaves the identity, of which it does not know.
        let ours = try MountedDaemon()
        try ours.start(layout.options(server, .ours) + Self.sizes, "bkt")
        try ours.write(image, at: 0)
        #expect(try ours.unmount() == 0)
        #expect(try real(layout.options(server, .ours) + ["--erase", "--force"]) == 0)
        #expect(
            try keys(server) == strangers.union([layout.prefix + "s3backer-volume"]))
        try ours.start(layout.options(server, .ours), "bkt")
        #expect(try ours.read().allSatisfy { $0 == 0 })
        #expect(try ours.unmount() == 0)
    }

    @Test("ours removes the mark of the real one")
    func reset() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let layout = Layout(prefix: "a/b/", isHashed: false)
        let other = try MountedDaemon(program: .real)
        try other.start(layout.options(server, .real) + Self.sizes, "bkt")
        try other.write([1], at: 0)
        other.killNow()
        other.detach()
        let done = try MaintenanceTests.run(["--reset-mounted-flag"], server, bucket: "bkt/a/b")
        #expect(done.status == 0 && done.errors.contains("the mark is removed"), "\(done)")
        #expect(try !keys(server).contains("a/b/s3backer-mounted"))
        try other.start(layout.options(server, .real) + Self.sizes, "bkt")
        #expect(try other.unmount() == 0)
    }
}
