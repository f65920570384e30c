import BlockCodec
import Glibc
import Testing
import VolumeOptions

@testable import s3backer

@Suite struct CodecOptionsTests {
    let place: Playground

    init() throws { place = try Playground() }

    func plan(_ words: [String], source: String = "bkt") throws -> MountPlan {
        let line = ["--accessFile=\(place.file)"] + words + [source, place.target]
        return try Validation.plan(Options.read(Arguments.normalise(line)))
    }

    func message(_ words: String...) throws -> String {
        try #require(throws: StartupError.self) { try plan(words) }.message
    }

    @Test(
        "compression",
        arguments: [
            ([], nil), (["--compress"], (.deflate, -1)), (["--compress="], (.deflate, -1)),
            (["--compress=9"], (.deflate, 9)), (["-o", "compress=0"], (.deflate, 0)),
            (["--compress=Deflate", "--compress-level=4"], (.deflate, 4)),
            (["--compress=ZSTD"], (.zstd, 3)),
            (["-o", "compress=zstd,compress-level=-5"], (.zstd, -5)),
            (["--compress=zstd", "--compress-level=22"], (.zstd, 22)),
            (["--compress=lz4", "--compress-level=12"], (.lz4, 12)),
            (["--compress", "--compress-level=1"], (.deflate, 1)),
            (["--compress=9", "--compress=lz4"], (.lz4, 0)),
            (["--encrypt", "--password=x"], (.deflate, -1)),
            (["--encrypt", "--password=x", "--compress=zstd"], (.zstd, 3)),
        ] as [([String], (CompressionAlgorithm, Int)?)])
    func compression(words: [String], wanted: (CompressionAlgorithm, Int)?) throws {
        let plan = try plan(words)
        #expect(plan.codec.compression == wanted.map { Compression($0.0, level: $0.1) })
        let warns = plan.notices.contains { $0.contains("cannot read what is written") }
        #expect(warns == (wanted?.0 == .lz4))
    }

    @Test("encryption")
    func encryption() throws {
        #expect(try plan([]).codec.encryption == nil)
        let usual = try #require(try plan(["--encrypt", "--password=x"]).codec.encryption)
        #expect(usual.cipher.name == "AES-128-CBC" && usual.keyLength == nil)
        #expect(usual.password == SecretBytes("x"))
        let other = try plan(["-o", "encrypt=des-ede3-cbc,password=a=b,keyLength=64"]).codec
        #expect(other.encryption?.cipher.name == "DES-EDE3-CBC")
        #expect(other.encryption?.keyLength == 64)
        #expect(other.encryption?.password == SecretBytes("a=b"))
        let empty = try plan(["--encrypt", "--password="])
        #expect(empty.codec.encryption?.password == SecretBytes(""))
        #expect(empty.notices == ["--password: the password is empty"])
        let stream = try plan(["--encrypt=AES-128-CTR", "--password=x", "--readOnly"])
        #expect(stream.codec.encryption?.cipher.isSafe == false && stream.notices.count == 1)
    }

    @Test(
        "a password file has it in its first line",
        arguments: [
            ("secret\n", "secret"), ("secret", "secret"), ("a b\r\nrest\n", "a b\r"),
            ("\u{e4}\nx", "\u{e4}"),
            (String(repeating: "p", count: 1023) + "\n", String(repeating: "p", count: 1023)),
        ])
    func passwordFile(content: String, password: String) throws {
        try fill(content)
        let line = [
            "--accessId=", "--encrypt", "--passwordFile=\(place.file)", "bkt", place.target,
        ]
        let plan = try Validation.plan(Options.read(Arguments.normalise(line)))
        #expect(plan.codec.encryption?.password == SecretBytes(password))
    }

    private func fill(_ content: String) throws {
        let fd = open(place.file, O_WRONLY | O_TRUNC)
        try #require(fd >= 0)
        defer { close(fd) }
        try #require(write(fd, content, content.utf8.count) == content.utf8.count)
    }

