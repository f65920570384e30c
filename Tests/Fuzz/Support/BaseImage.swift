import CacheFile
import FileIO
import Journal

/// A good image that the fuzzer changes, and what is known of it.
struct BaseImage {
    let bytes: [UInt8]
    let geometry: Geometry
    let superblock: Superblock
    let seeds: SeedSpace
    /// What it holds, and what its journal held earlier, as `describe` tells it.
    let content: String
    let earlier: Set<String>

    static let all: [BaseImage] = ["full", "replay", "clean", "mate"].map { name in
        do { return try BaseImage(name) } catch { fatalError("\(name): \(error)") }
    }

    private init(_ name: String) throws {
        // Of the damaged ones only what can be repaired: the base has to be whole.
        bytes = try GoldenImages.make(name)
        let file = MemoryFile(bytes)
        let inspection = try CacheFiles.inspect(file)
        geometry = inspection.geometry
        superblock = inspection.superblock
        seeds = SeedSpace(fileUUID: superblock.fileUUID)
        content = try contents(of: file).text
        earlier = try Self.prefixes(file)
    }

    /// What recovery makes of the file when the journal ends before each of its groups.
    private static func prefixes(_ file: MemoryFile) throws -> Set<String> {
        let recovered = try Recovery.run(file)
        var found = Set<String>()
        for group in recovered.scan.accepted {
            let cut = MemoryFile(file.bytes)
            let length = UInt64(recovered.geometry.ringLength)
            let at = recovered.geometry.ringOffset + Int(group.header.position % length)
            // Nothing that is behind it must claim to be durable.
            for index in at..<recovered.geometry.ringOffset + recovered.geometry.ringLength {
                cut.bytes[index] = 0
            }
            if let text = try? contents(of: cut).text { found.insert(text) }
        }
        return found
    }

    /// Every place of metadata: superblocks, tables, pages, ring.
    var places: [Range<Int>] {
        (0..<4).map { at in
            let start = geometry.superblockOffset(at)
            return start..<start + 544
        } + (0..<2).map { ZoneTable.offset(copy: $0)..<ZoneTable.offset(copy: $0) + 128 }
            + directory + [ring]
    }

    /// Roots and pages.
    var directory: [Range<Int>] {
        geometry.rootOffsets.map { $0..<$0 + geometry.pageCount * 8 }
            + (0..<geometry.pageCount).flatMap { page in
                (0..<2).map { copy in
                    let at = geometry.pageOffset(page, copy: copy)
                    return at..<at + 64 + 64 * geometry.slotCount
                }
            }
    }

    var ring: Range<Int> { geometry.ringOffset..<geometry.ringOffset + geometry.ringLength }
}
