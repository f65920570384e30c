import CacheFile
import FileIO
import Foundation
import Journal
import Simulation
import TestSupport

/// What a mount serves of the user's writes that the store does not have: found out by opening the
/// file for a session, with a reader of its own.
struct Served: Equatable {
    /// nil: an error. Of dirty blocks and those in conflict, by block and granule.
    var granules: [UInt64: [[UInt8]?]] = [:]
    /// Of granules that are not here, what was written of them.
    var patches: [UInt64: [[UInt8]]] = [:]
    var trimmed: Set<UInt64> = []

    init(_ file: MemoryFile) throws {
        let cache = try SessionStart.open(
            file, identity: SmallWorld.identity, info: SmallWorld.info())
        let state = cache.state
        for slot in 0..<state.geometry.slotCount {
            guard [.dirty, .conflict].contains(state.slots.state(slot)) else { continue }
            let block = state.slots.block(slot)
            granules[block] = (0..<state.geometry.granulesPerBlock).map {
                Self.read(cache, file, slot, block, $0)
            }
            let patched = state.patched(block).map { patch in
                patch.ranges.flatMap { range in
                    [UInt8(patch.granule)] + withUnsafeBytes(of: range.lowerBound) { Array($0) }
                        + patch.buffer.bytes.copy(range.lowerBound, range.count)
                }
            }
            if !patched.isEmpty { patches[block] = patched }
        }
        for extent in state.zeros.items { trimmed.formUnion(extent.blocks) }
    }

    /// - Returns: the bytes, none for what the store has; nil for an error.
    private static func read(
        _ cache: OpenedCache, _ file: MemoryFile, _ slot: Int, _ block: UInt64, _ granule: Int
    ) -> [UInt8]? {
        let geometry = cache.geometry
        let size = geometry.granuleSize
        let place: Int
        let known: UInt32
        switch cache.state.source(slot: slot, block: block, granule: granule) {
        case .zeros: return [UInt8](repeating: 0, count: size)
        case .missing: return []
        case .slot(let crc):
            (place, known) = (geometry.slotOffset(slot) + granule * size, crc)
        case .overlay(let overlay):
            switch overlay.place {
            case .ring(let position, let crc):
                let inRing = Int(position % UInt64(geometry.ringLength))
                (place, known) = (geometry.ringOffset + inRing, crc)
            case .zeros: return [UInt8](repeating: 0, count: size)
            case .memory: return nil
            }
        }
        guard place + size <= file.bytes.count else { return nil }
        let bytes = Array(file.bytes[place..<place + size])
        let index = geometry.granuleSeedIndex(block: block, granule: granule)
        let seed = cache.seeds.seed(.granule, index)
        return bytes.withUnsafeBytes { Checksum.crc32c($0, seed: seed) } == known ? bytes : nil
    }

    /// Whether everything here is there, too.
    func isKept(by other: Served) -> Bool {
        granules.allSatisfy { block, own in other.granules[block] == own }
            && patches.allSatisfy { block, own in other.patches[block] == own }
            && trimmed.isSubset(of: other.trimmed)
    }
}

/// A file whose writes are all known to be durable, and ways to damage it.
struct DamagedWorld {
    let bytes: [UInt8]
    /// As it was before.
    private let older: [[UInt8]]
    let truth: Served
    let superblocks: [Range<Int>]
    private let areas: [Range<Int>]
    private let isClean: Bool

    init(clean: Bool, isGrown: Bool = false) throws {
        var snapshots: [[UInt8]] = []
        let file = try Worlds.rich(clean: clean, isGrown: isGrown) { snapshots.append($0.bytes) }
        bytes = file.bytes
        older = snapshots
        isClean = clean
        let recovered = try Recovery.run(file)
        truth = try Served(MemoryFile(bytes))
        let geometry = recovered.geometry
        let page = Geometry.pageSize
        superblocks = (0..<4).map {
            geometry.superblockOffset($0)..<geometry.superblockOffset($0) + page
        }
        var found = superblocks
        found += (0..<2).map { ZoneTable.offset(copy: $0)..<ZoneTable.offset(copy: $0) + page }
        found += geometry.rootOffsets.map { $0..<$0 + page }
        for zone in geometry.zones {
            found += (zone.hotOffsets + zone.coldOffsets).map { $0..<$0 + page }
        }
        let used = Int(recovered.scan.end.position - recovered.superblock.tail.position)
        let tail = geometry.ringOffset + Int(recovered.superblock.tail.position)
        if used > 0 { found.append(tail..<tail + used) }
        for slot in 0..<geometry.slotCount where !recovered.state.slots.isFree(slot) {
            found.append(geometry.slotOffset(slot)..<geometry.slotOffset(slot) + geometry.blockSize)
        }
        areas = found
    }

