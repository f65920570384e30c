import Foundation
import MountSupport
import S3TestServers
import Testing

/// Volumes shared with the real s3backer 1.5.4 of Debian, byte for byte.
@Suite(
    "S3InteropTests", .serialized,
    .enabled(if: canMountReal, mountRealReason))
struct InteropTests {
    static let blockSize = 4096
    static let size = 256 << 10

    enum Kind: String, CaseIterable, Sendable { case moto, rclone }

    func server(_ kind: Kind) throws -> TestServer {
        switch kind {
        case .moto: try .moto(buckets: ["bkt"])
        case .rclone: try .rclone(buckets: ["bkt"])
        }
    }

    /// What a volume says and holds: bucket as named for the program, and its options.
    private func place(
        _ program: MountedDaemon.Program, _ server: TestServer
    ) -> (options: [String], bucket: String) {
        switch program {
        case .ours: (server.options, "bkt/a/b")
        case .real: (server.options + ["--prefix=a/b/", "--listBlocks"], "bkt")
        }
    }

    private func exists(_ key: String, _ server: TestServer) throws -> Bool {
        if !server.directory.isEmpty {
            return FileManager.default.fileExists(atPath: server.directory + "/bkt/" + key)
        }
        return try server.request("HEAD", "bkt/" + key).status == 200
    }

    /// One writes a new volume, the other reads it without being told sizes and rewrites it, and
    /// the first one reads that.
    @Test("both programs read what the other wrote", arguments: Kind.allCases, [true, false])
    func exchange(kind: Kind, oursFirst: Bool) throws {
        let server = try server(kind)
        defer { server.stop() }
        let first = try MountedDaemon(program: oursFirst ? .ours : .real)
        let second = try MountedDaemon(program: oursFirst ? .real : .ours)
        let one = place(oursFirst ? .ours : .real, server)
        let two = place(oursFirst ? .real : .ours, server)
        var image = pattern(Self.size, blockSize: Self.blockSize, seed: 1)
        for index in 0..<Self.blockSize { image[index] = UInt8(truncatingIfNeeded: index | 1) }

        try first.start(one.options + ["--blockSize=4k", "--size=256k"], one.bucket)
        #expect(try exists("a/b/s3backer-mounted", server))
        try first.write(image, at: 0)
        #expect(try first.unmount() == 0)
        #expect(try !exists("a/b/s3backer-mounted", server))

        try second.start(two.options, two.bucket)
        #expect(try second.read() == image)
        // Zeros over blocks that exist remove them.
        let zeros = [UInt8](repeating: 0, count: 3 * Self.blockSize)
        image.replaceSubrange(8 * Self.blockSize..<11 * Self.blockSize, with: zeros)
        try second.write(zeros, at: 8 * Self.blockSize)
        let changed = pattern(4 * Self.blockSize, blockSize: Self.blockSize, seed: 99)
        image.replaceSubrange(20 * Self.blockSize..<24 * Self.blockSize, with: changed)
        try second.write(changed, at: 20 * Self.blockSize)
        #expect(try second.unmount() == 0)
        #expect(try !exists("a/b/s3backer-mounted", server))

        try first.start(one.options + ["--readOnly"], one.bucket)
        #expect(try first.read() == image)
        #expect(try first.unmount() == 0)
        for block in 0..<Self.size / Self.blockSize {
            let range = block * Self.blockSize..<(block + 1) * Self.blockSize
            let digits = String(block, radix: 16)
            let key = "a/b/" + String(repeating: "0", count: 8 - digits.count) + digits
            #expect(try exists(key, server) == image[range].contains { $0 != 0 }, "\(key)")
        }
    }

