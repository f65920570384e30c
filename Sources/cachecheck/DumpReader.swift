import CacheFile
import FileIO
import Journal

/// The lines of a dump, one after the other.
struct DumpLines {
    private let file: PosixFile
    private let size: Int
    private var place = 0
    private var pending: [UInt8] = []
    private var from = 0
    private(set) var number = 0
    private static let pieceBytes = 1 << 20
    /// A slot with 256 granules takes some 4 KiB.
    private static let lineBytesMax = 1 << 20

    init(_ path: String) throws(FileError) {
        file = try PosixFile.open(path, readOnly: true)
        size = try file.size()
    }

    var progress: (Int, Int) { (place, size) }

    /// nil: that was all.
    mutating func next() throws(DocumentError) -> JSONPlace? {
        while true {
            if let end = pending[from...].firstIndex(of: 0x0a) {
                let line = Array(pending[from..<end])
                from = end + 1
                number += 1
                return try parse(line)
            }
            if place == size {
                if from == pending.count { return nil }
                throw DocumentError(message: "line \(number + 1): has no end")
            }
            if pending.count - from > Self.lineBytesMax {
                throw DocumentError(message: "line \(number + 1): is too long")
            }
            try fill()
        }
    }

    private mutating func fill() throws(DocumentError) {
        let count = min(Self.pieceBytes, size - place)
        let buffer = AlignedBuffer(count)
        do throws(FileError) {
            try file.read(into: buffer.mutableBytes, at: place, .cached)
        } catch {
            throw DocumentError(message: error.message)
        }
        pending.removeFirst(from)
        from = 0
        pending += buffer.bytes
        place += count
    }

    private func parse(_ line: [UInt8]) throws(DocumentError) -> JSONPlace {
        do throws(JSONReader.Malformed) {
            return JSONPlace(value: try JSONReader.read(line), path: "line \(number)")
        } catch {
            throw DocumentError(message: "line \(number), byte \(error.at + 1): is no JSON")
        }
    }
}

/// Makes a cache file of a dump. Believes nothing of it.
struct DumpReader {
    struct Outcome {
        var blocks = 0
        var copiedBytes = 0
        /// Clean blocks of which bytes are missing.
        var empty = 0
        /// Dirty blocks of which bytes are missing.
        var damaged = 0
    }

    private var lines: DumpLines
    private let source: Subject?
    private var outcome = Outcome()
    private var damaged: Set<UInt64> = []

    init(_ lines: DumpLines, _ source: Subject?) {
        self.lines = lines
        self.source = source
    }

    /// Blocks.
    mutating func run(
        _ target: any FileIO, _ progress: (Int, Int) -> Void
    ) throws(DocumentError) -> Outcome {
        guard let head = try lines.next() else {
            throw DocumentError(message: "line 1: there is none")
        }
        let image = try begin(head, target)
        var counts = (slots: 0, patches: 0, uploads: 0, trims: 0)
        while let line = try lines.next() {
            let (done, all) = lines.progress
            progress(done, all)
            if let slot = try line.find("slot") {
                guard counts.patches + counts.uploads + counts.trims == 0 else {
                    throw slot.wrong("comes too late")
                }
                try put(line, slot, image)
                counts.slots += 1
            } else if let block = try line.find("patch") {
                try put(patch: line, block, image)
                counts.patches += 1
            } else if let block = try line.find("upload") {
                try put(upload: line, block, image)
                counts.uploads += 1
            } else if let blocks = try line.find("trimmed") {
                try put(trim: line, blocks, image)
                counts.trims += 1
            } else {
                try compare(line, "slots", counts.slots)
                try compare(line, "patches", counts.patches)
                try compare(line, "uploads", counts.uploads)
                try compare(line, "trims", counts.trims)
                if try lines.next() != nil {
                    throw DocumentError(message: "line \(lines.number): there is more")
                }
                try placed(line) { () throws(CacheFileError) in try image.finish() }
                outcome.damaged = damaged.count
                return outcome
            }
        }
        throw DocumentError(message: "line \(lines.number + 1): the end is missing")
    }

