import BlockStore
import FileIO

/// Makes bodies of objects from blocks and the other way round. Calls come from any thread, take
/// processor time only, and need one buffer each.
public final class BlockCodec: Sendable {
    public let blockSize: Int
    /// Longer bodies are no blocks.
    public let bodyBytesMax: Int
    /// What happens to blocks that are written; nil: nothing.
    public let compression: Compression?
    public let encryption: BlockCipher?

    /// Of objects that say nothing.
    private let defaultEncoding: String?

    /// A block on its way into the store.
    public struct Encoded {
        /// Keeps the bytes alive.
        public let buffer: AlignedBuffer
        public let count: Int
        /// `Content-Encoding`.
        public let encoding: String
        /// Forty hexadecimal digits in double quotes; nil when not encrypted.
        public let signature: String?

        package init(buffer: AlignedBuffer, count: Int, encoding: String, signature: String?) {
            self.buffer = buffer
            self.count = count
            self.encoding = encoding
            self.signature = signature
        }

        /// Valid as long as this lives.
        public var bytes: UnsafeRawBufferPointer { buffer.slice(0..<count) }
    }

    /// What an object says about its body, found acceptable.
    public struct Head {
        let layers: EncodingLayers
        let signature: [UInt8]
        /// The body is the block.
        public var isPlain: Bool { layers.isEmpty }
    }

    /// - Parameters:
    ///   - encryption: Where given, there is compression, too; the real s3backer has no other.
    ///   - defaultEncoding: `Content-Encoding` of objects without one, for servers that drop it.
    /// - Throws: `.unknownEncoding` for a bad `defaultEncoding`.
    public init(
        blockSize: Int, compression: Compression? = nil, encryption: BlockCipher? = nil,
        defaultEncoding: String? = nil
    ) throws(CodecError) {
        precondition(blockSize > 0)
        self.blockSize = blockSize
        // Room for the worst that a compressor may make of random bytes, ours or another one.
        bodyBytesMax = 2 * max(blockSize, 512)
        for algorithm in CompressionAlgorithm.allCases {
            precondition(algorithm.bound(blockSize) + BlockCipher.paddingMax <= bodyBytesMax)
        }
        self.compression = compression
        self.encryption = encryption
        self.defaultEncoding = defaultEncoding
        if let defaultEncoding { _ = try Self.layers(defaultEncoding) }
    }

    /// Blocks are stored as they are; what is compressed is read.
    public static func plain(blockSize: Int) -> BlockCodec {
        // Throws for a default encoding only.
        do { return try BlockCodec(blockSize: blockSize) } catch { fatalError("\(error)") }
    }

    /// Whether blocks become something else than they are.
    public var isEncoding: Bool { compression != nil || encryption != nil }

    /// The number of a block in signatures, initialisation vectors and keys.
    package static func digits(_ block: UInt64) -> [UInt8] {
        precondition(block < BlockKeys.blocksMax)
        return Array(BlockKeys.text(UInt32(block)).utf8)
    }

    // MARK: Encoding

    /// - Parameter source: `blockSize` bytes.
    /// - Returns: nil when the block is stored as it is.
    public func encode(_ block: UInt64, _ source: UnsafeRawBufferPointer) -> Encoded? {
        precondition(source.count == blockSize)
        guard isEncoding else { return nil }
        let buffer = AlignedBuffer(bodyBytesMax)
        var count = source.count
        if let compression {
            count = compression.compress(source, into: buffer.mutableBytes)
        } else {
            buffer.mutableBytes.copyMemory(from: source)
        }
        var signature: String?
        if let encryption {
            precondition(encryption.cipher.isSafe, "this cipher is for reading only")
            count = encryption.encrypt(block, buffer.mutableBytes, count: count)
            signature = "\"\(Digest.hex(encryption.sign(block, buffer.slice(0..<count))))\""
        }
        let layers = EncodingLayers(
            compression: compression?.algorithm, cipher: encryption?.cipher.name)
        return Encoded(
            buffer: buffer, count: count, encoding: layers.header ?? "", signature: signature)
    }

    // MARK: Decoding

