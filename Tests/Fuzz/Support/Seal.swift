import CacheFile
import FileIO
import Journal

/// Makes every checksum of a changed image right again, from the bottom up, so that the fuzzer gets
/// behind them: what a checksum covers is taken as it is.
struct Seal {
    private let file: MemoryFile
    private let geometry: Geometry
    private let seeds: SeedSpace

    /// - Parameter geometry: of the image before it was changed; that is where things are looked for.
    static func all(_ file: MemoryFile, _ geometry: Geometry, _ seeds: SeedSpace) {
        let seal = Seal(file: file, geometry: geometry, seeds: seeds)
        let generations = [0, 2].map { seal.field($0, 56, UInt64.self) }
        let current = generations[0] > generations[1] ? 0 : 2
        seal.ring(tail: seal.field(current, 240), seal.field(current, 256))
        let zoneCRC = seal.zoneTable(copy: Int(seal.field(current, 180, UInt32.self) & 1))
        let rootCRC = seal.root(copy: Int(seal.field(current, 188, UInt32.self) & 1))
        seal.superblock(2 - current, parent: nil) { _ in }
        seal.superblock(current, parent: 2 - current) {
            $0.setField(184, zoneCRC)
            $0.setField(224, rootCRC)
        }
    }

    private func with<Result>(
        _ at: Int, _ count: Int, _ body: (UnsafeMutableRawBufferPointer) -> Result
    ) -> Result {
        file.bytes.withUnsafeMutableBytes { all in
            body(UnsafeMutableRawBufferPointer(rebasing: all[at..<at + count]))
        }
    }

    private func crc(_ bytes: UnsafeMutableRawBufferPointer, _ seed: UInt32 = 0) -> UInt32 {
        Checksum.crc32c(UnsafeRawBufferPointer(bytes), seed: seed)
    }

    // MARK: Superblocks

    private func field<Value: FixedWidthInteger>(
        _ copy: Int, _ offset: Int, _: Value.Type = Value.self
    ) -> Value {
        with(geometry.superblockOffset(copy), Superblock.size) { $0.field(offset) }
    }

    /// A pair of copies: both as the first one.
    private func superblock(
        _ copy: Int, parent: Int?, _ change: (UnsafeMutableRawBufferPointer) -> Void
    ) {
        let parentCRC: UInt32? = parent.map { field($0, 16) }
        let bytes = with(geometry.superblockOffset(copy), Superblock.size) { bytes -> [UInt8] in
            change(bytes)
            bytes.setBytes(0, Superblock.magic)
            if let parentCRC { bytes.setField(64, parentCRC) }
            bytes.setField(16, UInt64(0))
            bytes.setField(16, crc(bytes))
            return Array(bytes)
        }
        for mate in copy...copy + 1 {
            with(geometry.superblockOffset(mate), Superblock.size) {
                $0.setBytes(0, bytes)
                $0.setField(20, UInt32(mate))
            }
        }
    }

    // MARK: Tables and pages

    private func zoneTable(copy: Int) -> UInt32 {
        with(ZoneTable.offset(copy: copy), Geometry.zoneTableBytes) { bytes in
            bytes.setField(12, UInt32(0))
            let crc = crc(bytes, seeds.seed(.zones, 0))
            bytes.setField(12, crc)
            return crc
        }
    }

    private func root(copy: Int) -> UInt32 {
        let at = geometry.rootOffsets[copy]
        for page in 0..<geometry.pageCount {
            let place: UInt32 = with(at + page * 8, 8) { $0.field(4) }
            guard place & RootTable.generationMax != 0 else { continue }
            let crc = self.page(page, copy: Int(place >> 31))
            with(at + page * 8, 8) { $0.setField(0, crc) }
        }
        return with(at, geometry.pageCount * 8) { crc($0, seeds.seed(.root, 0)) }
    }