    private func compare(
        _ line: JSONPlace, _ name: String, _ count: Int
    ) throws(DocumentError) {
        let place = try line.member(name)
        if try place.number() != UInt64(count) { throw place.wrong("there were \(count)") }
    }

    /// Says where in the dump is what the image does not take.
    private func placed<Result>(
        _ place: JSONPlace, _ body: () throws(CacheFileError) -> Result
    ) throws(DocumentError) -> Result {
        do throws(CacheFileError) { return try body() } catch { throw place.wrong(error.message) }
    }

    // MARK: The first line

    private func begin(
        _ head: JSONPlace, _ target: any FileIO
    ) throws(DocumentError) -> FileImage {
        let version = try head.member("dump")
        guard try version.number() == Dump.version else {
            throw version.wrong("is no version that this program knows")
        }
        let status = try head.member("status")
        guard try status.number() == 0 else {
            throw status.wrong("the file was damaged; repair it before it is dumped")
        }
        let volume = try head.member("volume")
        let layout = try head.member("layout")
        let session = try head.member("session")
        let volumeBlocks = try volume.member("volumeBlocks").number(UInt64(UInt32.max))
        if volumeBlocks == 0 { throw try volume.member("volumeBlocks").wrong("is 0") }
        let request = LayoutRequest(
            blockSize: try volume.member("blockSize").int(64 << 20), volumeBlocks: volumeBlocks,
            slots: try layout.member("slots").int(Geometry.slotsMax),
            ringBytes: try layout.member("ringBytes").int(2 << 30))
        let geometry = try placed(layout) { () throws(CacheFileError) in try request.layOut() }
        var facts = Superblock(
            fileUUID: try layout.member("fileUUID").bytes(16),
            volumeUUID: try volume.member("volumeUUID").bytes(16),
            binding: try volume.member("binding").bytes(32), geometry: geometry)
        if let source, source.recovered.superblock.fileUUID != facts.fileUUID {
            throw try layout.member("fileUUID").wrong("is not that of \(source.path)")
        }
        facts.session = try session.member("number").number()
        facts.generation = try session.member("generation").number()
        facts.uploadedEpoch = try session.member("uploadedEpoch").number()
        facts.creator = try layout.member("creator").string()
        facts.createdAt = try layout.member("createdAt").number(.max)
        facts.mounter = try session.member("mounter").string()
        facts.host = try session.member("host").string()
        facts.bootID = try session.member("bootID").bytes(16)
        facts.mountedAt = try session.member("mountedAt").number(.max)
        let next = try session.member("nextLSN").number()
        let epoch = try session.member("epoch").number()
        let found = facts
        return try placed(layout) { () throws(CacheFileError) in
            try FileImage(
                target, geometry, facts: found, fileUUID: found.fileUUID, nextLSN: next,
                epoch: epoch)
        }
    }

    // MARK: Slots