    /// What a mount serves of a damaged image; nil: it refuses it.
    func served(_ bytes: [UInt8]) -> Served? { try? Served(MemoryFile(bytes)) }

    /// One place damaged, or a few where the file was closed.
    func damaged(_ random: inout SeededRandom) -> (bytes: [UInt8], what: String) {
        var result = bytes
        var what: [String] = [isClean ? "closed" : "killed"]
        let places = isClean && random.chance(30) ? random.within(2...3) : 1
        for _ in 0..<places { what.append(damage(&result, &random)) }
        return (result, what.joined(separator: ", "))
    }

    private func damage(_ bytes: inout [UInt8], _ random: inout SeededRandom) -> String {
        let area = random.pick(areas)
        let at = random.within(area.lowerBound...area.upperBound - 1)
        let page = at / 4096 * 4096
        let sector = at / 512 * 512
        guard page + 4096 <= bytes.count else { return "nothing" }
        switch random.below(100) {
        case 0..<35:
            let bit = random.below(8)
            bytes[at] ^= 1 << UInt8(bit)
            return "bit \(bit) of byte \(at)"
        case 35..<50:
            let count = min(1 + random.below(64), page + 4096 - at)
            bytes.replaceSubrange(at..<at + count, with: random.bytes(count))
            return "\(count) bytes at \(at) random"
        case 50..<60:
            bytes.replaceSubrange(sector..<sector + 512, with: [UInt8](repeating: 0, count: 512))
            return "sector at \(sector) zero"
        case 60..<70:
            bytes.replaceSubrange(page..<page + 4096, with: [UInt8](repeating: 0, count: 4096))
            return "page at \(page) zero"
        case 70..<75:
            bytes.replaceSubrange(page..<page + 4096, with: random.bytes(4096))
            return "page at \(page) random"
        case 75..<85:
            let other = random.pick(areas).lowerBound / 4096 * 4096
            bytes.replaceSubrange(page..<page + 4096, with: self.bytes[other..<other + 4096])
            return "page at \(page) as the one at \(other)"
        case 85..<97:
            let old = random.pick(older)
            guard page + 4096 <= old.count else { return "nothing" }
            bytes.replaceSubrange(page..<page + 4096, with: old[page..<page + 4096])
            return "page at \(page) as it was"
        default:
            bytes.removeSubrange((at < bytes.count ? at : page)...)
            return "cut at \(at)"
        }
    }

    /// Blocks of which a damaged image has other bytes: of their entries, of records, or their own.
    func blocks(touchedIn damaged: [UInt8]) -> Set<UInt64> {
        guard let recovered = try? Recovery.run(MemoryFile(bytes)) else { return [] }
        let geometry = recovered.geometry
        var found: Set<UInt64> = []
        func isTouched(_ range: Range<Int>) -> Bool {
            range.upperBound > damaged.count || bytes[range] != damaged[range]
        }
        for slot in 0..<geometry.slotCount where !recovered.state.slots.isFree(slot) {
            let page = Geometry.pageSize
            var places = [
                geometry.slotOffset(slot)..<geometry.slotOffset(slot) + geometry.blockSize
            ]
            for number in [geometry.hotPlace(slot).page, geometry.coldPlace(slot).page] {
                for copy in 0...1 {
                    let offset = geometry.pageOffset(number, copy: copy)
                    places.append(offset..<offset + page)
                }
            }
            if places.contains(where: isTouched) { found.insert(recovered.state.slots.block(slot)) }
        }
        for group in recovered.scan.accepted {
            let start =
                geometry.ringOffset + Int(group.header.position % UInt64(geometry.ringLength))
            guard isTouched(start..<start + group.header.byteCount) else { continue }
            found.formUnion(group.records.map(\.block))
        }
        return found
    }
}