    private func page(_ number: Int, copy: Int) -> UInt32 {
        let isHot = geometry.isHot(number)
        let identity = geometry.pageIdentity(number)
        let seed = seeds.seed(
            isHot ? .hotPage : .coldPage, UInt64(identity.zone) << 32 | UInt64(identity.number))
        let slots = isHot ? geometry.slots(inHotPage: number) : 0..<0
        return with(geometry.pageOffset(number, copy: copy), Geometry.pageSize) { bytes in
            var entries: [UInt32] = []
            for (index, slot) in slots.enumerated() {
                let at = Geometry.pageHeaderSize + index * Geometry.hotEntrySize
                let entry = UnsafeRawBufferPointer(
                    rebasing: UnsafeRawBufferPointer(bytes)[at..<at + 60])
                entries.append(
                    Checksum.crc32c(entry, seed: seeds.seed(.entry, UInt64(slot))))
                bytes.setField(at + 60, UInt32(0))
            }
            let copyByte: UInt8 = bytes.field(5)
            bytes.setField(5, UInt8(0))
            bytes.setField(28, UInt32(0))
            let sum = crc(bytes, seed)
            bytes.setField(28, sum)
            bytes.setField(5, copyByte)
            for (index, entry) in entries.enumerated() {
                let at = Geometry.pageHeaderSize + index * Geometry.hotEntrySize
                bytes.setField(at + 60, entry)
            }
            return sum
        }
    }

    // MARK: Ring

    private func ring(tail: UInt64, _ tailPrevCRC: UInt32) {
        let length = UInt64(geometry.ringLength)
        var position = tail
        var previous = tailPrevCRC
        for _ in 0..<geometry.ringLength / RingFormat.blockSize {
            let at = geometry.ringOffset + Int(position % length)
            guard at % 8 == 0, at + RingFormat.blockSize <= geometry.superblockOffset(2) else {
                return
            }
            let header = with(at, RingFormat.blockSize) {
                GroupHeader.decode(UnsafeRawBufferPointer($0), ringLength: geometry.ringLength)
            }
            guard let header, header.position == position else { return }
            with(at, header.byteCount) { bytes in
                payloads(header, bytes)
                let head = UnsafeMutableRawBufferPointer(
                    rebasing: bytes[..<(header.headerBlocks * RingFormat.blockSize)])
                head.setField(12, previous)
                head.setField(8, UInt32(0))
                previous = crc(head, seeds.seed(.group, position))
                head.setField(8, previous)
            }
            position += UInt64(header.byteCount)
        }
    }

    /// Checksums of DATA and PATCH, where these lie within the group.
    private func payloads(_ header: GroupHeader, _ group: UnsafeMutableRawBufferPointer) {
        let headBytes = header.headerBlocks * RingFormat.blockSize
        let head = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(group)[..<headBytes])
        let data = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(group)[headBytes...])
        guard let records = RawRecord.decodeAll(head, count: header.recordCount) else { return }
        var at = RingFormat.headerSize
        for raw in records {
            defer { at += raw.encodedSize }
            guard var record = Record.decode(raw, geometry) else { continue }
            switch record {
            case .data(var item):
                let start = Int(item.dataPosition) * RingFormat.blockSize
                let size = geometry.granuleSize
                guard start + item.crcs.count * size <= data.count else { continue }
                for (number, granule) in item.granules.enumerated() {
                    let bytes = data[(start + number * size)..<(start + (number + 1) * size)]
                    let index = geometry.granuleSeedIndex(block: item.block, granule: granule)
                    item.crcs[number] = Checksum.crc32c(
                        UnsafeRawBufferPointer(rebasing: bytes),
                        seed: seeds.seed(.granule, index))
                }
                record = .data(item)
            case .patch(var item):
                let start = Int(item.dataPosition) * RingFormat.blockSize
                guard start + item.payloadBytes <= data.count else { continue }
                let bytes = data[start..<start + item.payloadBytes]
                item.crc = item.checksum(
                    UnsafeRawBufferPointer(rebasing: bytes), geometry, seeds)
                record = .patch(item)
            default: continue
            }
            group.setBytes(at + RingFormat.recordHeaderSize, record.encode(geometry).body)
        }
    }
}
