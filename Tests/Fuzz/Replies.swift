// What an S3 server says beside the blocks: error documents, lists, names, entity tags, the mount token,
// the identity of a volume. What is kept is bounded by what was sent, and what we understand we would
// write ourselves in a way that we understand the same.

import BlockCache
import BlockStore
import CacheFile
import S3IO

private func checkXML(_ bytes: [UInt8]) {
    let fields = XMLFields(bytes).fields
    let kept = fields.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
    // Bytes that are no UTF-8 become a character of three.
    check(kept <= 3 * bytes.count, "\(kept) bytes kept of \(bytes.count)")
}

private func checkTable(_ bytes: [UInt8]) {
    let shape = XMLTable.Shape(
        root: "ListBucketResult", fields: ["IsTruncated", "EncodingType"], row: "Contents",
        columns: ["Key", "ETag", "Size"])
    guard let table = bytes.withUnsafeBytes({ try? XMLTable($0, shape) }) else { return }
    let texts = table.fields.map(\.value) + table.rows.flatMap { $0.compactMap { $0 } }
    check(table.rows.count <= XMLTable.rowsMax, "too many rows")
    check(texts.allSatisfy { $0.utf8.count <= XMLTable.textMax }, "a long text")
    // Other encodings take fewer bytes for a character than UTF-8.
    check(texts.reduce(0) { $0 + $1.utf8.count } <= 3 * bytes.count, "more text than bytes")
    check(table.rows.allSatisfy { $0.count == 3 }, "a row with other columns")
    for text in texts { if let tag = S3Response.entityTag(text) { checkHeader(tag) } }
}

/// What comes back in a condition must not end its line.
private func checkHeader(_ tag: String) {
    check(tag.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x22 && $0 != 0x7f }, "an odd tag")
}

private func checkNames(_ prefix: String, _ bytes: [UInt8]) {
    for isHashed in [false, true] {
        let keys = BlockKeys(prefix: prefix, isHashed: isHashed, blockCount: 1000)
        if let block = keys.block(of: bytes) {
            check(keys.key(block).utf8.elementsEqual(bytes), "another name of a block")
        }
    }
    let text = String(decoding: bytes, as: UTF8.self)
    if let plain = PercentEncoding.decode(text) {
        let encoded = PercentEncoding.encode(plain, keepingSlashes: true)
        check(PercentEncoding.decode(encoded) == plain, "encoding changes a text")
    }
    if let part = ContentRange(text) {
        check(!part.range.isEmpty && part.total ?? Int.max >= part.range.upperBound, "a range")
    }
}

private func checkToken(_ header: String?, _ bytes: [UInt8]) {
    let token = MountToken(header: header, body: bytes)
    let again = MountToken(header: String(token.value, radix: 16), body: token.body)
    check(again.value == token.value && again.host == token.host, "a token changes")
    check(token.facts.unicodeScalars.allSatisfy { $0.value >= 0x20 }, "a control character")
    if let owner = token.owner {
        check(again.owner == owner || token.body.count > 4096, "the owner of a token changes")
    }
    _ = token.verdict(
        known: 1,
        owner: MountOwner(
            host: "h", machine: "m", bootID: "b", processSpace: "s", processID: 1, processStart: "1"
        )
    ) { _ in true }
}

private func checkIdentity(_ bytes: [UInt8]) {
    guard let volume = try? VolumeObject(bytes) else { return }
    let again = try? VolumeObject(volume.encoded())
    check(again == volume, "an identity encodes to something else")
    check(volume.size % UInt64(volume.blockSize) == 0, "half a block")
}

private func checkTag(_ bytes: [UInt8]) {
    let version = ObjectVersion.tag(String(decoding: bytes, as: UTF8.self))
    let base = Base(version)
    if let back = ObjectVersion(base) { check(back == version, "a tag comes back as another") }
}

/// Header lines, looked up in the slow and plain way as well.
private func checkHeaders(_ name: String, _ bytes: [UInt8]) {
    var headers = S3Headers()
    var wanted: String?
    for line in bytes.split(separator: 0x0a, omittingEmptySubsequences: false) {
        line.withUnsafeBytes { headers.add(line: $0) }
        if line.starts(with: "HTTP/".utf8) { wanted = nil }
        guard let colon = line.firstIndex(of: 0x3a),
            line[..<colon].map(lowercased) == name.utf8.map(lowercased),
            !line.starts(with: "HTTP/".utf8)
        else { continue }
        var value = line[line.index(after: colon)...]
        while let first = value.first, first <= 0x20 { value = value.dropFirst() }
        while let last = value.last, last <= 0x20 { value = value.dropLast() }
        wanted = String(decoding: value, as: UTF8.self)
    }
    // A head that is too long is no reply.
    if !headers.isTooLong, !name.utf8.contains(0x3a), !name.utf8.contains(0x0a) {
        check(headers[name] == wanted, "another value than the last line with the name")
    }
}

private func lowercased(_ byte: UInt8) -> UInt8 {
    (0x41...0x5a).contains(byte) ? byte + 0x20 : byte
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    var input = FuzzInput(bytes, count)
    let choice = input.byte()
    let header = String(decoding: input.bytes(Int(choice >> 4)), as: UTF8.self)
    let body = input.bytes(Int.max)
    switch choice & 7 {
    case 0: checkXML(body)
    case 1: checkToken(choice >> 4 == 0 ? nil : header, body)
    case 2: checkIdentity(body)
    case 4: checkTable(body)
    case 5: checkNames(header, body)
    case 7: checkHeaders(header, body)
    default: checkTag(body)
    }
    return 0
}