    @Test(
        "a password file without a password is an error that names it",
        arguments: [
            ("", "its first line is empty"), ("\nsecret\n", "its first line is empty"),
            (String(repeating: "p", count: 1024), "is longer than 1023 bytes"),
            (String(repeating: "p", count: 1024) + "\n", "is longer than 1023 bytes"),
        ])
    func badPasswordFile(content: String, words: String) throws {
        try fill(content)
        let error = try #require(throws: StartupError.self) {
            try Password.read(place.file)
        }
        #expect(error.message.hasPrefix("--passwordFile=\(place.file): "), "\(error)")
        #expect(error.message.contains(words) && !error.message.contains("ppp"), "\(error)")
    }

    @Test(
        "a wrong value is an error that names the option",
        arguments: [
            (["--compress=gzip"], "--compress=gzip: must be one of deflate, zstd, lz4"),
            (["--compress=10"], "--compress=10: must be a number from -1 to 9 for deflate"),
            (["--compress=3", "--compress-level=3"], "--compress=3: is a level, too; "),
            (["--compress-level=3"], "--compress-level=3: give --compress=ALGORITHM with it"),
            (
                ["--encrypt", "--password=x", "--compress-level=3"],
                "--compress-level=3: give --compress"
            ),
            (
                ["--compress=zstd", "--compress-level=23"],
                "--compress-level=23: must be a number from "
            ),
            (
                ["--compress=zstd", "--compress-level=x"],
                "--compress-level=x: must be a number from "
            ),
            (
                ["--compress=lz4", "--compress-level=-1"],
                "--compress-level=-1: must be a number from 0 to 12 "
            ),
            (
                ["--encrypt=ROT13", "--password=x"],
                "--encrypt=ROT13: is no cipher that can be used; "
            ),
            (["--encrypt=AES-128-CTR", "--password=x"], "--encrypt=AES-128-CTR: would give away "),
            (["--encrypt=AES-128-ECB", "--password=x"], "--encrypt=AES-128-ECB: would give away "),
            (
                ["--encrypt=AES-128-GCM", "--password=x", "--readOnly"],
                "--encrypt=AES-128-GCM: is no cipher "
            ),
            (
                ["--encrypt", "--password=x", "--keyLength=15"],
                "--keyLength=15: must be a number from 16 to 64"
            ),
            (
                ["--encrypt", "--password=x", "--keyLength=65"],
                "--keyLength=65: must be a number from 16 to 64"
            ),
            (
                ["--encrypt", "--password=x", "--passwordFile=y"],
                "--password and --passwordFile are both given; "
            ),
            (
                ["--encrypt", "--passwordFile=/nowhere/x"],
                "--passwordFile=/nowhere/x: No such file"
            ),
            (["--encrypt", "--passwordFile=/"], "--passwordFile=/: Is a directory"),
            (
                ["--defaultContentEncoding=gzip"],
                "--defaultContentEncoding=gzip: has the unknown encoding"
            ),
            (
                ["--encrypt", "--password=x", "--blockSize=2k"],
                "--blockSize=2k: must be a power of two from 4k"
            ),
        ])
    func wrongValue(words: [String], start: String) throws {
        let error = try #require(throws: StartupError.self) { try plan(words) }
        #expect(error.message.hasPrefix(start), "\(error.message)")
    }

    @Test("a password without --encrypt is a notice")
    func unused() throws {
        let notices = try plan(["--password=secret", "--keyLength=20"]).notices
        #expect(notices.map { $0.split(separator: " ")[0] } == ["--password", "--keyLength"])
        #expect(!notices.joined().contains("secret"))
    }

    @Test(
        "blocks in a directory are stored as they are",
        arguments: [
            "--compress", "--encrypt", "--defaultContentEncoding=deflate",
        ])
    func directory(word: String) throws {
        let line = ["--test", "--size=1m", word, place.store, place.target]
        let error = try #require(throws: StartupError.self) {
            try Validation.plan(Options.read(Arguments.normalise(line)))
        }
        #expect(error.message.contains("with --test") && error.message.contains("leave it out"))
    }

    @Test(
        "what ps shows of secrets",
        arguments: [
            ("", "--password=secret,x", "--password=xxxxxxxx"), ("", "--password=", "--password="),
            ("-o", "size=1m,password=secret,ro", "size=1m,password=xxxxxx,ro"),
            ("-o", #"password=a\,b,ro"#, "password=xxxx,ro"),
            ("", "-opassword=ab", "-opassword=xx"),
            ("--password", "secret", "xxxxxx"), ("--password", "--debug", "--debug"),
            ("", "--passwordFile=/p", "--passwordFile=/p"), ("", "--accessKey=k", "--accessKey=x"),
            ("", "bkt/mypassword=3", "bkt/mypassword=3"), ("", "plain", "plain"),
        ])
    func visible(before: String, text: String, shown: String) {
        var bytes = Array(text.utf8)
        for range in VisibleArguments.ranges(text, after: before) {
            for position in range { bytes[position] = 0x78 }
        }
        #expect(String(decoding: bytes, as: UTF8.self) == shown)
    }
}
