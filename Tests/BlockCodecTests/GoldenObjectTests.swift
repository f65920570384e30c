import BlockCodec
import BlockStore
import Testing

/// Objects of the real s3backer, byte for byte.
@Suite struct GoldenObjectTests {
    @Test("all objects are there")
    func count() { #expect(GoldenObject.all.count == 12 && GoldenObject.encrypted.count == 7) }

    @Test("every object decodes to its block", arguments: GoldenObject.all)
    func decoding(object: GoldenObject) throws {
        let block = try decode(
            object.codec(), object.block, object.body(), encoding: object.encoding,
            signature: object.signature)
        #expect(block == object.plain)
    }

    @Test("keys, initialisation vector and signature", arguments: GoldenObject.encrypted)
    func derivation(object: GoldenObject) throws {
        let cipher = try #require(try object.blockCipher())
        #expect(cipher.key.hexText == object.key)
        #expect(cipher.ivKey.hexText == object.ivkey)
        #expect(Digest.hex(cipher.iv(object.block)).hasPrefix(try #require(object.iv)))
        let signature = try object.body().withUnsafeBytes { cipher.sign(object.block, $0) }
        #expect(Digest.hex(signature) == object.hmac)
        #expect(object.salt == object.bucket + "/" + object.prefix)
    }

    @Test(
        "a recorded stream encrypted again is the recorded object",
        arguments: GoldenObject.encrypted)
    func encryption(object: GoldenObject) throws {
        let cipher = try #require(try object.blockCipher())
        var body = try object.body()
        let count = try #require(body.withUnsafeMutableBytes { cipher.decrypt(object.block, $0) })
        #expect(count < body.count)
        var again = Array(body[..<count]) + [UInt8](repeating: 0, count: BlockCipher.paddingMax)
        let now = again.withUnsafeMutableBytes {
            cipher.encrypt(object.block, $0, count: count)
        }
        #expect(Array(again[..<now]) == (try object.body()))
    }

    /// Of block 0 with the same options there are the compressed and the encrypted object.
    @Test(
        "a recorded deflate stream gives the recorded encrypted object",
        arguments: ["enc-aes128.bin", "enc-aes256.bin", "enc-des3.bin", "enc-aes128-key64.bin"])
    func composition(file: String) throws {
        let object = try GoldenObject.named(file)
        let cipher = try #require(try object.blockCipher())
        let stream = try GoldenObject.named("deflate.bin").body()
        var body = stream + [UInt8](repeating: 0, count: BlockCipher.paddingMax)
        let count = body.withUnsafeMutableBytes {
            cipher.encrypt(object.block, $0, count: stream.count)
        }
        #expect(Array(body[..<count]) == (try object.body()))
    }

    @Test("what is written has the headers of the real one", arguments: GoldenObject.all)
    func headers(object: GoldenObject) throws {
        guard object.encoding != nil else { return }
        let algorithm: CompressionAlgorithm = object.options.contains("zstd") ? .zstd : .deflate
        let codec = try BlockCodec(
            blockSize: GoldenObject.blockSize, compression: Compression(algorithm),
            encryption: object.blockCipher())
        let made = try encode(codec, object.block, object.plain)
        #expect(made.encoding == object.encoding)
        #expect(made.signature?.count == object.signature?.count)
        #expect(made.signature?.hasPrefix("\"") ?? (object.signature == nil))
        let again = try decode(
            codec, object.block, made.body, encoding: made.encoding, signature: made.signature)
        #expect(again == object.plain)
    }

    @Test("ciphers under other names, and what is none")
    func ciphers() throws {
        for name in ["aes-256-cbc", "AES256", "aes256"] {
            #expect(Cipher(named: name)?.name == "AES-256-CBC")
        }
        #expect(Cipher(named: "des-ede3-cbc")?.keyLength == 24)
        #expect(Cipher(named: "camellia-256-cbc")?.isSafe == true)
        // Out of the provider of old ones.
        #expect(Cipher(named: "bf-cbc")?.isSafe == true)
        for name in ["AES-128-CTR", "AES-128-OFB", "AES-128-CFB", "AES-128-ECB"] {
            #expect(Cipher(named: name)?.isSafe == false, "\(name)")
        }
        for name in [
            "", "AES-128-GCM", "AES-128-CCM", "AES-128-XTS", "id-aes128-wrap", "ChaCha20-Poly1305",
            "AES-128-CBC-HMAC-SHA1", "SHA256", "NULL", "no such one",
        ] {
            #expect(Cipher(named: name) == nil, "\(name)")
        }
    }

    @Test("every cipher that is taken works, or at least fails cleanly")
    func allCiphers() throws {
        let families = [
            "AES-128", "AES-256", "ARIA-192", "BF", "CAMELLIA-128", "CAST5", "DES", "DES-EDE",
            "DES-EDE3", "DESX", "IDEA", "RC2", "RC2-40", "RC4", "SEED", "SM4", "ChaCha20", "NULL",
        ]
        let modes = [
            "", "-CBC", "-CBC-CTS", "-CCM", "-CFB", "-CFB1", "-CFB8", "-CTR", "-ECB", "-GCM",
            "-GCM-SIV", "-OCB", "-OFB", "-Poly1305", "-SIV", "-WRAP", "-XTS",
        ]
        let plain = try GoldenObject.named("plain.bin").body()
        var usable = 0
        for name in families.flatMap({ family in modes.map { family + $0 } }) {
            guard let cipher = Cipher(named: name) else { continue }
            let codec = try BlockCodec(
                blockSize: plain.count, compression: Compression(.deflate),
                encryption: BlockCipher(
                    cipher, password: SecretBytes("p"), salt: "b/", keyLength: nil))
            if cipher.isSafe {
                let made = try encode(codec, 9, plain)
                let again = try decode(
                    codec, 9, made.body, encoding: made.encoding, signature: made.signature)
                #expect(again == plain, "\(name)")
                usable += 1
                continue
            }
            let encryption = try #require(codec.encryption)
            let signature = plain.withUnsafeBytes { encryption.sign(9, $0) }
            let found = kind {
                _ = try decode(
                    codec, 9, plain, encoding: "deflate, encrypt-" + cipher.name,
                    signature: Digest.hex(signature))
            }
            #expect(found == .damaged, "\(name)")
        }
        #expect(usable >= 12)
    }

    @Test("keys are wiped")
    func wiped() {
        let secret = SecretBytes("password")
        #expect(secret == SecretBytes("password") && secret != SecretBytes("passwort"))
        secret.wipe()
        #expect(secret.withBytes { $0.allSatisfy { $0 == 0 } })
    }
}
