import BlockCodec
import BlockStore
import FileIO
import Foundation
import Logging
import S3IO
import S3TestServers
import Testing

/// Compressed and encrypted blocks on their way through requests.
@Suite struct EncodedBlockTests {
    static let blockSize = 4096

    /// A bucket that gives back what was put, with its headers.
    final class Vault: Sendable {
        struct Object {
            var headers: [String]
            var body: [UInt8]
        }

        let objects = Locked<[String: Object]>([:])
        /// Headers that this server does not keep.
        let dropped: Set<String>

        init(dropping dropped: Set<String> = []) { self.dropped = dropped }

        func answer(_ request: StubServer.Request) -> StubServer.Answer {
            objects.withLock { objects in
                if request.path.contains("?") { return Self.list(objects.keys.sorted()) }
                if request.method == "PUT" {
                    let kept = request.headers.filter {
                        $0.key.hasPrefix("x-amz-meta-") || $0.key == "content-encoding"
                    }
                    objects[request.path] = Object(
                        headers: kept.filter { !dropped.contains($0.key) }
                            .map { "\($0.key): \($0.value)" },
                        body: request.body)
                }
                guard let object = objects[request.path] else { return .status(404) }
                let body = request.method == "PUT" ? [] : object.body
                return .reply(
                    status: 200, headers: ["ETag: \"\(object.body.count)\""] + object.headers,
                    body: body)
            }
        }

        private static func list(_ paths: [String]) -> StubServer.Answer {
            let keys = paths.map {
                "<Contents><Key>\($0.dropFirst(5))</Key><Size>1</Size></Contents>"
            }
            return .status(
                200,
                "<ListBucketResult><IsTruncated>false</IsTruncated>\(keys.joined())"
                    + "</ListBucketResult>")
        }

        func change(_ key: String, _ body: (inout Object) -> Void) throws {
            try objects.withLock {
                var object = try #require($0["/bkt/" + key])
                body(&object)
                $0["/bkt/" + key] = object
            }
        }
    }

    final class Setup {
        let vault: Vault
        let stub: StubServer
        let client: S3Client

        init(_ vault: Vault = Vault()) throws {
            self.vault = vault
            stub = try StubServer { _, request in vault.answer(request) }
            let endpoint = try S3Endpoint(
                baseURL: stub.url, bucket: "bkt", region: "us-east-1", isVirtualHosted: false)
            client = S3Client(
                S3Configuration(
                    endpoint: endpoint, credentials: Credentials(accessID: "a", accessKey: "b")),
                logger: Logger(label: "test"))
        }

        deinit { stub.stop() }

        func store(_ codec: BlockCodec) -> S3Store {
            S3Store(client: client, prefix: "p/", blockCount: 16, codec: codec)
        }

        func check(_ codec: BlockCodec) throws -> EncodingCheck.Verdict {
            try EncodingCheck(client: client, prefix: "p/", codec: codec, blockCount: 16).run()
        }
    }

    static func codec(
        _ algorithm: CompressionAlgorithm? = .deflate, password: String? = nil,
        cipher: String = "AES-128-CBC", defaultEncoding: String? = nil
    ) throws -> BlockCodec {
        try BlockCodec(
            blockSize: blockSize, compression: algorithm.map { Compression($0) },
            encryption: password.map {
                BlockCipher(
                    try #require(Cipher(named: cipher)), password: SecretBytes($0),
                    salt: "bkt/p/", keyLength: nil)
            }, defaultEncoding: defaultEncoding)
    }

    static func text(_ seed: UInt8) -> [UInt8] {
        (0..<blockSize).map { UInt8(truncatingIfNeeded: $0 / 3) ^ seed }
    }

    static func random() -> [UInt8] { SystemRandom.bytes(blockSize) }

    static func put(_ store: S3Store, _ block: UInt64, _ bytes: [UInt8]) throws -> ObjectVersion {
        try bytes.withUnsafeBytes { try store.put(block, $0) }
    }

    static func get(
        _ store: S3Store, _ block: UInt64
    ) throws -> (bytes: [UInt8], version: ObjectVersion) {
        var target = [UInt8](repeating: 0xee, count: blockSize)
        let version = try target.withUnsafeMutableBytes { try store.get(block, into: $0) }
        return (target, version)
    }

    @Test("a block is sent encoded, with the digest of what is sent", arguments: [nil, "pw"])
    func put(password: String?) throws {
        let setup = try Setup()
        let store = setup.store(try Self.codec(password: password))
        let version = try Self.put(store, 3, Self.text(1))
        let request = try #require(setup.stub.requests.first)
        #expect(request.body.count < Self.blockSize && version == .tag("\(request.body.count)"))
        let md5 = request.body.withUnsafeBytes { Digest.base64(Digest.md5($0)) }
        #expect(request.headers["content-md5"] == md5)
        let encoding = password == nil ? "deflate" : "deflate, encrypt-AES-128-CBC"
        #expect(request.headers["content-encoding"] == encoding)
        let signature = request.headers["x-amz-meta-s3backer-hmac"]
        #expect((signature == nil) == (password == nil))
        if let signature {
            #expect(signature.wholeMatch(of: /"[0-9a-f]{40}"/) != nil, "\(signature)")
        }
        let found = try Self.get(store, 3)
        #expect(found.bytes == Self.text(1) && found.version == version)
        #expect(try store.head(3) == version)
        // The engine knows its own uploads again by the digest of the block.
        #expect(try Self.get(store, 4).version == .absent)
    }

