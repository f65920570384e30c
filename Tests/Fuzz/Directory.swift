// Root and directory pages with arbitrary entries and right checksums: the file is refused, or what
// was read is one consistent directory.

import CacheFile
import FileIO
import Journal

private func checkState(_ state: CacheState) {
    var used = 0
    for slot in 0..<state.geometry.slotCount where !state.slots.isFree(slot) {
        used += 1
        let block = state.slots.block(slot)
        check(block < state.geometry.volumeBlocks, "a block beyond the volume")
        check(state.slot(of: block) == slot, "a block in two slots")
        check([1, 2, 3].contains(state.slots.rawState(slot)), "an impossible state")
        check(!state.isRegionEmpty(of: block), "an uncounted block")
        let all = GranuleSet.all(state.geometry.granulesPerBlock)
        check(all.isSuperset(of: state.slots.valid(slot)), "granules that no block has")
    }
    check(used == state.usedSlots, "\(used) slots used, \(state.usedSlots) counted")
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    var input = FuzzInput(bytes, count)
    let image = BaseImage.all[Int(input.byte()) & 3]
    let file = MemoryFile(image.bytes)
    input.change(file, in: image.directory)
    Seal.all(file, image.geometry, image.seeds)
    if let recovered = try? Recovery.run(file) {
        check(recovered.geometry == image.geometry, "a page changes the geometry")
        checkState(recovered.state)
        _ = describe(recovered.state)
    }
    return 0
}
