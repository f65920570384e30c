import BlockCodec
import Foundation
import Testing

/// Blocks there and back, and streams that are no blocks.
@Suite struct CompressionTests {
    static let blockSize = 4096

    /// Contents that compress well, badly and not at all.
    static func contents(_ count: Int) -> [[UInt8]] {
        var random = SystemRandomNumberGenerator()
        let words = Array("the quick brown fox jumps over the lazy dog and so on ".utf8)
        return [
            [UInt8](repeating: 0, count: count),
            (0..<count).map { UInt8(truncatingIfNeeded: 7 * $0 + $0 >> 8) },
            (0..<count).map { words[$0 % words.count] },
            (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) },
        ]
    }

    static func levels(_ algorithm: CompressionAlgorithm) -> [Int] {
        algorithm == .zstd
            ? [algorithm.levels.lowerBound, -7] + Array(-1...22) : Array(algorithm.levels)
    }

    @Test(
        "every algorithm at every level with every cipher gives the block back",
        arguments: CompressionAlgorithm.allCases)
    func roundTrips(algorithm: CompressionAlgorithm) throws {
        let names = [
            nil, "AES-128-CBC", "AES-192-CBC", "AES-256-CBC", "DES-EDE3-CBC", "CAMELLIA-192-CBC",
            "BF-CBC",
            "ARIA-256-CBC",
        ]
        for name in names {
            let cipher = try name.map {
                BlockCipher(
                    try #require(Cipher(named: $0)), password: SecretBytes("p"), salt: "b/",
                    keyLength: nil)
            }
            for level in Self.levels(algorithm) {
                let codec = try BlockCodec(
                    blockSize: Self.blockSize, compression: Compression(algorithm, level: level),
                    encryption: cipher)
                for (number, content) in Self.contents(Self.blockSize).enumerated() {
                    let made = try encode(codec, 0x1234_5678, content)
                    let again = try decode(
                        codec, 0x1234_5678, made.body, encoding: made.encoding,
                        signature: made.signature)
                    #expect(again == content, "\(algorithm) \(level) \(name ?? "") \(number)")
                }
            }
        }
    }

    @Test("also of other sizes", arguments: [64, 512, 65536, 1 << 20])
    func sizes(blockSize: Int) throws {
        for algorithm in CompressionAlgorithm.allCases {
            let codec = try BlockCodec(blockSize: blockSize, compression: Compression(algorithm))
            for content in Self.contents(blockSize) {
                let made = try encode(codec, 1, content)
                #expect(made.body.count <= codec.bodyBytesMax)
                let again = try decode(
                    codec, 1, made.body, encoding: made.encoding, signature: nil)
                #expect(again == content)
            }
        }
    }

    @Test("what does not get smaller is compressed, too")
    func growing() throws {
        for algorithm in CompressionAlgorithm.allCases {
            let codec = try BlockCodec(
                blockSize: Self.blockSize, compression: Compression(algorithm))
            let made = try encode(codec, 1, Self.contents(Self.blockSize)[3])
            #expect(made.body.count > Self.blockSize && made.encoding == algorithm.rawValue)
        }
    }

    @Test("streams begin as they should, and higher levels make them smaller")
    func format() throws {
        let text = Array((0..<20_000).map { "\($0 &* $0) " }.joined().utf8.prefix(65536))
        func made(_ algorithm: CompressionAlgorithm, _ level: Int) throws -> [UInt8] {
            let codec = try BlockCodec(
                blockSize: 65536, compression: Compression(algorithm, level: level))
            return try encode(codec, 1, text).body
        }
        #expect(try made(.deflate, -1).starts(with: [0x78, 0x9c]))
        #expect(try made(.deflate, 9).starts(with: [0x78, 0xda]))
        #expect(try made(.deflate, 0).count > 65536)
        #expect(try made(.zstd, 3).starts(with: [0x28, 0xb5, 0x2f, 0xfd]))
        #expect(try made(.lz4, 0).starts(with: [0x04, 0x22, 0x4d, 0x18]))
        #expect(try made(.zstd, 19).count < made(.zstd, -7).count)
        #expect(try made(.lz4, 12).count < made(.lz4, 0).count)
    }

    @Test(
        "a damaged stream is an error or the block, never other data",
        arguments: CompressionAlgorithm.allCases)
    func damage(algorithm: CompressionAlgorithm) throws {
        let codec = try BlockCodec(blockSize: Self.blockSize, compression: Compression(algorithm))
        let content = Self.contents(Self.blockSize)[1]
        var (body, encoding, _) = try encode(codec, 1, content)
        var errors = 0
        for bit in 0..<body.count * 8 {
            body[bit / 8] ^= 1 << UInt8(bit % 8)
            do {
                #expect(try decode(codec, 1, body, encoding: encoding, signature: nil) == content)
            } catch {
                #expect((error as? CodecError)?.kind == .damaged)
                errors += 1
            }
            body[bit / 8] ^= 1 << UInt8(bit % 8)
        }
        // The few that may pass are bits that mean nothing.
        #expect(errors > body.count * 8 - 40, "\(errors) of \(body.count * 8)")
        func refused(_ body: [UInt8]) -> Bool {
            kind { _ = try decode(codec, 1, body, encoding: encoding, signature: nil) } == .damaged
        }
        for count in 0..<body.count { #expect(refused(Array(body[..<count])), "\(count)") }
        #expect(refused(body + [0]) && refused(body + body))
        for other in CompressionAlgorithm.allCases where other != algorithm {
            let found = kind {
                _ = try decode(codec, 1, body, encoding: other.rawValue, signature: nil)
            }
            #expect(found == .damaged)
        }
    }

    @Test("no more comes out than a block has", arguments: CompressionAlgorithm.allCases)
    func bombs(algorithm: CompressionAlgorithm) throws {
        let codec = BlockCodec.plain(blockSize: Self.blockSize)
        for size in [64, Self.blockSize / 2, 2 * Self.blockSize, 8 << 20] {
            let bomb = try encode(
                BlockCodec(blockSize: size, compression: Compression(algorithm)), 0,
                [UInt8](repeating: 0, count: size))
            let found = kind {
                _ = try decode(codec, 0, bomb.body, encoding: algorithm.rawValue, signature: nil)
            }
            #expect(found == .damaged, "\(size)")
        }
    }

    @Test("plain blocks have one length only")
    func lengths() throws {
        let codec = BlockCodec.plain(blockSize: 4096)
        #expect([1, 2].withUnsafeBytes { _ in codec.isEncoding } == false)
        for count in [0, 1, 4095, 4097, 8192] {
            let body = [UInt8](repeating: 1, count: count)
            let error = #expect(throws: CodecError.self) {
                try decode(codec, 1, body, encoding: nil, signature: nil)
            }
            #expect(error?.message == "has \(count) bytes instead of 4096")
        }
    }

    @Test(
        "encodings that do not exist are named, made safe for a line",
        arguments: [
            ("gzip", "gzip"), ("deflate, zstd", "deflate, zstd"),
            ("encrypt-AES-128-CBC, deflate", "encrypt-AES-128-CBC, deflate"), (",", ","),
            ("deflate,", "deflate,"), ("identity, deflate", "identity, deflate"),
            ("encrypt-", "encrypt-"), ("a\nb\u{1b}[0m", "a?b?[0m"),
            (String(repeating: "x", count: 9000), String(repeating: "x", count: 80)),
            ("encrypt-A, encrypt-B", "encrypt-A, encrypt-B"), ("br", "br"),
        ])
    func unknown(value: String, shown: String) throws {
        let codec = BlockCodec.plain(blockSize: 4096)
        let error = try #require(throws: CodecError.self) {
            try codec.head(encoding: value, signature: nil)
        }
        #expect(error.kind == .unknownEncoding)
        #expect(error.message == "has the unknown encoding \"\(shown)\"")
    }

    @Test("the default encoding counts where an object says nothing, and only there")
    func defaultEncoding() throws {
        let codec = try BlockCodec(
            blockSize: Self.blockSize, compression: Compression(.deflate),
            defaultEncoding: "deflate")
        let content = Self.contents(Self.blockSize)[1]
        let body = try encode(codec, 3, content).body
        for encoding in [nil, "", "deflate"] {
            #expect(try decode(codec, 3, body, encoding: encoding, signature: nil) == content)
        }
        #expect(try decode(codec, 3, content, encoding: "identity", signature: nil) == content)
        #expect(throws: CodecError.self) {
            try decode(codec, 3, content, encoding: nil, signature: nil)
        }
        #expect(throws: CodecError.self) {
            try BlockCodec(blockSize: 4096, defaultEncoding: "gzip")
        }
    }

    @Test("many threads at once")
    func threads() throws {
        let cipher = BlockCipher(
            try #require(Cipher(named: "AES-128-CBC")), password: SecretBytes("p"), salt: "b/",
            keyLength: nil)
        let contents = Self.contents(Self.blockSize)
        let codecs = try CompressionAlgorithm.allCases.map {
            try BlockCodec(
                blockSize: Self.blockSize, compression: Compression($0), encryption: cipher)
        }
        DispatchQueue.concurrentPerform(iterations: 400) { number in
            let codec = codecs[number % codecs.count]
            let content = contents[number % contents.count]
            guard let made = try? encode(codec, UInt64(number), content) else {
                Issue.record("no object")
                return
            }
            let again = try? decode(
                codec, UInt64(number), made.body, encoding: made.encoding,
                signature: made.signature)
            #expect(again == content)
        }
    }
}
