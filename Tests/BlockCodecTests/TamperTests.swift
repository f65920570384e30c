import BlockCodec
import Foundation
import Testing

/// Encrypted objects that somebody has changed.
@Suite struct TamperTests {
    static let object = try? GoldenObject.named("enc-aes128-b5.bin")

    /// The kind of error of a changed object; nil: it was taken for good.
    func verdict(
        _ codec: BlockCodec, _ block: UInt64, _ body: [UInt8], _ encoding: String?,
        _ signature: String?
    ) -> CodecError.Kind? {
        kind { _ = try decode(codec, block, body, encoding: encoding, signature: signature) }
    }

    @Test("every single flipped bit of the body is noticed", arguments: GoldenObject.encrypted)
    func body(object: GoldenObject) throws {
        let codec = try object.codec()
        var body = try object.body()
        var refused = 0
        for bit in 0..<body.count * 8 {
            body[bit / 8] ^= 1 << UInt8(bit % 8)
            let found = verdict(codec, object.block, body, object.encoding, object.signature)
            if found == .signature { refused += 1 }
            body[bit / 8] ^= 1 << UInt8(bit % 8)
        }
        #expect(refused == body.count * 8)
        #expect(verdict(codec, object.block, body, object.encoding, object.signature) == nil)
    }

    @Test("every single flipped bit of the signature is noticed")
    func signature() throws {
        let object = try #require(Self.object)
        let codec = try object.codec()
        let body = try object.body()
        let text = Array(try #require(object.signature).utf8)
        #expect(text.count == 42)
        for bit in 0..<text.count * 8 {
            var changed = text
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            let shown = String(decoding: changed, as: UTF8.self)
            #expect(
                verdict(codec, 5, body, object.encoding, shown) == .signature, "\(shown)")
        }
    }

    @Test("every other length, and an object of another block, is noticed")
    func numbers() throws {
        let object = try #require(Self.object)
        let codec = try object.codec()
        let body = try object.body()
        for count in 0..<body.count {
            let cut = Array(body[..<count])
            #expect(verdict(codec, 5, cut, object.encoding, object.signature) == .signature)
        }
        #expect(verdict(codec, 5, body + [0], object.encoding, object.signature) == .signature)
        for bit in 0..<32 {
            let block = UInt64(5) ^ UInt64(1) << UInt64(bit)
            #expect(
                verdict(codec, block, body, object.encoding, object.signature) == .signature)
        }
    }

    @Test("another cipher name is noticed, however it is written")
    func cipherName() throws {
        let object = try #require(Self.object)
        let codec = try object.codec()
        let body = try object.body()
        let encoding = Array(try #require(object.encoding).utf8)
        let start = encoding.count - "AES-128-CBC".utf8.count
        for bit in start * 8..<encoding.count * 8 {
            var changed = encoding
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            let text = String(decoding: changed, as: UTF8.self)
            let found = verdict(codec, 5, body, text, object.signature)
            let isSame = text.lowercased() == object.encoding?.lowercased()
            #expect((found == nil) == isSame, "\(text): \(String(describing: found))")
        }
        // Who changes both sides is stopped by the signature.
        let other = BlockCipher(
            try #require(Cipher(named: "CAMELLIA-128-CBC")), password: SecretBytes("test"),
            salt: object.bucket + "/" + object.prefix, keyLength: nil)
        let wrong = try BlockCodec(blockSize: GoldenObject.blockSize, encryption: other)
        let text = "deflate, encrypt-CAMELLIA-128-CBC"
        #expect(verdict(wrong, 5, body, text, object.signature) == .signature)
    }

    @Test("password, salt and derived length are part of the key")
    func password() throws {
        let object = try #require(Self.object)
        let body = try object.body()
        for password in ["Test", "test ", "", "tes"] {
            let codec = try object.codec(password: password)
            #expect(verdict(codec, 5, body, object.encoding, object.signature) == .signature)
        }
        let cipher = try #require(Cipher(named: "AES-128-CBC"))
        for (salt, length) in [("s3b/enc15", nil), ("s3b/enc15/", 17), ("S3b/enc15/", nil)] {
            let codec = try BlockCodec(
                blockSize: GoldenObject.blockSize,
                encryption: BlockCipher(
                    cipher, password: SecretBytes("test"), salt: salt, keyLength: length))
            #expect(verdict(codec, 5, body, object.encoding, object.signature) == .signature)
        }
    }

    /// The header's compression is not signed.
    @Test("another compression in the header is damage, never data")
    func compression() throws {
        let object = try #require(Self.object)
        let codec = try object.codec()
        let body = try object.body()
        for encoding in [
            "encrypt-AES-128-CBC", "zstd, encrypt-AES-128-CBC", "lz4,encrypt-AES-128-CBC",
        ] {
            #expect(verdict(codec, 5, body, encoding, object.signature) == .damaged, "\(encoding)")
        }
        let twice = "deflate, deflate, encrypt-AES-128-CBC"
        #expect(verdict(codec, 5, body, twice, object.signature) == .unknownEncoding)
    }

    @Test("with encryption nothing else is taken, without it nothing encrypted")
    func missing() throws {
        let object = try #require(Self.object)
        let codec = try object.codec()
        let body = try object.body()
        #expect(verdict(codec, 5, object.plain, nil, nil) == .notEncrypted)
        #expect(verdict(codec, 5, object.plain, "identity", object.signature) == .notEncrypted)
        #expect(verdict(codec, 5, body, "deflate", object.signature) == .notEncrypted)
        #expect(verdict(codec, 5, body, object.encoding, nil) == .signature)
        #expect(verdict(codec, 5, body, object.encoding, "") == .signature)
        #expect(verdict(codec, 5, body, nil, object.signature) == .needsPassword)
        let open = BlockCodec.plain(blockSize: GoldenObject.blockSize)
        #expect(verdict(open, 5, body, object.encoding, object.signature) == .needsPassword)
        #expect(verdict(open, 5, object.plain, nil, object.signature) == .needsPassword)
        #expect(verdict(open, 5, object.plain, nil, nil) == nil)
    }

    @Test("a signature with or without quotes, names in any case, blanks or none")
    func spellings() throws {
        let object = try #require(Self.object)
        let codec = try object.codec()
        let body = try object.body()
        let bare = try #require(object.hmac)
        for encoding in [
            "deflate,encrypt-AES-128-CBC", "DEFLATE ,\t Encrypt-aes-128-cbc",
            " deflate, encrypt-AES-128-CBC ",
        ] {
            for signature in [bare, "\"\(bare)\""] {
                let block = try decode(
                    codec, 5, body, encoding: encoding, signature: signature)
                #expect(block == object.plain)
            }
        }
        for signature in [
            "\"\(bare)", bare.uppercased(), bare + "0", "\"\"\(bare)\"\"", " \(bare)",
        ] {
            #expect(verdict(codec, 5, body, object.encoding, signature) == .signature)
        }
    }
}