    /// `bucket/a/b` here is `--prefix=a/b/` there.
    @Test("of the same disk both programs make the same objects: names, bytes, headers")
    func objects() throws {
        let server = try TestServer.moto(buckets: ["ours", "real"])
        defer { server.stop() }
        var image = pattern(Self.size, blockSize: Self.blockSize, seed: 7)
        for index in 0..<Self.blockSize { image[index] = UInt8(truncatingIfNeeded: index | 1) }
        let zeros = [UInt8](repeating: 0, count: Self.blockSize)
        image.replaceSubrange(3 * Self.blockSize..<4 * Self.blockSize, with: zeros)
        var mounted: [BucketContents.Object] = []
        for program in [MountedDaemon.Program.ours, .real] {
            let daemon = try MountedDaemon(program: program)
            let options = ["--blockSize=4k", "--size=256k"] + server.options
            let isOurs = program == .ours
            try daemon.start(
                options + (isOurs ? [] : ["--prefix=a/b/"]), isOurs ? "ours/a/b" : "real")
            let now = try BucketContents(server, isOurs ? "ours" : "real")
            mounted.append(try #require(now.objects["a/b/s3backer-mounted"]))
            try daemon.write(image, at: 0)
            #expect(try daemon.unmount() == 0)
        }
        // The marks differ in their value, and ours says more after the first two lines.
        let header = "x-amz-meta-s3backer-mount-token"
        let lines = mounted.map { String(decoding: $0.body, as: UTF8.self).split(separator: "\n") }
        #expect(lines[0].count > 2 && lines[1].count == 2)
        #expect(lines[0][0] == lines[1][0])
        for (object, lines) in zip(mounted, lines) {
            let digits = try #require(object.headers[header])
            #expect(digits.count == 8 && UInt32(digits, radix: 16) ?? 0 > 0, "\(digits)")
            #expect(digits == digits.lowercased())
            #expect(lines[1].wholeMatch(of: /[0-9]{8}T[0-9]{6}Z/) != nil, "\(lines[1])")
        }
        #expect(Set(mounted[0].headers.keys) == Set(mounted[1].headers.keys))
        #expect(mounted[0].headers["content-type"] == mounted[1].headers["content-type"])

        var ours = try BucketContents(server, "ours").objects
        let real = try BucketContents(server, "real").objects
        #expect(ours.removeValue(forKey: "a/b/s3backer-volume") != nil)
        #expect(ours.keys.sorted() == real.keys.sorted())
        for (key, object) in real {
            #expect(ours[key]?.headers ?? [:] == object.headers, "\(key)")
            #expect(ours[key]?.body == object.body, "\(key)")
            let number = try #require(Int(key.dropFirst(4), radix: 16), "\(key)")
            let range = number * Self.blockSize..<(number + 1) * Self.blockSize
            #expect(object.body == Array(image[range]), "\(key)")
        }
        let first = try #require(ours["a/b/00000000"]).headers
        #expect(first["x-amz-meta-s3backer-blocksize"] == "4096")
        #expect(first["x-amz-meta-s3backer-filesize"] == "262144")
        #expect(first["content-type"] == "application/x-s3backer-block")
        #expect(ours["a/b/00000003"] == nil && ours.count > 20)
    }

    @Test("each program refuses what the other has mounted", arguments: Kind.allCases)
    func tokens(kind: Kind) throws {
        let server = try server(kind)
        defer { server.stop() }
        let ours = try MountedDaemon(program: .ours)
        let real = try MountedDaemon(program: .real)
        let (oursAt, realAt) = (place(.ours, server), place(.real, server))
        let sizes = ["--blockSize=4k", "--size=256k"]

        try ours.start(oursAt.options + sizes, oursAt.bucket)
        #expect(try real.refused(realAt.options + sizes, realAt.bucket).contains("mounted"))
        #expect(try ours.unmount() == 0)

        try real.start(realAt.options + sizes, realAt.bucket)
        for extra in [[], ["--readOnly"]] {
            let said = try ours.refused(oursAt.options + sizes + extra, oursAt.bucket)
            #expect(said.contains("mounted already by host \(Host.current().name ?? "")"))
            #expect(said.contains("--force") && said.contains("--reset-mounted-flag"))
            #expect(said.contains("mount token 0x"))
        }
        // Killed, it leaves its token, which is not ours to judge.
        real.killNow()
        real.detach()
        _ = try ours.refused(oursAt.options + sizes, oursAt.bucket)
        try ours.start(oursAt.options + sizes + ["--force"], oursAt.bucket)
        #expect(try ours.unmount() == 0)
        #expect(try !exists("a/b/s3backer-mounted", server))
    }

    @Test("the real one resets our token")
    func reset() throws {
        let server = try server(.moto)
        defer { server.stop() }
        let ours = try MountedDaemon(program: .ours)
        let (oursAt, realAt) = (place(.ours, server), place(.real, server))
        let sizes = ["--blockSize=4k", "--size=256k"]
        try ours.start(oursAt.options + sizes, oursAt.bucket)
        ours.killNow()
        ours.detach()
        #expect(try exists("a/b/s3backer-mounted", server))
        let reset = Process()
        reset.executableURL = URL(fileURLWithPath: MountedDaemon.real)
        reset.arguments = realAt.options + sizes + ["--reset-mounted-flag", realAt.bucket]
        reset.standardError = FileHandle.nullDevice
        try reset.run()
        reset.waitUntilExit()
        #expect(reset.terminationStatus == 0)
        #expect(try !exists("a/b/s3backer-mounted", server))
    }
}
