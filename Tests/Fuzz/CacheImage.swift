// A whole cache file with arbitrary changes of its metadata. As they are, the file is refused, or
// holds what it held. With the checksums put right, the file is refused, or a mount works on it: it
// reads every block, uploads, destages and takes checkpoints, and the file it leaves is accepted.

import CacheFile
import FileIO
import Journal

/// Few changes of one byte, which no checksum misses.
private func rot(_ image: BaseImage, _ input: inout FuzzInput) {
    let file = MemoryFile(image.bytes)
    let places = image.places
    for _ in 0..<3 where !input.isEmpty {
        let place = places[Int(input.byte()) % places.count]
        let at = place.lowerBound + Int(input.number(bytes: 3)) % place.count
        file.bytes[at] ^= input.byte()
    }
    guard let found = try? contents(of: file), found.text != image.content else { return }
    check(found.findings.contains("JRN_TORN_TAIL"), "other content, and nothing is said")
    check(image.earlier.contains(found.text), "content that never was")
}

private func forge(_ image: BaseImage, _ input: inout FuzzInput) {
    let file = MemoryFile(image.bytes)
    input.change(file, in: image.places)
    Seal.all(file, image.geometry, image.seeds)
    let inspection = try? CacheFiles.inspect(file, data: .all)
    let opened: OpenedCache
    do {
        opened = try SessionStart.open(file, identity: nil, info: SmallWorld.info())
    } catch {
        check(inspection == nil || error.kind == .io, "cachecheck accepts what a mount refuses")
        return
    }
    // A volume of this size is what the user asked for, or the mount would have refused it.
    guard opened.geometry.volumeBlocks <= 1024 else { return }
    let driver = EngineDriver(opened)
    driver.settle(3)
    for block in 0..<min(opened.geometry.volumeBlocks, 64) { driver.read(block) }
    driver.settle(4)
    guard driver.engine.poison == nil else { return }
    do {
        _ = try Recovery.run(file)
    } catch {
        fatalError("a mount accepted the file and left one that is refused: \(error.message)")
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    var input = FuzzInput(bytes, count)
    let choice = Int(input.byte())
    let image = BaseImage.all[choice >> 1 & 3]
    if choice & 1 == 0 { rot(image, &input) } else { forge(image, &input) }
    return 0
}
