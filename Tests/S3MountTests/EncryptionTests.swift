import Foundation
import Glibc
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// Our own encoded volumes: passwords, right and wrong, lost headers, and crashes.
@Suite("S3EncryptionTests", .serialized, .enabled(if: canMount, mountReason))
struct EncryptionTests {
    static let sizes = ["--blockSize=4k", "--size=256k"]
    static let password = "open-sesame"

    static func content(_ count: Int, _ seed: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 / 9 + seed) | 1 }
    }

    @Test("a password that cannot read the volume is refused in one line, and nothing is written")
    func wrongPassword() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let right = server.options + ["--encrypt", "--password=\(Self.password)"]
        try daemon.start(right + Self.sizes, "bkt/a")
        #expect(daemon.log.contains("has no block yet, so the password cannot be checked"))
        // Not block 0.
        try daemon.write(Self.content(8192, 1), at: 64 << 10)
        #expect(try daemon.unmount() == 0)
        try daemon.start(server.options + Self.sizes, "bkt/plain")
        try daemon.write([1, 2, 3], at: 0)
        #expect(try daemon.unmount() == 0)
        for key in ["a/00000000.old", "a/0000000001", "a/hello", "a/00000100"] {
            _ = try server.request("PUT", "bkt/" + key, body: [1])
        }

        let object = "\(server.url)bkt/a/00000010 "
        let plain = "\(server.url)bkt/plain/00000000 "
        let signature = "has an incorrect signature (did you provide the right password?); "
        let options = ["--password or --passwordFile", "--keyLength"]
        let cases: [(options: [String], bucket: String, words: [String])] = [
            (["--encrypt", "--password=wrong"], "bkt/a", [object, signature] + options),
            (
                ["--encrypt", "--password=\(Self.password)", "--keyLength=17"], "bkt/a",
                [object, signature] + options
            ),
            (["--encrypt", "--password=wrong", "--force"], "bkt/a", [object, signature]),
            (["--encrypt", "--password=wrong", "--readOnly"], "bkt/a", [object, signature]),
            (
                ["--encrypt=AES-256-CBC", "--password=\(Self.password)"], "bkt/a",
                [object, "AES-128-CBC instead of AES-256-CBC", "use --encrypt=AES-128-CBC"]
            ),
            ([], "bkt/a", [object, "is encrypted; give --encrypt=AES-128-CBC"]),
            (["--compress"], "bkt/a", [object, "is encrypted; give --encrypt=AES-128-CBC"]),
            (
                ["--encrypt", "--password=\(Self.password)"], "bkt/plain",
                [plain, "was supposed to be encrypted but wasn't; leave out --encrypt"]
            ),
        ]
        let before = try BucketContents(server, "bkt")
        for (words, bucket, wanted) in cases {
            let other = try MountedDaemon()
            let said = try other.refused(
                server.options + words + ["--blockCacheFile=\(other.cache)"], bucket)
            let lines = said.split(separator: "\n").filter { $0.hasPrefix("s3backer: ") }
            #expect(lines.count == 1, "\(said)")
            for word in wanted { #expect(lines.first?.contains(word) == true, "\(said)") }
            #expect(!said.contains(Self.password) && !said.contains("wrong"), "\(said)")
            #expect(!FileManager.default.fileExists(atPath: other.cache))
        }
        #expect(try BucketContents(server, "bkt") == before)

        try daemon.start(right, "bkt/a")
        #expect(daemon.log.contains("the password fits \(object.dropLast())"))
        #expect(Array(try daemon.read()[65536..<73728]) == Self.content(8192, 1))
        #expect(try daemon.unmount() == 0)
    }

    @Test("ps does not show the password, nor does the log")
    func hidden() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        for words in [
            ["--password=\(Self.password)"], ["-o", "password=\(Self.password),noatime"],
        ] {
            let daemon = try MountedDaemon()
            try daemon.start(
                server.options + Self.sizes + ["--encrypt", "--debug"] + words, "bkt/p")
            try daemon.write([1, 2, 3], at: 0)
            let pid = try #require(daemon.process?.processIdentifier)
            let shown = try Data(contentsOf: URL(fileURLWithPath: "/proc/\(pid)/cmdline"))
            let text = String(decoding: shown, as: UTF8.self)
            #expect(text.contains("password=xxx") && text.contains("--encrypt"), "\(text)")
            #expect(!text.contains(Self.password) && !text.contains(server.accessKey), "\(text)")
            #expect(try daemon.unmount() == 0)
            #expect(!daemon.log.contains(Self.password))
        }
    }

    /// Runs a shell command on a terminal of its own, which is recorded.
    private func onTerminal(
        _ command: String, _ output: String
    ) throws -> (process: Process, keys: FileHandle) {
        let script = Process()
        script.executableURL = URL(fileURLWithPath: "/usr/bin/script")
        script.arguments = ["-qefc", command, output]
        let keys = Pipe()
        script.standardInput = keys
        script.standardOutput = FileHandle.nullDevice
        script.standardError = FileHandle.nullDevice
        try Data().write(to: URL(fileURLWithPath: output))
        try script.run()
        return (script, keys.fileHandleForWriting)
    }

    private func shown(_ output: String) -> String {
        (try? String(contentsOfFile: output, encoding: .utf8)) ?? ""
    }

    @Test("the password is asked for on the terminal, and not shown")
    func prompt() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        let options = server.options + Self.sizes + ["--encrypt"]
        // Without a terminal there is nobody to ask.
        let alone = try runSplit(
            "/usr/bin/setsid",
            ["-w", MountedDaemon.s3backer, "-f"] + daemon.arguments(options, "bkt/t"))
        #expect(alone.status == 1 && alone.errors.contains("--passwordFile=FILE"), "\(alone)")
        for (typed, isRight) in [(Self.password, true), ("other", false)] {
            let command = ([MountedDaemon.s3backer] + daemon.arguments(options, "bkt/t"))
                .map { "'\($0)'" }.joined(separator: " ")
            let output = daemon.root + "/typescript"
            let script = try onTerminal(command, output)
            try waitFor("the question", seconds: 20) { shown(output).contains("Password: ") }
            script.keys.write(Data((typed + "\n").utf8))
            script.process.waitUntilExit()
            #expect(!shown(output).contains(typed), "\(shown(output))")
            #expect(script.process.terminationStatus == (isRight ? 0 : 1), "\(shown(output))")
            guard isRight else {
                #expect(
                    shown(output).contains("did you provide the right password?"),
                    "\(shown(output))")
                continue
            }
            try daemon.write([1, 2, 3], at: 4096)
            try daemon.unmountOnly()
            try waitFor("the end of the mount", seconds: 30) {
                (try? server.request("HEAD", "bkt/t/s3backer-mounted").status) == 404
            }
        }
        // An interrupted question leaves a terminal that shows what is typed.
        let command = ([MountedDaemon.s3backer] + daemon.arguments(options, "bkt/t"))
            .map { "'\($0)'" }.joined(separator: " ")
        let output = daemon.root + "/interrupted"
        let script = try onTerminal("trap : INT; \(command); echo status=$?; stty -a", output)
        try waitFor("the question", seconds: 20) { shown(output).contains("Password: ") }
        script.keys.write(Data([3]))
        script.process.waitUntilExit()
        #expect(shown(output).contains("s3backer: interrupted"), "\(shown(output))")
        #expect(shown(output).contains("status=1") && shown(output).contains(" echo "))
        let found = try server.request("HEAD", "bkt/t/00000001")
        #expect(found.headers["content-encoding"] == "deflate, encrypt-AES-128-CBC")
    }

    /// rclone keeps headers as long as it runs, and objects as files.
    @Test("objects that have lost Content-Encoding are read with --defaultContentEncoding")
    func defaultEncoding() throws {
        let server = try TestServer.rclone(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon()
        try daemon.start(server.options + Self.sizes + ["--compress"], "bkt/d")
        let content = Self.content(5 * 4096, 1)
        try daemon.write(content, at: 0)
        #expect(try daemon.unmount() == 0)
        let other = try TestServer.rclone(buckets: ["bkt"])
        defer { other.stop() }
        try FileManager.default.copyItem(
            atPath: server.directory + "/bkt/d", toPath: other.directory + "/bkt/d")
        try daemon.start(other.options + Self.sizes, "bkt/d")
        let fd = open(daemon.file, O_RDONLY)
        try #require(fd >= 0)
        var buffer = [UInt8](repeating: 0, count: 4096)
        #expect(pread(fd, &buffer, 4096, 0) == -1 && errno == EIO)
        #expect(try daemon.unmountAfterClosing(fd) == 0)
        #expect(daemon.log.contains(" bytes instead of 4096"))
        try daemon.start(
            other.options + Self.sizes + ["--defaultContentEncoding=deflate"], "bkt/d")
        #expect(Array(try daemon.read()[..<content.count]) == content)
        #expect(try daemon.unmount() == 0)
    }

    /// The answer to the upload is lost, then the process: what the bucket has is known again by
    /// the digest of the block, which is not that of the object.
    @Test("an encrypted upload whose answer was lost is known again after kill -9")
    func lostAnswer() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let proxy = try FaultProxy(
            to: server.port, [.lostAndCut], rate: 1, streak: 1_000_000, only: "bkt/l/00000003",
            isPaused: true)
        defer { proxy.stop() }
        let daemon = try MountedDaemon()
        let cached =
            ["--blockCacheFile=\(daemon.cache)", "--encrypt", "--compress=zstd"]
            + ["--password=\(Self.password)"]
        let through = server.options(through: proxy.url) + cached
        try daemon.start(through + Self.sizes, "bkt/l")
        let old = Self.content(4096, 1)
        try daemon.write(old, at: 3 * 4096)
        try waitFor("the first version", seconds: 30) {
            daemon.statistic("cache_file_dirty_blocks") == 0
        }
        proxy.resume()
        let new = Self.content(4096, 2)
        let before = try server.request("HEAD", "bkt/l/00000003").headers["etag"]
        try daemon.write(new, at: 3 * 4096)
        try waitFor("the second version", seconds: 30) {
            let now = try? server.request("HEAD", "bkt/l/00000003").headers["etag"]
            return now != nil && now != before
        }
        daemon.killNow()
        daemon.detach()
        try daemon.start(server.options + cached, "bkt/l")
        #expect(Array(try daemon.read()[3 * 4096..<4 * 4096]) == new)
        try waitFor("the upload to be settled", seconds: 30) {
            daemon.statistic("cache_file_dirty_blocks") == 0
        }
        #expect(daemon.statistic("cache_file_conflict_blocks") == 0)
        #expect(try daemon.unmount() == 0)
        try daemon.start(server.options + cached + ["--readOnly"], "bkt/l")
        #expect(Array(try daemon.read()[3 * 4096..<4 * 4096]) == new)
        #expect(try daemon.unmount() == 0)
    }
}
