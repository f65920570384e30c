import CacheFile
import FileIO
import Foundation
import Journal
import TestSupport
import Testing

/// One byte table of docs/format.md. Each begins with a line `<!-- layout: name size [from n] -->`.
struct PageLayout {
    struct Row {
        let offset: Int
        let size: Int
        let field: String
    }

    let size: Int
    let from: Int
    let rows: [Row]

    func range(_ field: String) -> Range<Int>? {
        rows.first { $0.field == field }.map { $0.offset..<$0.offset + $0.size }
    }
}

struct FormatPage {
    let text: String
    let layouts: [String: PageLayout]

    static let shared = FormatPage()

    private init() {
        text = String(decoding: readFile(SourceTree.root + "/docs/format.md"), as: UTF8.self)
        var layouts: [String: PageLayout] = [:]
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        for (number, line) in lines.enumerated() where line.hasPrefix("<!-- layout: ") {
            let words = line.split(separator: " ").map(String.init)
            let rows = Self.cells(lines[(number + 3)...]).compactMap { cells -> PageLayout.Row? in
                guard let offset = Int(cells[0]), let size = Int(cells[1]) else { return nil }
                return PageLayout.Row(offset: offset, size: size, field: cells[2])
            }
            layouts[words[2]] = PageLayout(
                size: Int(words[3]) ?? 0, from: words.count > 5 ? Int(words[5]) ?? 0 : 0, rows: rows
            )
        }
        self.layouts = layouts
    }

    /// The rows of a table as cells.
    static func cells(_ lines: ArraySlice<String>) -> [[String]] {
        lines.prefix { $0.hasPrefix("|") }.map { line in
            line.dropFirst().split(separator: "|", omittingEmptySubsequences: false)
                .map { $0.trimmingCharacters(in: .whitespaces) }
        }
    }

    func table(_ name: String) -> [[String]] {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        guard let at = lines.firstIndex(of: "<!-- table: \(name) -->") else { return [] }
        return Self.cells(lines[(at + 3)...])
    }
}

@Suite("docs/format.md")
struct FormatPageTests {
    /// Where two encodings of one structure differ, but for the checksums of the structure.
    static func difference(
        _ one: [UInt8], _ other: [UInt8], besides: [Range<Int>] = []
    ) -> Range<Int>? {
        let places = one.indices.filter { at in
            one[at] != other[at] && !besides.contains { $0.contains(at) }
        }
        return places.isEmpty ? nil : places[0]..<places[places.count - 1] + 1
    }