    @Test(
        "encoded blocks are put with the headers of the real s3backer, signature included",
        arguments: [
            ("15-v4-PUT-block-comp.txt", "deflate.bin"),
            ("15-v4-PUT-block-enc.txt", "enc-aes128.bin"),
        ])
    func trace(name: String, file: String) throws {
        let trace = try Golden.Trace(name)
        let client = try GoldenTests.client()
        let prefix = String(trace.path.dropFirst(5).dropLast(8))
        let store = S3Store(client: client, prefix: prefix, blockSize: 4096, blockCount: 16)
        let body = try Golden.bytes(file)
        let buffer = AlignedBuffer(body.count)
        buffer.mutableBytes.copyBytes(from: body)
        let signature = trace["x-amz-meta-s3backer-hmac"]
        let encoded = BlockCodec.Encoded(
            buffer: buffer, count: body.count, encoding: trace["content-encoding"],
            signature: signature.isEmpty ? nil : signature)
        let request = store.putRequest(0, encoded.bytes, encoded)
        #expect(request.path == trace.path)
        let lines = try client.headerLines(request, at: trace.seconds)
        #expect(GoldenTests.sent(lines) == GoldenTests.recorded(trace))
    }

    @Test("a plain mount reads what others have encoded, and what is longer than a block")
    func plainMount() throws {
        let setup = try Setup()
        let plain = setup.store(.plain(blockSize: Self.blockSize))
        let noise = Self.random()
        for (index, algorithm) in CompressionAlgorithm.allCases.enumerated() {
            let other = setup.store(try Self.codec(algorithm))
            _ = try Self.put(other, UInt64(index), Self.text(UInt8(index)))
            _ = try Self.put(other, UInt64(index) + 8, noise)
        }
        _ = try Self.put(plain, 15, Self.text(15))
        func requests(_ block: UInt64, _ bytes: [UInt8]) throws -> Int {
            let before = setup.stub.requests.count
            #expect(try Self.get(plain, block).bytes == bytes)
            return setup.stub.requests.count - before
        }
        // What does not fit where the block goes is fetched once more, the first time.
        #expect(try requests(8, noise) == 2)
        #expect(try requests(9, noise) == 1)
        for block in UInt64(0)..<3 { #expect(try requests(block, Self.text(UInt8(block))) == 1) }
        #expect(try requests(15, Self.text(15)) == 1)
        #expect(try requests(1, Self.text(1)) == 1)
        #expect(try requests(15, Self.text(15)) == 1)
        #expect(try requests(10, noise) == 2)
    }

    @Test(
        "a part of an encoded block comes out of the whole, in one request where that is expected")
    func parts() throws {
        let setup = try Setup()
        let encrypted = setup.store(try Self.codec(password: "pw"))
        let version = try Self.put(encrypted, 3, Self.text(3))
        func part(_ store: S3Store, _ condition: ReadCondition) throws -> (ReadAnswer, [UInt8]) {
            var target = [UInt8](repeating: 0xee, count: 100)
            let answer = try target.withUnsafeMutableBytes {
                try store.read(3, 500..<600, into: $0, condition)
            }
            return (answer, target)
        }
        let before = setup.stub.requests.count
        let found = try part(encrypted, .always)
        #expect(found.0 == .content(version) && found.1 == Array(Self.text(3)[500..<600]))
        #expect(setup.stub.requests.count == before + 1)
        #expect(setup.stub.requests.last?.headers["range"] == nil)
        #expect(try part(encrypted, .unlessKnown(version)).0 == .unchanged)
        #expect(setup.stub.requests.last?.headers["if-none-match"] != nil)
        // Who does not expect it, asks for the part first.
        _ = try Self.put(setup.store(try Self.codec(.zstd)), 3, Self.text(4))
        let plain = setup.store(.plain(blockSize: Self.blockSize))
        for requests in [2, 1] {
            let before = setup.stub.requests.count
            #expect(try part(plain, .always).1 == Array(Self.text(4)[500..<600]))
            #expect(setup.stub.requests.count == before + requests)
        }
    }

    @Test("damage is an error that names block and object, without another try and without data")
    func damage() throws {
        let setup = try Setup()
        let store = setup.store(try Self.codec(password: "pw"))
        let changes: [(String, (inout Vault.Object) -> Void)] = [
            (
                "has an incorrect signature (did you provide the right password?)",
                { $0.body[9] ^= 1 }
            ),
            (
                "was supposed to be encrypted but wasn't",
                { $0 = .init(headers: [], body: Self.text(1)) }
            ),
            (
                "is encrypted, but has no signature",
                { $0.headers.removeAll { $0.contains("hmac") } }
            ),
            (
                "has a signature but no Content-Encoding",
                { $0.headers.removeAll { $0.contains("encoding") } }
            ),
            (
                "is encrypted with AES-256-CBC instead of AES-128-CBC",
                {
                    $0.headers = $0.headers.map { $0.replacingOccurrences(of: "128", with: "256") }
                }
            ),
            ("has 8193 bytes instead of 4096", { $0.body = [UInt8](repeating: 1, count: 8193) }),
            ("has the unknown encoding \"gzip\"", { $0.headers = ["Content-Encoding: gzip"] }),
        ]
        for (message, change) in changes {
            _ = try Self.put(store, 5, Self.text(5))
            try setup.vault.change("p/00000005", change)
            let before = setup.stub.requests.count
            let error = try #require(throws: StoreError.self) { try Self.get(store, 5) }
            #expect(error.kind == .damaged && error.block == 5)
            let start = "block 5: object \(setup.stub.url)bkt/p/00000005 "
            #expect(error.message.hasPrefix(start + message), "\(error.message)")
            #expect(setup.stub.requests.count == before + 1)
        }
        _ = try Self.put(store, 6, Self.text(6))
        #expect(try Self.get(store, 6).bytes == Self.text(6))
    }

    @Test("a server that drops Content-Encoding is read with the default one")
    func defaultEncoding() throws {
        let setup = try Setup(Vault(dropping: ["content-encoding"]))
        let encoding = "deflate, encrypt-AES-128-CBC"
        _ = try Self.put(setup.store(try Self.codec(password: "pw")), 2, Self.text(2))
        let store = setup.store(try Self.codec(password: "pw", defaultEncoding: encoding))
        #expect(try Self.get(store, 2).bytes == Self.text(2))
        let without = setup.store(try Self.codec(password: "pw"))
        let error = try #require(throws: StoreError.self) { try Self.get(without, 2) }
        #expect(error.message.contains("--defaultContentEncoding"))
    }

    // MARK: The check at start

    func failure(_ verdict: EncodingCheck.Verdict) -> (place: String, kind: CodecError.Kind)? {
        if case .unreadable(let place, let error) = verdict { return (place, error.kind) }
        return nil
    }

    @Test("the password is checked with block 0, or with what a listing finds among foreign keys")
    func passwordCheck() throws {
        for block in [UInt64(0), 7] {
            let setup = try Setup()
            let right = try Self.codec(password: "pw")
            guard case .empty = try setup.check(right) else {
                Issue.record("not empty")
                return
            }
            let foreign = ["p/0000000G", "p/000000001", "p/00000010", "p/0000000a.x", "q/00000001"]
            setup.vault.objects.withLock { objects in
                for key in foreign { objects["/bkt/" + key] = .init(headers: [], body: [1]) }
            }
            guard case .empty = try setup.check(right) else {
                Issue.record("not empty")
                return
            }
            _ = try Self.put(setup.store(right), block, Self.text(1))
            let place = "\(setup.stub.url)bkt/p/0000000\(block)"
            guard case .readable(place) = try setup.check(right) else {
                Issue.record("not readable")
                return
            }
            let wrong = failure(try setup.check(try Self.codec(password: "PW")))
            #expect(wrong?.place == place && wrong?.kind == .signature)
            let none = failure(try setup.check(.plain(blockSize: Self.blockSize)))
            #expect(none?.place == place && none?.kind == .needsPassword)
            let other = try Self.codec(password: "pw", cipher: "AES-256-CBC")
            #expect(failure(try setup.check(other))?.kind == .otherCipher)
        }
    }

    @Test("one damaged block does not make a password wrong, and is no proof that it is right")
    func damagedSample() throws {
        let setup = try Setup()
        let right = try Self.codec(password: "pw")
        let store = setup.store(right)
        for block in UInt64(0)..<3 { _ = try Self.put(store, block, Self.text(1)) }
        for key in ["p/00000000", "p/00000001"] { try setup.vault.change(key) { $0.body[0] ^= 1 } }
        guard case .readable(let place) = try setup.check(right) else {
            Issue.record("not readable")
            return
        }
        #expect(place.hasSuffix("p/00000002"))
        let wrong = failure(try setup.check(try Self.codec(password: "no")))
        #expect(wrong?.place.hasSuffix("p/00000000") == true)
        // What is too long was not even looked at.
        for block in UInt64(0)..<3 {
            try setup.vault.change("p/0000000\(block)") {
                $0.body = [UInt8](repeating: 1, count: 10_000)
            }
        }
        #expect(failure(try setup.check(right))?.kind == .damaged)
    }

    @Test("a volume that is not encrypted is not taken for one, and encodings do not matter")
    func plainVolume() throws {
        for algorithm in [nil, CompressionAlgorithm.zstd] {
            let setup = try Setup()
            _ = try Self.put(setup.store(try Self.codec(algorithm)), 4, Self.text(1))
            let found = failure(try setup.check(try Self.codec(password: "pw")))
            #expect(found?.kind == .notEncrypted && found?.place.hasSuffix("p/00000004") == true)
            guard case .readable = try setup.check(.plain(blockSize: Self.blockSize)) else {
                Issue.record("not readable")
                return
            }
        }
    }
}