    private mutating func put(
        _ line: JSONPlace, _ slotPlace: JSONPlace, _ image: FileImage
    ) throws(DocumentError) {
        let geometry = image.geometry
        let slot = try slotPlace.int(geometry.slotCount - 1)
        let name = try line.member("state")
        let text = try name.string()
        let states = [SlotState.clean, .dirty, .conflict]
        guard let state = states.first(where: { $0.name == text }) else {
            throw name.wrong("is none of clean, dirty, conflict")
        }
        var granules = GranuleSet()
        for run in try line.member("granules").ranges(geometry.granulesPerBlock) {
            granules = granules.union(GranuleSet(run))
        }
        let entry = FileImage.Entry(
            block: try line.member("block").number(geometry.volumeBlocks - 1), state: state,
            lsn: try line.member("lsn").number(), dataLSN: try line.member("dataLSN").number(),
            epoch: try line.member("epoch").number(),
            base: try Base(dumped: line.member("base")),
            isZeroBase: try line.member("zeros").bool(), granules: granules)
        let digits = try line.member("crcs").bytes(4 * granules.count)
        try placed(line) { () throws(CacheFileError) in try image.put(entry, in: slot) }
        outcome.blocks += 1
        let buffer = AlignedBuffer(geometry.granuleSize)
        var hasAll = true
        for (number, granule) in granules.runs.joined().enumerated() {
            let crc = digits[4 * number..<4 * number + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            let isThere = fetch(entry.block, slot, granule, crc, buffer)
            hasAll = hasAll && isThere
            if isThere { outcome.copiedBytes += geometry.granuleSize }
            try placed(line) { () throws(CacheFileError) in
                try image.put(granule, of: slot, crc: crc, isThere ? buffer.bytes : nil)
            }
        }
        if hasAll { return }
        if state == .clean { outcome.empty += 1 } else { damaged.insert(entry.block) }
    }

    /// Reads a granule of the old file, if it has these very bytes: from the slot, or from wherever
    /// they are by now.
    private func fetch(
        _ block: UInt64, _ slot: Int, _ granule: Int, _ crc: UInt32, _ buffer: AlignedBuffer
    ) -> Bool {
        guard let source else { return false }
        let state = source.state
        let geometry = source.geometry
        guard geometry.granuleSize == buffer.count, granule < geometry.granulesPerBlock else {
            return false
        }
        func fits(_ offset: Int) -> Bool {
            do throws(FileError) {
                try source.opened.file.read(into: buffer.mutableBytes, at: offset, .direct)
            } catch { return false }
            return state.checksum(buffer.bytes, block: block, granule: granule) == crc
        }
        let inSlot = granule * geometry.granuleSize
        if slot < geometry.slotCount, fits(geometry.slotOffset(slot) + inSlot) { return true }
        if let now = state.slot(of: block) {
            if now != slot, fits(geometry.slotOffset(now) + inSlot) { return true }
            if case .overlay(let overlay) = state.source(slot: now, block: block, granule: granule),
                case .ring(let position, crc) = overlay.place,
                fits(geometry.ringOffset + Int(position % UInt64(geometry.ringLength)))
            {
                return true
            }
        }
        buffer.mutableBytes.initializeMemory(as: UInt8.self, repeating: 0)
        return state.checksum(buffer.bytes, block: block, granule: granule) == crc
    }

    // MARK: Journal

    private mutating func put(
        patch line: JSONPlace, _ blockPlace: JSONPlace, _ image: FileImage
    ) throws(DocumentError) {
        let geometry = image.geometry
        let block = try blockPlace.number(geometry.volumeBlocks - 1)
        let granule = try line.member("granule").int(geometry.granulesPerBlock - 1)
        let lsn = try line.member("lsn").number()
        let ranges = try line.member("bytes").ranges(geometry.granuleSize)
        let known = source?.state.patch(block, granule)
        if let known, known.lsn == lsn, known.ranges == ranges {
            return try placed(line) { () throws(CacheFileError) in
                try image.put(
                    patch: granule, of: block, ranges, lsn: lsn, payload: known.payload())
            }
        }
        guard let slot = image.state.slot(of: block), image.state.slots.state(slot) != .clean else {
            throw line.wrong("a patch of a block that is not dirty")
        }
        image.lose(granule, of: slot)
        damaged.insert(block)
    }

    private func put(
        upload line: JSONPlace, _ blockPlace: JSONPlace, _ image: FileImage
    ) throws(DocumentError) {
        let block = try blockPlace.number(image.geometry.volumeBlocks - 1)
        let digest = try line.member("digest")
        var bytes: [UInt8]?
        if case .null = digest.value {} else { bytes = try digest.bytes(32) }
        let intent = IntentRecord(
            slot: 0, block: block, asOf: try line.member("asOf").number(),
            base: try Base(dumped: line.member("base")), digest: bytes)
        try placed(line) { () throws(CacheFileError) in try image.put(intent) }
    }

    private func put(
        trim line: JSONPlace, _ blocks: JSONPlace, _ image: FileImage
    ) throws(DocumentError) {
        let range = try blocks.range(image.geometry.volumeBlocks)
        let lsn = try line.member("lsn").number()
        try placed(line) { () throws(CacheFileError) in try image.put(zeros: range, lsn: lsn) }
    }
}
