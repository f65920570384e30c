import Foundation
import Glibc
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// Compressed and encrypted volumes shared with the real s3backer 1.5.4 of Debian.
@Suite("S3EncodingInteropTests", .serialized, .enabled(if: canMountReal, mountRealReason))
struct EncodingInteropTests {
    static let blockSize = 4096
    static let size = 128 << 10

    /// Options of both programs, and `Content-Encoding` of what they write.
    static let variants: [(options: [String], encoding: String)] = [
        (["--compress=1"], "deflate"), (["--compress=6"], "deflate"),
        (["--compress=9"], "deflate"),
        (["--encrypt"], "deflate, encrypt-AES-128-CBC"),
        (["--encrypt=AES-192-CBC", "--compress=9"], "deflate, encrypt-AES-192-CBC"),
        (["--encrypt=aes-256-cbc"], "deflate, encrypt-AES-256-CBC"),
        (["--encrypt=DES-EDE3-CBC"], "deflate, encrypt-DES-EDE3-CBC"),
        (["--encrypt", "--keyLength=64"], "deflate, encrypt-AES-128-CBC"),
        (["--encrypt", "--blockHashPrefix"], "deflate, encrypt-AES-128-CBC"),
    ]

    /// Blocks that compress well, not at all, and zeros; the first is none of these.
    static func image(seed: Int) -> [UInt8] {
        (0..<size / blockSize).flatMap { block in
            switch block % 5 {
            case 3: [UInt8](repeating: 0, count: blockSize)
            case 1: (0..<blockSize).map { _ in UInt8.random(in: 0...255) }
            default: (0..<blockSize).map { UInt8(truncatingIfNeeded: $0 / 9 + block + seed) | 1 }
            }
        }
    }

    /// One program makes a volume, the other reads and changes it, and the first reads that.
    @Test("both programs read what the other has encoded")
    func exchange() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let secret = try TemporaryFile("s\u{e4}same open\n")
        for (number, variant) in Self.variants.enumerated() {
            let isEncrypted = variant.encoding.contains("encrypt")
            let options =
                variant.options + (isEncrypted ? ["--passwordFile=\(secret.path)"] : [])
                + server.options
            func place(_ isOurs: Bool) -> (options: [String], bucket: String) {
                isOurs
                    ? (options, "bkt/v\(number)")
                    : (options + ["--prefix=v\(number)/", "--listBlocks"], "bkt")
            }
            let oursFirst = number % 2 == 0
            let one = place(oursFirst)
            let two = place(!oursFirst)
            let first = try MountedDaemon(program: oursFirst ? .ours : .real)
            let second = try MountedDaemon(program: oursFirst ? .real : .ours)
            var image = Self.image(seed: number)

            try first.start(one.options + ["--blockSize=4k", "--size=\(Self.size)"], one.bucket)
            try first.write(image, at: 0)
            #expect(try first.unmount() == 0)
            // The other one neither needs the sizes nor keeps what it has not changed.
            try second.start(two.options, two.bucket)
            #expect(try second.read() == image, "\(variant)")
            let changed = Array(Self.image(seed: 99)[..<(3 * Self.blockSize)])
            image.replaceSubrange(5 * Self.blockSize..<8 * Self.blockSize, with: changed)
            try second.write(changed, at: 5 * Self.blockSize)
            try second.write([1, 2, 3], at: 100)
            image.replaceSubrange(100..<103, with: [1, 2, 3])
            #expect(try second.unmount() == 0)
            try first.start(one.options + ["--readOnly"], one.bucket)
            #expect(try first.read() == image, "\(variant)")
            #expect(try first.unmount() == 0)

            let isHashed = variant.options.contains("--blockHashPrefix")
            let names = isHashed ? ["c448b72c-00000000"] : ["00000000", "00000006", "00000009"]
            for name in names {
                let found = try server.request("HEAD", "bkt/v\(number)/\(name)")
                #expect(found.headers["content-encoding"] == variant.encoding)
                let signature = found.headers["x-amz-meta-s3backer-hmac"] ?? "\"\""
                #expect(signature.count == (isEncrypted ? 42 : 2))
            }
        }
    }

    @Test("what the real one cannot decode it refuses, and what it writes beside is read by ours")
    func newer() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        for (algorithm, password) in [("zstd", ""), ("lz4", ""), ("zstd", "--password=pw")] {
            let bucket = "bkt/\(algorithm)\(password.count)"
            let encrypt = password.isEmpty ? [] : ["--encrypt", password]
            let ours = try MountedDaemon()
            let options = server.options + encrypt
            try ours.start(
                options + ["--compress=\(algorithm)", "--blockSize=4k", "--size=128k"], bucket)
            #expect(ours.log.contains("cannot read what is written") == (algorithm == "lz4"))
            var image = Self.image(seed: 3)
            try ours.write(image, at: 0)
            #expect(try ours.unmount() == 0)

            let real = try MountedDaemon(program: .real)
            try real.start(
                options + ["--compress", "--prefix=\(bucket.dropFirst(4))/"], "bkt")
            let fd = open(real.file, O_RDWR)
            try #require(fd >= 0)
            var buffer = [UInt8](repeating: 0, count: Self.blockSize)
            #expect(pread(fd, &buffer, 4096, 2 * 4096) == -1 && errno == EIO)
            let whole = Array(Self.image(seed: 77)[..<Self.blockSize])
            #expect(pwrite(fd, whole, 4096, 5 * 4096) == 4096)
            #expect(fsync(fd) == 0)
            #expect(try real.unmountAfterClosing(fd) == 0)
            image.replaceSubrange(5 * Self.blockSize..<6 * Self.blockSize, with: whole)

            // The mixture, whatever is asked for.
            try ours.start(options + ["--readOnly"], bucket)
            #expect(try ours.read() == image)
            #expect(try ours.unmount() == 0)
        }
    }

    @Test("a stream cipher of the real one is refused, except for looking")
    func streamCipher() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let options = server.options + ["--password=pw"]
        let real = try MountedDaemon(program: .real)
        // Without initialisation vector what it writes is readable.
        try real.start(
            options + ["--encrypt=AES-128-ECB", "--prefix=e/", "--blockSize=4k", "--size=128k"],
            "bkt")
        let image = Self.image(seed: 5)
        try real.write(image, at: 0)
        #expect(try real.unmount() == 0)
        let ours = try MountedDaemon()
        let said = try ours.refused(options + ["--encrypt=AES-128-ECB"], "bkt/e")
        #expect(said.contains("--encrypt=AES-128-ECB: ") && said.contains("--readOnly"))
        try ours.start(options + ["--encrypt=AES-128-ECB", "--readOnly"], "bkt/e")
        #expect(try ours.read() == image)
        #expect(try ours.unmount() == 0)
    }
}

/// A file with this content, as long as it lives.
final class TemporaryFile {
    let path = NSTemporaryDirectory() + "s3b-\(UUID().uuidString)"

    init(_ text: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }
    deinit { unlink(path) }
}
