// Files in the directory of a store, with any name and size: a block is the bytes of its file or
// damaged, never anything else, and what is no leftover of the store is not removed.

import BlockStore
import Glibc

private let root: String = {
    var path = Array("/dev/shm/fuzz-store-XXXXXX".utf8CString)
    guard mkdtemp(&path) != nil else { fatalError("mkdtemp") }
    return String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}()

private let isCleanedUp: Void = { _ = atexit { rmdir(root) } }()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    _ = isCleanedUp
    var input = FuzzInput(bytes, count)
    let choice = input.byte()
    let prefix = String(decoding: input.bytes(Int(choice & 7)), as: UTF8.self)
    // The name of a block with a few bytes changed, or behind it.
    var name = Array(prefix.utf8) + Array("0000000a".utf8)
    let block: UInt64 = 10
    for _ in 0..<choice >> 3 & 3 {
        let at = Int(input.byte()) % (name.count + 1)
        name.replaceSubrange(at..<min(name.count, at + 1), with: [input.byte()])
    }
    if choice & 64 != 0 { name += [0x2e] + input.bytes(6) }
    let content = input.bytes(64)
    let expected = content.count == 32 ? content : nil
    guard !name.contains(0), !name.contains(0x2f), !prefix.contains("/"), name.count < 200,
        name != [0x2e], name != [0x2e, 0x2e]
    else { return 0 }
    let text = String(decoding: name, as: UTF8.self)
    let isPlain = text.utf8.elementsEqual((prefix + "0000000a").utf8)
    let path = root + "/" + text
    let fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
    guard fd >= 0 else { return 0 }
    _ = content.withUnsafeBytes { write(fd, $0.baseAddress, $0.count) }
    if choice & 128 != 0 {
        var times = [timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 1, tv_nsec: 0)]
        futimens(fd, &times)
    }
    close(fd)
    defer { unlink(path) }
    guard let store = try? DirectoryStore(directory: root, prefix: prefix, blockSize: 32) else {
        return 0
    }
    let isLeftover = choice & 64 != 0
    check(isLeftover || access(path, F_OK) == 0, "a file was removed that is no leftover")
    var target = [UInt8](repeating: 0, count: 32)
    let version = target.withUnsafeMutableBytes { bytes -> Result<ObjectVersion, StoreError> in
        Result { () throws(StoreError) in try store.get(block, into: bytes) }
    }
    switch version {
    case .success(.absent):
        check(!isPlain, "a block with a file is absent")
    case .success(.tag):
        check(isPlain && target == expected, "bytes that no file has")
    case .failure(let error):
        check(isPlain && expected == nil && error.kind == .damaged, error.message)
    }
    return 0
}