    /// Checks all that can be said without the body.
    ///
    /// - Parameters:
    ///   - encoding: `Content-Encoding`; nil or empty: the default.
    ///   - signature: The metadata field; nil: there is none.
    public func head(encoding: String?, signature: String?) throws(CodecError) -> Head {
        let given = encoding.flatMap { $0.isEmpty ? nil : $0 }
        let layers = try Self.layers(given ?? defaultEncoding ?? "")
        guard let encryption else {
            if let cipher = layers.cipher {
                throw CodecError(
                    .needsPassword, "is encrypted (\(Self.shown(cipher))); use --encrypt",
                    cipher: Self.shown(cipher))
            }
            if signature != nil { throw Self.lostEncoding }
            return Head(layers: layers, signature: [])
        }
        guard let cipher = layers.cipher else {
            if signature != nil && given == nil { throw Self.lostEncoding }
            throw CodecError(.notEncrypted, "was supposed to be encrypted but wasn't")
        }
        if cipher.uppercased() != encryption.cipher.name.uppercased() {
            throw CodecError(
                .otherCipher,
                "is encrypted with \(Self.shown(cipher)) instead of \(encryption.cipher.name)",
                cipher: Self.shown(cipher))
        }
        guard let signature else {
            throw CodecError(.signature, "is encrypted, but has no signature")
        }
        guard let bytes = Self.signatureBytes(signature) else {
            throw CodecError(.signature, "has something else than a signature in its place")
        }
        return Head(layers: layers, signature: bytes)
    }

    private static var lostEncoding: CodecError {
        CodecError(
            .needsPassword,
            "has a signature but no Content-Encoding; if the server drops it, "
                + "use --defaultContentEncoding")
    }

    /// Makes a block of a body, or fails without having written anything that counts.
    ///
    /// - Parameters:
    ///   - body: The whole body; may be changed.
    ///   - target: `blockSize` bytes, apart from `body` or, for a plain object, the same.
    public func decode(
        _ block: UInt64, _ head: Head, _ body: UnsafeMutableRawBufferPointer,
        into target: UnsafeMutableRawBufferPointer
    ) throws(CodecError) {
        precondition(target.count == blockSize)
        var body = body
        if let encryption, head.layers.cipher != nil {
            if !encryption.isSigned(block, UnsafeRawBufferPointer(body), with: head.signature) {
                throw CodecError(
                    .signature, "has an incorrect signature (did you provide the right password?)")
            }
            guard let count = encryption.decrypt(block, body) else {
                throw CodecError(.damaged, "cannot be decrypted")
            }
            body = UnsafeMutableRawBufferPointer(rebasing: body[..<count])
        }
        if let algorithm = head.layers.compression {
            if !algorithm.decompress(UnsafeRawBufferPointer(body), into: target) {
                throw CodecError(
                    .damaged,
                    "does not decompress (\(algorithm.rawValue)) to a block of \(blockSize) bytes")
            }
            return
        }
        if body.count != blockSize { throw wrongLength(body.count) }
        if body.baseAddress != target.baseAddress {
            target.copyMemory(from: UnsafeRawBufferPointer(body))
        }
    }

    /// The error for a body of another length than that of a block.
    package func wrongLength(_ count: Int) -> CodecError {
        CodecError(.damaged, "has \(count) bytes instead of \(blockSize)")
    }

    private static func layers(_ value: String) throws(CodecError) -> EncodingLayers {
        if let layers = EncodingLayers(value) { return layers }
        throw CodecError(.unknownEncoding, "has the unknown encoding \"\(shown(value))\"")
    }

    /// What a server says, made safe for one line.
    private static func shown(_ text: String) -> String {
        let printable = text.unicodeScalars.map { (0x20...0x7e).contains($0.value) ? $0 : "?" }
        var result = String.UnicodeScalarView()
        result.append(contentsOf: printable.prefix(80))
        return String(result)
    }

    /// Lower-case digits, with or without double quotes around them; nil for anything else.
    private static func signatureBytes(_ text: String) -> [UInt8]? {
        var digits = Array(text.utf8)[...]
        if digits.count >= 2, digits.first == 0x22, digits.last == 0x22 {
            digits = digits.dropFirst().dropLast()
        }
        guard digits.count == 2 * BlockCipher.signatureBytes else { return nil }
        var bytes: [UInt8] = []
        for (index, digit) in digits.enumerated() {
            let value: UInt8
            switch digit {
            case 0x30...0x39: value = digit - 0x30
            case 0x61...0x66: value = digit - 0x61 + 10
            default: return nil
            }
            if index % 2 == 0 { bytes.append(value << 4) } else { bytes[index / 2] |= value }
        }
        return bytes
    }
}
