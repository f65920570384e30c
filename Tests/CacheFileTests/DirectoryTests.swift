import CacheFile
import FileIO
import Journal
import Simulation
import TestSupport
import Testing

@Suite("Directory")
struct DirectoryTests {
    static func table() throws -> SlotTable {
        let geometry = try SmallWorld.request(slots: 70).layOut()
        return SlotTable(geometry: geometry, seeds: SeedSpace(fileUUID: SmallWorld.fileUUID))
    }

    static func fill(_ table: SlotTable, _ random: inout SeededRandom) {
        for slot in 0..<70 where random.chance(70) {
            table.setBlock(slot, UInt64(slot))
            table.setLSN(slot, random.next())
            table.setDataLSN(slot, random.next())
            table.setEpoch(slot, random.next())
            table.setState(slot, random.chance(50) ? .clean : .dirty)
            table.setZeroBase(slot, random.chance(30))
            table.setBase(slot, Base(.text, random.bytes(24)))
            table.setValid(slot, GranuleSet(0..<random.below(3)))
            for granule in 0..<2 {
                table.setCRC(slot, granule, UInt32(truncatingIfNeeded: random.next()))
            }
        }
    }

    @Test("a page that is written is taken again, from either copy")
    func roundTrip() throws {
        var random = SeededRandom(seed: 1)
        let table = try Self.table()
        Self.fill(table, &random)
        let other = try Self.table()
        for page in 0..<table.geometry.pageCount {
            let crc = table.seal(page, generation: 5, lsn: 77)
            let image = table.image(page, copy: page % 2)
            #expect(!other.adopt(page, image.bytes, crc: crc, generation: 4))
            #expect(!other.adopt(page, image.bytes, crc: crc ^ 1, generation: 5))
            #expect(other.adopt(page, image.bytes, crc: crc, generation: 5))
        }
        for slot in 0..<70 {
            #expect(other.isFree(slot) == table.isFree(slot))
            if table.isFree(slot) { continue }
            #expect(other.block(slot) == table.block(slot))
            #expect(other.lsn(slot) == table.lsn(slot))
            #expect(other.dataLSN(slot) == table.dataLSN(slot))
            #expect(other.epoch(slot) == table.epoch(slot))
            #expect(other.state(slot) == table.state(slot))
            #expect(other.isZeroBase(slot) == table.isZeroBase(slot))
            #expect(other.base(slot) == table.base(slot))
            #expect(other.valid(slot) == table.valid(slot))
            for granule in 0..<2 { #expect(other.crc(slot, granule) == table.crc(slot, granule)) }
        }
    }

    @Test("every bit of a page counts, but for the copy number")
    func bitFlips() throws {
        var random = SeededRandom(seed: 2)
        let table = try Self.table()
        Self.fill(table, &random)
        let other = try Self.table()
        for page in [0, table.geometry.pageCount - 1] {
            let crc = table.seal(page, generation: 9, lsn: 1)
            let image = table.image(page, copy: 0)
            var taken: [Int] = []
            for bit in 0..<4096 * 8 {
                image.mutableBytes[bit >> 3] ^= 1 << UInt8(bit & 7)
                if other.adopt(page, image.bytes, crc: crc, generation: 9) {
                    taken.append(bit >> 3)
                }
                image.mutableBytes[bit >> 3] ^= 1 << UInt8(bit & 7)
            }
            #expect(Set(taken) == [5])
        }
    }

    @Test("a page of another place or another file is not taken")
    func misdirected() throws {
        var random = SeededRandom(seed: 3)
        let table = try Self.table()
        Self.fill(table, &random)
        let crc = table.seal(0, generation: 5, lsn: 1)
        let image = table.image(0, copy: 0)
        #expect(!table.adopt(1, image.bytes, crc: crc, generation: 5))
        let foreign = SlotTable(
            geometry: table.geometry, seeds: SeedSpace(fileUUID: Array(repeating: 1, count: 16)))
        #expect(!foreign.adopt(0, image.bytes, crc: crc, generation: 5))
    }

    @Test("I11: a mate stands in for a bad page only when it is equal")
    func mates() throws {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        let hot = session.geometry.hotPlace(0).page
        func offset(_ copy: Int) -> Int { session.geometry.pageOffset(hot, copy: copy) }
        try session.map(1, version: 1)
        try session.checkpoint()
        // Copy 0 is current; copy 1 was never written.
        var damaged = MemoryFile(file.bytes)
        damaged.flip((offset(0) + 100) * 8)
        #expect(refusal { () throws(CacheFileError) in _ = try contents(of: damaged) } != nil)
        try session.map(2, version: 1)
        try session.checkpoint()
        // Copy 1 is current; copy 0 is the page of the checkpoint before.
        damaged = MemoryFile(file.bytes)
        damaged.flip((offset(1) + 100) * 8)
        let error = refusal { () throws(CacheFileError) in _ = try contents(of: damaged) }
        #expect(error?.message.hasPrefix("PAGE_BAD") == true)
        damaged = MemoryFile(file.bytes)
        damaged.flip((offset(0) + 100) * 8)
        #expect(try contents(of: damaged).findings == [])
        // The page rests for one checkpoint: its copies become equal.
        try session.checkpoint()
        let whole = try contents(of: file)
        for copy in 0..<2 {
            damaged = MemoryFile(file.bytes)
            damaged.flip((offset(copy) + 100) * 8)
            let found = try contents(of: damaged)
            #expect(found.text == whole.text)
            #expect(found.findings == (copy == 1 ? ["PAGE_BAD"] : []))
        }
    }

    /// Changes metadata and makes every checksum above it right again.
    static func forge(
        _ file: MemoryFile, _ geometry: Geometry, page: Int, resealEntries: Bool,
        _ change: (UnsafeMutableRawBufferPointer) -> Void
    ) throws {
        let set = try SuperblockSet.read(file)
        var sb = set.current
        let seeds = SeedSpace(fileUUID: sb.fileUUID)
        var findings: [Finding] = []
        var root = try RootTable.read(sb, geometry, file, seeds: seeds, findings: &findings)
        guard root.entries[page].isWritten else { return }
        let at = geometry.pageOffset(page, copy: root.entries[page].copy)
        let isHot = geometry.isHot(page)
        let (zone, number) = geometry.pageIdentity(page)
        let crc = file.bytes.withUnsafeMutableBytes { all -> UInt32 in
            let bytes = UnsafeMutableRawBufferPointer(rebasing: all[at..<at + 4096])
            change(bytes)
            if isHot && resealEntries {
                for (index, slot) in geometry.slots(inHotPage: page).enumerated() {
                    let entry = 64 + 64 * index
                    let part = UnsafeRawBufferPointer(rebasing: bytes[entry..<entry + 60])
                    bytes.setField(
                        entry + 60, Checksum.crc32c(part, seed: seeds.seed(.entry, UInt64(slot))))
                }
            }
            // The page's CRC takes those of the entries as zero.
            let slots = isHot ? geometry.slots(inHotPage: page).count : 0
            let entryCRCs = (0..<slots).map { bytes.field(64 + 64 * $0 + 60, UInt32.self) }
            for index in 0..<slots { bytes.setField(64 + 64 * index + 60, UInt32(0)) }
            let copy: UInt8 = bytes.field(5)
            bytes.setField(5, UInt8(0))
            bytes.setField(28, UInt32(0))
            let seed = seeds.seed(
                isHot ? .hotPage : .coldPage, UInt64(zone) << 32 | UInt64(number))
            let crc = Checksum.crc32c(UnsafeRawBufferPointer(bytes), seed: seed)
            bytes.setField(28, crc)
            bytes.setField(5, copy)
            for index in 0..<slots { bytes.setField(64 + 64 * index + 60, entryCRCs[index]) }
            return crc
        }
        root.entries[page].crc = crc
        let (bytes, rootCRC) = root.encode(seeds: seeds)
        try file.write(bytes.bytes, at: geometry.rootOffsets[Int(sb.rootCopy)], .cached)
        sb.rootCRC = rootCRC
        file.put(sb, copies: sb.copies)
    }

    @Test("forged entries with right checksums are refused or harmless", arguments: UInt64(0)..<4)
    func forgedEntries(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let good = MemoryFile(try GoldenImages.make("replay"))
        let geometry = try CacheFiles.inspect(good).geometry
        var refused = 0
        for _ in 0..<2000 {
            let file = MemoryFile(good.bytes)
            let page = random.below(geometry.pageCount)
            try Self.forge(file, geometry, page: page, resealEntries: random.chance(80)) { bytes in
                for _ in 0..<1 + random.below(3) {
                    let entry = 64 + (geometry.isHot(page) ? 64 : 16) * random.below(8)
                    let at = entry + random.below(geometry.isHot(page) ? 60 : 16)
                    bytes[at] =
                        random.chance(50)
                        ? UInt8(random.below(8)) : UInt8(truncatingIfNeeded: random.next())
                }
            }
            if refusal({ () throws(CacheFileError) in _ = try CacheFiles.inspect(file) }) != nil {
                refused += 1
                continue
            }
            _ = try? TestSession(file)
        }
        #expect(refused > 100)
    }

    @Test("forged entries: each contradiction has its code")
    func codes() throws {
        let good = MemoryFile(try GoldenImages.make("clean"))
        let geometry = try CacheFiles.inspect(good).geometry
        func code(_ reseal: Bool = true, _ change: (UnsafeMutableRawBufferPointer) -> Void) throws
            -> String?
        {
            let file = MemoryFile(good.bytes)
            try Self.forge(file, geometry, page: 0, resealEntries: reseal, change)
            let error = refusal { () throws(CacheFileError) in _ = try CacheFiles.inspect(file) }
            return error.map { String($0.message.prefix { $0 != ":" }) }
        }
        #expect(try code { _ in } == nil)
        #expect(try code { $0.setField(64, UInt64(32)) } == "ENT_RANGE")
        #expect(try code { $0.setField(128, $0.field(64, UInt64.self)) } == "ENT_DUP_BLOCK")
        #expect(try code { $0.setField(64 + 32, UInt8(4)) } == "ENT_STATE")
        #expect(try code { $0.setField(64 + 33, UInt8(2)) } == "ENT_STATE")
        #expect(try code { $0.setField(64 + 34, UInt8(6)) } == "ENT_STATE")
        #expect(try code { $0.setField(64, UInt64.max) } == "ENT_STATE")
        // Whoever takes a free slot relies on finding nothing in it.
        for offset in 8..<60 {
            let found = try code {
                $0.setBytes(64, Array(repeating: 0, count: 60))
                $0.setField(64, UInt64.max)
                $0.setField(64 + offset, UInt8(0x80))
            }
            #expect(found == "ENT_STATE", "byte \(offset)")
        }
        #expect(try code(false) { $0.setField(64 + 8, UInt64(1)) } == "PAGE_BAD")
    }

    @Test(
        "forged journal records with right checksums are refused or harmless",
        arguments: UInt64(0)..<4)
    func forgedRecords(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let good = MemoryFile(try GoldenImages.make("replay"))
        let recovered = try Recovery.run(good)
        let groups = recovered.scan.accepted.map(\.header).filter { $0.recordCount > 0 }
        let length = UInt64(recovered.geometry.ringLength)
        for _ in 0..<3000 {
            let file = MemoryFile(good.bytes)
            let header = random.pick(groups)
            let at = recovered.geometry.ringOffset + Int(header.position % length)
            file.bytes.withUnsafeMutableBytes { all in
                let bytes = UnsafeMutableRawBufferPointer(rebasing: all[at..<at + 4096])
                for _ in 0..<1 + random.below(3) {
                    let offset = random.chance(70) ? 128 + random.below(120) : 16 + random.below(56)
                    bytes[offset] =
                        random.chance(60)
                        ? UInt8(random.below(9)) : UInt8(truncatingIfNeeded: random.next())
                }
                bytes.setField(8, UInt32(0))
                let seed = recovered.seeds.seed(.group, bytes.field(24))
                bytes.setField(8, Checksum.crc32c(UnsafeRawBufferPointer(bytes), seed: seed))
            }
            if (try? CacheFiles.inspect(file)) != nil { _ = try? TestSession(file) }
        }
    }
}

extension SlotTable {
    fileprivate func adopt(
        _ page: Int, _ bytes: UnsafeRawBufferPointer, crc: UInt32, generation: UInt32
    ) -> Bool {
        adopt(page, crc: crc, generation: generation) { $0.copyMemory(from: bytes) }
    }
}
