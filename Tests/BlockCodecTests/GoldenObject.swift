import BlockCodec
import BlockStore
import Foundation
import Testing

/// An object that the real s3backer has written, as Tests/Golden/s3/README.md describes it.
struct GoldenObject: Decodable, CustomTestStringConvertible {
    var file: String
    var bucket: String
    var prefix: String
    var block: UInt64
    var key: String
    var options: String
    var headers: [String: String]
    var password: String?
    var cipher: String?
    var salt: String?
    var ivkey: String?
    var iv: String?
    var hmac: String?

    static let blockSize = 4096

    static let all: [GoldenObject] = {
        struct Manifest: Decodable { var objects: [GoldenObject] }
        let data = try? Data(contentsOf: URL(fileURLWithPath: directory + "/manifest.json"))
        return data.flatMap { try? JSONDecoder().decode(Manifest.self, from: $0) }?.objects ?? []
    }()
    static let encrypted = all.filter { $0.cipher != nil }

    static func named(_ file: String) throws -> GoldenObject {
        try #require(all.first { $0.file == file })
    }

    private static let directory =
        URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().path + "/Golden/s3"

    var testDescription: String { file }
    var encoding: String? { headers["content-encoding"] }
    var signature: String? { headers["x-amz-meta-s3backer-hmac"] }

    func body() throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: Self.directory + "/" + file)))
    }

    /// What the block holds.
    var plain: [UInt8] {
        (0..<Self.blockSize).map {
            UInt8(truncatingIfNeeded: 7 * $0 + 13 * Int(block) + $0 >> 8)
        }
    }

    /// As a mount with the options of the object has it.
    func blockCipher(password other: String? = nil) throws -> BlockCipher? {
        guard let cipher, let password else { return nil }
        return BlockCipher(
            try #require(Cipher(named: cipher)), password: SecretBytes(other ?? password),
            salt: bucket + "/" + prefix, keyLength: options.contains("keyLength=64") ? 64 : nil)
    }

    func codec(password other: String? = nil) throws -> BlockCodec {
        try BlockCodec(
            blockSize: Self.blockSize, compression: Compression(.deflate),
            encryption: blockCipher(password: other))
    }
}

/// Decodes into memory with a margin that must stay as it is.
func decode(
    _ codec: BlockCodec, _ block: UInt64, _ body: [UInt8], encoding: String?, signature: String?
) throws -> [UInt8] {
    let margin = 4096
    var memory = [UInt8](repeating: 0xa5, count: codec.blockSize + 2 * margin)
    var body = body
    let head = try codec.head(encoding: encoding, signature: signature)
    try memory.withUnsafeMutableBytes { memory in
        let target = UnsafeMutableRawBufferPointer(
            rebasing: memory[margin..<margin + codec.blockSize])
        try body.withUnsafeMutableBytes { try codec.decode(block, head, $0, into: target) }
    }
    #expect(memory.prefix(margin).allSatisfy { $0 == 0xa5 })
    #expect(memory.suffix(margin).allSatisfy { $0 == 0xa5 })
    return Array(memory[margin..<margin + codec.blockSize])
}

func encode(_ codec: BlockCodec, _ block: UInt64, _ plain: [UInt8]) throws -> (
    body: [UInt8], encoding: String, signature: String?
) {
    let encoded = try #require(plain.withUnsafeBytes { codec.encode(block, $0) })
    return (Array(encoded.bytes), encoded.encoding, encoded.signature)
}

/// The kind of error of a call; nil when there was none.
func kind(_ body: () throws -> Void) -> CodecError.Kind? {
    do {
        try body()
        return nil
    } catch {
        return (error as? CodecError)?.kind
    }
}

extension SecretBytes {
    var hexText: String { withBytes { Digest.hex(Array($0)) } }
}
