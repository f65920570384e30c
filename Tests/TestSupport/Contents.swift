import CacheFile
import FileIO
import Journal

/// What a mount would find in a file, as text: equal text means equal content.
package func contents(of file: any FileIO) throws(CacheFileError) -> (
    text: String, findings: [String]
) {
    let recovered = try Recovery.run(file)
    return (describe(recovered.state), recovered.findings.map(\.code))
}

/// Everything of a state that decides what is read, and what is sent to the store.
package func describe(_ state: CacheState) -> String {
    var lines: [String] = []
    for slot in 0..<state.geometry.slotCount where !state.slots.isFree(slot) {
        lines.append(describe(state, slot))
    }
    lines += state.zeros.items.map { "z\($0.blocks):\($0.lsn)" }
    return lines.joined(separator: "\n")
}

private func describe(_ state: CacheState, _ slot: Int) -> String {
    let slots = state.slots
    let block = slots.block(slot)
    var line = "\(slot):\(block):\(slots.rawState(slot)):\(slots.lsn(slot))"
    line += ":\(slots.dataLSN(slot)):\(slots.epoch(slot)) \(text(slots.base(slot)))"
    for granule in 0..<state.geometry.granulesPerBlock {
        // The same bytes have the same checksum wherever they are.
        switch state.source(slot: slot, block: block, granule: granule) {
        case .slot(let crc): line += " \(crc)"
        case .overlay(let overlay): line += " \(overlay.crc ?? zeros(state, block, granule))"
        case .zeros: line += " \(zeros(state, block, granule))"
        case .missing: line += " -"
        }
        guard let patch = state.patch(block, granule) else { continue }
        let image = AlignedBuffer.zeroed(state.geometry.granuleSize)
        patch.apply(over: image.mutableBytes)
        line += "+p\(patch.lsn)\(patch.ranges)\(Checksum.crc32c(image.bytes))"
    }
    for intent in state.intents(of: block) {
        let digest = intent.record.digest.withUnsafeBytes { Checksum.crc32c($0) }
        line += " i\(intent.record.asOf)-\(text(intent.record.base))-\(digest)"
    }
    return line
}

private func text(_ base: Base) -> String {
    "b\(base.kind.rawValue).\(base.bytes.withUnsafeBytes { Checksum.crc32c($0) })"
}

/// The checksum of a granule of zeros.
private func zeros(_ state: CacheState, _ block: UInt64, _ granule: Int) -> UInt32 {
    let index = state.geometry.granuleSeedIndex(block: block, granule: granule)
    let zeros = AlignedBuffer.zeroed(state.geometry.granuleSize)
    return withExtendedLifetime(zeros) {
        Checksum.crc32c(zeros.bytes, seed: state.slots.seeds.seed(.granule, index))
    }
}
