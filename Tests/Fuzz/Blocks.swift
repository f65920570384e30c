// Objects as blocks: headers and bodies. Whatever comes, it is an error or a whole block, within
// memory for two; an encrypted body that is not signed is never even decrypted, so some are signed
// here. What decodes, encodes to something that decodes to the same.

import BlockCodec

private let blockSize = 512

private let cipher: BlockCipher = {
    guard let cipher = Cipher(named: Cipher.usual) else { fatalError("no cipher") }
    return BlockCipher(cipher, password: SecretBytes("test"), salt: "bkt/", keyLength: nil)
}()

private func codec(_ compression: Compression?, _ encryption: BlockCipher?) -> BlockCodec {
    do {
        return try BlockCodec(
            blockSize: blockSize, compression: compression, encryption: encryption)
    } catch { fatalError("\(error)") }
}

private let open = codec(nil, nil)
private let encrypted = codec(nil, cipher)
private let writers = CompressionAlgorithm.allCases.map { codec(Compression($0), cipher) }

/// nil: an error.
private func decode(
    _ codec: BlockCodec, _ body: [UInt8], _ encoding: String, _ signature: String?
) -> [UInt8]? {
    let margin = 64
    var memory = [UInt8](repeating: 0x5a, count: blockSize + 2 * margin)
    var body = body
    do {
        let head = try codec.head(encoding: encoding, signature: signature)
        try memory.withUnsafeMutableBytes { memory in
            let target = UnsafeMutableRawBufferPointer(
                rebasing: memory[margin..<margin + blockSize])
            try body.withUnsafeMutableBytes { try codec.decode(7, head, $0, into: target) }
        }
    } catch {
        let text = (error as? CodecError)?.message ?? ""
        let isClear = text.unicodeScalars.allSatisfy { (0x20...0x7e).contains($0.value) }
        check(!text.isEmpty && text.utf8.count < 200 && isClear, "an unclear error")
        return nil
    }
    let isWithin =
        memory.prefix(margin).allSatisfy { $0 == 0x5a }
        && memory.suffix(margin).allSatisfy { $0 == 0x5a }
    check(isWithin, "more than a block was written")
    return Array(memory[margin..<margin + blockSize])
}

private func checkAgain(_ block: [UInt8]) {
    for codec in writers {
        guard let made = block.withUnsafeBytes({ codec.encode(7, $0) }) else { continue }
        let again = decode(codec, Array(made.bytes), made.encoding, made.signature)
        check(again == block, "a block changes on its way")
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    var input = FuzzInput(bytes, count)
    let choice = input.byte()
    let names = CompressionAlgorithm.allCases.map(\.rawValue) + [""]
    let name = names[Int(choice & 3)]
    switch choice >> 2 & 3 {
    case 0:
        let body = input.bytes(Int.max)
        if let block = decode(open, body, name, nil) { checkAgain(block) }
    case 1:
        // A body that the password signs but did not encrypt.
        var body = input.bytes(Int.max)
        if choice & 16 != 0 {
            let count = body.count
            body += [UInt8](repeating: 0, count: BlockCipher.paddingMax)
            let now = body.withUnsafeMutableBytes { cipher.encrypt(7, $0, count: count) }
            body = Array(body[..<now])
        }
        let signature = body.withUnsafeBytes { cipher.sign(7, $0) }
        let digits = signature.map { byte in
            let text = String(byte, radix: 16)
            return text.count == 1 ? "0" + text : text
        }
        let encoding = (name.isEmpty ? "" : name + ", ") + "encrypt-AES-128-CBC"
        let block = decode(encrypted, body, encoding, digits.joined())
        if let block { checkAgain(block) }
    default:
        let encoding = String(decoding: input.bytes(Int(input.byte())), as: UTF8.self)
        let signature = String(decoding: input.bytes(Int(input.byte() & 63)), as: UTF8.self)
        let body = input.bytes(Int.max)
        if choice & 16 == 0 {
            _ = decode(open, body, encoding, signature.isEmpty ? nil : signature)
        } else {
            let block = decode(encrypted, body, encoding, signature)
            check(block == nil, "a signature out of nothing")
        }
    }
    return 0
}