    /// Each change sets every byte of one field to another value; the page must say where it is.
    static func expect(
        _ name: String, _ base: [UInt8], besides: [String] = [], _ changes: [(String, [UInt8])]
    ) throws {
        let layout = try #require(FormatPage.shared.layouts[name], "\(name)")
        let hidden = besides.compactMap { layout.range($0) }
        for (field, bytes) in changes {
            #expect(
                difference(base, bytes, besides: hidden) == layout.range(field), "\(name).\(field)")
        }
        let covered = Set(changes.map(\.0)).union(besides)
        let missing = layout.rows.map(\.field).filter { $0 != "zero" && !covered.contains($0) }
        #expect(missing.isEmpty, "\(name): not compared")
        for row in layout.rows where row.field == "zero" {
            #expect(
                base[row.offset..<min(row.offset + row.size, base.count)].allSatisfy { $0 == 0 })
        }
    }

    @Test("the rows of each table follow each other up to its size")
    func contiguous() {
        #expect(FormatPage.shared.layouts.count == 16)
        for (name, layout) in FormatPage.shared.layouts {
            var next = layout.from
            for row in layout.rows {
                #expect(row.offset == next, "\(name).\(row.field)")
                next += row.size
            }
            #expect(next == layout.size, "\(name)")
        }
    }

    @Test("superblock")
    func superblock() throws {
        let zeros = AlignedBuffer.zeroed(4096)
        zeros.mutableBytes.setBytes(0, Superblock.magic)
        zeros.mutableBytes.setField(16, Checksum.crc32c(zeros.bytes))
        let sb = try #require(Superblock.decode(zeros.bytes, copy: 0))
        func encode(copy: UInt32 = 0, _ change: (inout Superblock) -> Void) -> [UInt8] {
            var changed = sb
            change(&changed)
            let buffer = changed.encode(copy: copy)
            return Array(buffer.bytes)
        }
        let ones = { (count: Int) in [UInt8](repeating: 0xff, count: count) }
        let text = String(repeating: "x", count: 63)
        let base = encode { _ in }
        try Self.expect(
            "superblock", base, besides: ["crc", "magic", "headerLength"],
            [
                ("copyIndex", encode(copy: .max) { _ in }),
                ("formatMajor", encode { $0.formatMajor = .max }),
                ("formatMinor", encode { $0.formatMinor = .max }),
                ("featCompat", encode { $0.featCompat = .max }),
                ("featRoCompat", encode { $0.featRoCompat = .max }),
                ("featIncompat", encode { $0.featIncompat = .max }),
                ("generation", encode { $0.generation = .max }),
                ("parentCRC", encode { $0.parentCRC = .max }),
                ("state", encode { $0.state = .max }),
                ("fileUUID", encode { $0.fileUUID = ones(16) }),
                ("volumeUUID", encode { $0.volumeUUID = ones(16) }),
                ("binding", encode { $0.binding = ones(32) }),
                ("blockSize", encode { $0.blockSize = .max }),
                ("granuleSize", encode { $0.granuleSize = .max }),
                ("volumeBlocks", encode { $0.volumeBlocks = .max }),
                ("ringOffset", encode { $0.ringOffset = .max }),
                ("ringLength", encode { $0.ringLength = .max }),
                ("slotCount", encode { $0.slotCount = .max }),
                ("zoneCount", encode { $0.zoneCount = .max }),
                ("zoneCopy", encode { $0.zoneCopy = .max }),
                ("zoneCRC", encode { $0.zoneCRC = .max }),
                ("rootCopy", encode { $0.rootCopy = .max }),
                ("rootOffset0", encode { $0.rootOffsets[0] = .max }),
                ("rootOffset1", encode { $0.rootOffsets[1] = .max }),
                ("rootCapacity", encode { $0.rootCapacity = .max }),
                ("rootLength", encode { $0.rootLength = .max }),
                ("rootCRC", encode { $0.rootCRC = .max }),
                ("checkpointSeq", encode { $0.checkpointSeq = .max }),
                ("checkpointLSN", encode { $0.checkpointLSN = .max }),
                ("tailPosition", encode { $0.tail.position = .max }),
                ("tailLSN", encode { $0.tail.lsn = .max }),
                ("tailPrevCRC", encode { $0.tail.prevGroupCRC = .max }),
                ("recoveredCRC", encode { $0.recoveredCRC = .max }),
                ("session", encode { $0.session = .max }),
                ("recoveredLSN", encode { $0.recoveredLSN = .max }),
                ("recoveredPosition", encode { $0.recoveredPosition = .max }),
                ("openEpoch", encode { $0.openEpoch = .max }),
                ("uploadedEpoch", encode { $0.uploadedEpoch = .max }),
                ("mountToken", encode { $0.mountToken = .max }),
                ("conflictCount", encode { $0.conflictCount = .max }),
                ("bootID", encode { $0.bootID = ones(16) }),
                ("createdAt", encode { $0.createdAt = .max }),
                ("mountedAt", encode { $0.mountedAt = .max }),
            ].map { ($0.0, $0.1) } + Self.texts(encode, text))
        let layout = try #require(FormatPage.shared.layouts["superblock"])
        #expect(layout.range("crc") == 16..<20)
        #expect(layout.range("magic").map { Array(base[$0]) } == Superblock.magic)
        let length = try #require(layout.range("headerLength")).lowerBound
        base.withUnsafeBytes { #expect($0.field(length, UInt32.self) == Superblock.headerLength) }
        #expect(layout.rows.last?.offset == Int(Superblock.headerLength))
    }

    /// Texts fill all but the last byte of their field; the full rows are compared here.
    static func texts(
        _ encode: (UInt32, (inout Superblock) -> Void) -> [UInt8], _ text: String
    ) -> [(String, [UInt8])] {
        func full(_ bytes: [UInt8], _ field: String) -> (String, [UInt8]) {
            var bytes = bytes
            if let last = FormatPage.shared.layouts["superblock"]?.range(field)?.last {
                #expect(bytes[last] == 0 && bytes[last - 1] == 0x78)
                bytes[last] = 1
            }
            return (field, bytes)
        }
        return [
            full(encode(0) { $0.creator = text }, "creator"),
            full(encode(0) { $0.mounter = text }, "mounter"),
            full(encode(0) { $0.host = text }, "host"),
        ]
    }

    @Test("zone table and root")
    func zones() throws {
        let seeds = SeedSpace(fileUUID: SmallWorld.fileUUID)
        let some = try SmallWorld.request().layOut().zones[0]
        func encode(count: Int = 1, _ change: (inout Zone) -> Void = { _ in }) -> [UInt8] {
            var zone = some
            (zone.slotsOffset, zone.slots) = (0, 0)
            (zone.hotOffsets, zone.coldOffsets) = ([0, 0], [0, 0])
            change(&zone)
            let zones = Array(repeating: zone, count: count)
            let table = ZoneTable.encode(zones, slotsPerZone: 77, seeds: seeds)
            return Array(table.bytes.bytes)
        }
        let page = FormatPage.shared
        let header = try #require(page.layouts["zoneHeader"])
        let base = encode()
        base.withUnsafeBytes {
            #expect($0.field(header.range("magic")!.lowerBound, UInt32.self) == ZoneTable.magic)
            #expect($0.field(header.range("version")!.lowerBound, UInt32.self) == 1)
            #expect($0.field(header.range("count")!.lowerBound, UInt32.self) == 1)
            #expect($0.field(header.range("groupSlots")!.lowerBound, UInt32.self) == 77)
            let crc = ZoneTable.encode([], slotsPerZone: 1, seeds: seeds)
            #expect(crc.bytes.bytes.field(header.range("crc")!.lowerBound, UInt32.self) == crc.crc)
        }
        func entry(_ change: (inout Zone) -> Void) -> [UInt8] {
            Array(encode(change)[ZoneTable.entrySize..<2 * ZoneTable.entrySize])
        }
        let all = Int.max
        // The highest bit of a place is never set; the last byte still differs.
        try Self.expect(
            "zoneEntry", entry { _ in }, besides: ["flags"],
            [
                ("slotsOffset", entry { $0.slotsOffset = all }),
                ("slots", entry { $0.slots = Int(UInt32.max) }),
                ("hotOffset0", entry { $0.hotOffsets[0] = all }),
                ("hotOffset1", entry { $0.hotOffsets[1] = all }),
                ("coldOffset0", entry { $0.coldOffsets[0] = all }),
                ("coldOffset1", entry { $0.coldOffsets[1] = all }),
            ])
        #expect(header.size == ZoneTable.entrySize)
        func root(_ change: (inout RootTable.Entry) -> Void) -> [UInt8] {
            var table = RootTable(pageCount: 1)
            change(&table.entries[0])
            let buffer = table.encode(seeds: seeds).bytes
            return Array(buffer.bytes[..<8])
        }
        try Self.expect(
            "rootEntry", root { _ in },
            [
                ("crc", root { $0.crc = .max }),
                ("place", root { ($0.generation, $0.copy) = (RootTable.generationMax, 1) }),
            ])
        #expect(root { $0.copy = 1 } == [0, 0, 0, 0, 0, 0, 0, 0x80])
    }

    @Test("directory pages")
    func directory() throws {
        func image(
            generation: UInt32 = 0, lsn: UInt64 = 0, copy: Int = 0,
            _ change: (SlotTable) -> Void = { _ in }
        ) throws -> [UInt8] {
            let table = SlotTable(
                geometry: try SmallWorld.request().layOut(),
                seeds: SeedSpace(fileUUID: Array(repeating: 0, count: 16)))
            table.setBlock(0, 0)
            change(table)
            _ = table.seal(0, generation: generation, lsn: lsn)
            let buffer = table.image(0, copy: copy)
            return Array(buffer.bytes)
        }
        let header = { (bytes: [UInt8]) in Array(bytes[..<Geometry.pageHeaderSize]) }
        try Self.expect(
            "pageHeader", header(try image()),
            besides: ["crc", "magic", "kind", "fileIdentity", "group", "number"],
            [
                ("copy", header(try image(copy: 1))),
                ("generation", header(try image(generation: .max))),
                ("lsn", header(try image(lsn: .max))),
            ])
        let layout = try #require(FormatPage.shared.layouts["pageHeader"])
        try image().withUnsafeBytes {
            #expect($0.field(layout.range("magic")!.lowerBound, UInt32.self) == SlotTable.pageMagic)
            #expect(
                $0.field(layout.range("kind")!.lowerBound, UInt8.self)
                    == SeedSpace.Kind.hotPage.rawValue)
        }
        let entry = { (bytes: [UInt8]) in Array(bytes[64..<64 + Geometry.hotEntrySize]) }
        try Self.expect(
            "hotEntry", entry(try image()), besides: ["crc", "heat", "state", "flags", "baseKind"],
            [
                ("block", entry(try image { $0.setBlock(0, .max) })),
                ("lsn", entry(try image { $0.setLSN(0, .max) })),
                ("dataLSN", entry(try image { $0.setDataLSN(0, .max) })),
                ("epoch", entry(try image { $0.setEpoch(0, .max) })),
                ("state", entry(try image { $0.setState(0, .bad) })),
                ("flags", entry(try image { $0.setZeroBase(0, true) })),
                ("baseKind", entry(try image { $0.setBase(0, Base(.hashed)) })),
                (
                    "base",
                    entry(
                        try image { $0.setBase(0, Base(.unknown, Array(repeating: 1, count: 24))) })
                ),
            ].filter { !["state", "flags", "baseKind"].contains($0.0) })
        // One-byte fields by themselves.
        let entries = try #require(FormatPage.shared.layouts["hotEntry"])
        #expect(entry(try image { $0.setState(0, .bad) })[entries.range("state")!.lowerBound] == 5)
        #expect(
            entry(try image { $0.setZeroBase(0, true) })[entries.range("flags")!.lowerBound] == 1)
        #expect(
            entry(try image { $0.setBase(0, .absent) })[entries.range("baseKind")!.lowerBound] == 1)
        #expect(entries.range("crc") == 60..<64)
    }

    @Test("group and records")
    func journal() throws {
        let seeds = SeedSpace(fileUUID: SmallWorld.fileUUID)
        func header(_ change: (inout GroupHeader) -> Void = { _ in }) -> [UInt8] {
            var header = GroupHeader(
                flags: [], prevGroupCRC: 0, session: 0, position: 0, firstLSN: 0, lastLSN: 0,
                durableLSN: 0, epoch: 0, headerBlocks: 1, recordCount: 0, dataBlocks: 0)
            change(&header)
            let buffer = AlignedBuffer.zeroed(4096)
            _ = header.encode(into: buffer.mutableBytes, seeds: seeds)
            return Array(buffer.bytes[..<RingFormat.headerSize])
        }
        try Self.expect(
            "groupHeader", header(), besides: ["headerCRC", "magic", "version", "headerBlocks"],
            [
                ("flags", header { $0.flags = .init(rawValue: .max) }),
                ("prevGroupCRC", header { $0.prevGroupCRC = .max }),
                ("session", header { $0.session = .max }),
                ("position", header { $0.position = .max }),
                ("firstLSN", header { $0.firstLSN = .max }),
                ("lastLSN", header { $0.lastLSN = .max }),
                ("durableLSN", header { $0.durableLSN = .max }),
                ("epoch", header { $0.epoch = .max }),
                ("recordCount", header { $0.recordCount = 65_535 }),
                ("dataBlocks", header { $0.dataBlocks = Int(UInt32.max) }),
            ])
        let layout = try #require(FormatPage.shared.layouts["groupHeader"])
        header().withUnsafeBytes {
            #expect($0.field(layout.range("magic")!.lowerBound, UInt32.self) == RingFormat.magic)
            #expect(
                $0.field(layout.range("version")!.lowerBound, UInt16.self) == RingFormat.version)
            #expect($0.field(layout.range("headerBlocks")!.lowerBound, UInt16.self) == 1)
        }
        func record(_ change: (inout RawRecord) -> Void) -> [UInt8] {
            var record = RawRecord(type: 0, slot: 0, block: 0, aux: 0)
            change(&record)
            var bytes: [UInt8] = []
            record.append(to: &bytes)
            return Array(bytes[..<24])
        }
        try Self.expect(
            "recordHeader", record { _ in }, besides: ["length"],
            [
                ("type", record { $0.type = .max }), ("flags", record { $0.flags = .max }),
                ("slot", record { $0.slot = .max }), ("block", record { $0.block = .max }),
                ("aux", record { $0.aux = .max }),
            ])
        #expect(record { _ in }[2] == 24)
    }

    /// Makes the bytes of a record, for blocks of 256 granules.
    static func encoder() throws -> (Record) -> [UInt8] {
        let geometry = try LayoutRequest(
            blockSize: 1 << 20, volumeBlocks: 100, slots: 100
        ).layOut()
        return { record in
            var bytes: [UInt8] = []
            record.encode(geometry).append(to: &bytes)
            return bytes
        }
    }

    @Test("bodies of records")
    func bodies() throws {
        let bytes = try Self.encoder()
        func data(first: Int = 0, crcs: Int = 0, position: UInt32 = 0) -> [UInt8] {
            Array(
                bytes(
                    .data(
                        DataRecord(
                            slot: 0, block: 0, firstGranule: first,
                            crcs: Array(repeating: 0xffff_ffff, count: crcs), dataPosition: position
                        ))
                )[..<40])
        }
        try Self.expect(
            "data", data(), besides: ["granuleCount", "dataLength"],
            [("firstGranule", data(first: 65_535)), ("dataPosition", data(position: .max))])
        let layout = try #require(FormatPage.shared.layouts["data"])
        data(crcs: 3).withUnsafeBytes {
            #expect($0.field(layout.range("granuleCount")!.lowerBound, UInt16.self) == 3)
            #expect($0.field(layout.range("dataLength")!.lowerBound, UInt32.self) == 3 * 4096)
        }
        func patch(_ granule: Int, _ ranges: [Range<Int>], position: UInt32 = 0) -> [UInt8] {
            let patch = PatchRecord(
                slot: 0, block: 0, granule: granule, ranges: ranges, crc: 0x0403_0201,
                dataPosition: position)
            return bytes(.patch(patch))
        }
        let head = { (bytes: [UInt8]) in Array(bytes[..<40]) }
        let none = patch(0, [])
        try Self.expect(
            "patch", head(none), besides: ["one", "payloadBytes", "rangeCount"],
            [
                ("granule", head(patch(65_535, []))),
                ("dataPosition", head(patch(0, [], position: .max))),
            ])
        let patches = try #require(FormatPage.shared.layouts["patch"])
        patch(0, [5..<9, 20..<23]).withUnsafeBytes {
            #expect($0.count == 64)
            #expect($0.field(patches.range("one")!.lowerBound, UInt16.self) == 1)
            #expect($0.field(patches.range("payloadBytes")!.lowerBound, UInt32.self) == 7)
            #expect($0.field(patches.range("rangeCount")!.lowerBound, UInt32.self) == 2)
            let bytes = $0
            let words = stride(from: 40, to: 64, by: 4).map { bytes.field($0, UInt32.self) }
            #expect(words == [5, 4, 20, 3, 0x0403_0201, 0])
        }
        let ones = [UInt8](repeating: 0xff, count: 24)
        func map(old: UInt32 = 0, _ base: Base = .unknown) -> [UInt8] {
            Array(
                bytes(
                    .map(
                        MapRecord(
                            slot: 0, block: 0, flags: [], oldSlot: old, base: base,
                            granules: GranuleSet(), crcs: []))
                )[..<56])
        }
        try Self.expect(
            "map", map(),
            [
                ("oldSlot", map(old: .max)), ("baseKind", map(.absent)),
                ("base", map(Base(.unknown, ones))),
            ])
        func clean(_ base: Base = .unknown) -> [UInt8] {
            bytes(.clean(CleanRecord(slot: 0, block: 0, asOf: 0, base: base)))
        }
        try Self.expect(
            "clean", clean(), [("baseKind", clean(.absent)), ("base", clean(Base(.unknown, ones)))])
        func intent(_ base: Base = .unknown, _ digest: UInt8 = 0) -> [UInt8] {
            bytes(
                .intent(
                    IntentRecord(
                        slot: 0, block: 0, asOf: 1, base: base,
                        digest: Array(repeating: digest, count: 32))))
        }
        try Self.expect(
            "intent", intent(),
            [
                ("baseKind", intent(.absent)), ("base", intent(Base(.unknown, ones))),
                ("digest", intent(.unknown, .max)),
            ])
        // Sizes: a full MAP, and the two kinds of EVICT.
        let all = GranuleSet.all(256)
        let full = MapRecord(
            slot: 0, block: 0, flags: [], granules: all, crcs: Array(repeating: 1, count: 256))
        #expect(bytes(.map(full)).count == 56 + 32 + 1024)
        #expect(bytes(.evict(EvictRecord(slot: 0, block: 0))).count == 24)
        #expect(bytes(.evict(EvictRecord(slot: 0, block: 0, granules: all))).count == 24 + 32)
        #expect(bytes(.epoch(1)).count == 24)
        let codes: [(Record.TypeCode, String)] = [
            (.data, "DATA"), (.map, "MAP"), (.zero, "ZERO"), (.clean, "CLEAN"), (.evict, "EVICT"),
            (.intent, "INTENT"), (.epoch, "EPOCH"),
        ]
        for (code, name) in codes {
            #expect(FormatPage.shared.text.contains("**\(code.rawValue) \(name)**"))
        }
    }

    @Test("sizes by block size")
    func coldTable() throws {
        let rows = FormatPage.shared.table("cold")
        #expect(rows.count == 6)
        for row in rows {
            let numbers = row.compactMap { Int($0) }
            let geometry = try LayoutRequest(
                blockSize: numbers[0], volumeBlocks: 10, slots: 100
            ).layOut()
            #expect(
                numbers == [
                    geometry.blockSize, geometry.granuleSize, geometry.granulesPerBlock,
                    geometry.bitmapBytes, geometry.coldEntrySize, geometry.coldPerPage,
                ])
        }
    }

    @Test("seeds")
    func seeds() {
        for kind in SeedSpace.Kind.allCases {
            let byte = "0x" + String(kind.rawValue, radix: 16)
            #expect(FormatPage.shared.text.contains("| \(kind) | \(byte) `"))
        }
    }
}
