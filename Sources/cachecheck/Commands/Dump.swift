import ArgumentParser
import BlockStore
import CacheFile
import FileIO
import Journal

struct Dump: Command {
    /// Of what `restore` reads.
    static let version: UInt64 = 1

    static let configuration = CommandConfiguration(
        abstract: "Writes the metadata as JSON, an object a line.",
        discussion: """
            The file, then each slot in use, patches, uploads announced, trimmed blocks, and a line \
            that says how many of them there were. No byte of a block, which a patch is, too. \
            "restore" makes a cache file of it.
            """)

    @Option(help: ArgumentHelp("A new file for it (default: standard output).", valueName: "NEW"))
    var out: String?

    @OptionGroup var common: CommonOptions

    func execute() -> Int32 {
        look("dump", common) { subject in
            guard let out else {
                var stream = OutputStream()
                write(subject) { stream.line($0) }
                return stream.finish(subject.status)
            }
            do throws(FileError) {
                let file = try NewFile(out)
                var failure: FileError?
                write(subject) { line in
                    guard failure == nil else { return }
                    do throws(FileError) { try file.append(line + "\n") } catch { failure = error }
                }
                if let failure {
                    file.discard()
                    throw failure
                }
                try file.finish()
                return report(subject, file.byteCount)
            } catch {
                return fail("dump", common, .failed(Failure(writing: error)))
            }
        }
    }

    private func report(_ subject: Subject, _ bytes: Int) -> Int32 {
        if common.json {
            let members =
                subject.header("dump") + [
                    ("dump", .string(out ?? "")), ("bytes", .number(bytes)),
                ]
            return Output.finish(JSON.object(members).text + "\n", subject.status)
        }
        let lines =
            (common.quiet ? [] : subject.warnings)
            + ["\(Text.safe(out ?? "")): \(Text.size(UInt64(bytes))) of metadata"]
        return Output.finish(lines.map { $0 + "\n" }.joined(), subject.status)
    }

    // MARK: Lines

    private func write(_ subject: Subject, _ line: (String) -> Void) {
        let state = subject.state
        line(JSON.object(Self.head(subject)).text)
        var slots = 0
        for slot in 0..<subject.geometry.slotCount where !state.slots.isFree(slot) {
            line(JSON.object(Self.entry(slot, state)).text)
            slots += 1
        }
        let patches = state.patches(before: .max).sorted {
            ($0.block, $0.patch.granule) < ($1.block, $1.patch.granule)
        }
        for (block, patch) in patches {
            line(
                JSON.object([
                    ("patch", .number(block)), ("granule", .number(patch.granule)),
                    ("lsn", .number(patch.lsn)), ("bytes", .array(patch.ranges.map(\.json))),
                    ("payload", .string("omitted")),
                ]).text)
        }
        let intents = state.intents(before: .max).map(\.record).sorted {
            ($0.block, $0.asOf) < ($1.block, $1.asOf)
        }
        for intent in intents {
            line(
                JSON.object([
                    ("upload", .number(intent.block)), ("asOf", .number(intent.asOf)),
                    ("base", .string(intent.base.dumped)),
                    ("digest", intent.isDelete ? .null : .string(Digest.hex(intent.digest))),
                ]).text)
        }
        for extent in state.zeros.items {
            line(
                JSON.object([
                    ("trimmed", extent.blocks.json), ("lsn", .number(extent.lsn)),
                ]).text)
        }
        line(
            JSON.object([
                ("slots", .number(slots)), ("patches", .number(patches.count)),
                ("uploads", .number(intents.count)), ("trims", .number(state.zeros.count)),
            ]).text)
    }

    private static func head(_ subject: Subject) -> [(String, JSON)] {
        let sb = subject.recovered.superblock
        return subject.header("dump") + [
            ("dump", .number(version)),
            (
                "volume",
                .object([
                    ("binding", .string(Digest.hex(sb.binding))),
                    ("volumeUUID", .string(Digest.hex(sb.volumeUUID))),
                    ("blockSize", .number(UInt64(sb.blockSize))),
                    ("volumeBlocks", .number(sb.volumeBlocks)),
                ])
            ),
            (
                "layout",
                .object([
                    ("fileUUID", .string(Digest.hex(sb.fileUUID))),
                    ("granuleSize", .number(UInt64(sb.granuleSize))),
                    ("slots", .number(sb.slotCount)), ("ringBytes", .number(sb.ringLength)),
                    ("createdAt", .number(sb.createdAt)), ("creator", .string(sb.creator)),
                ])
            ),
            (
                "session",
                .object([
                    ("number", .number(sb.session)), ("state", .number(UInt64(sb.state))),
                    ("generation", .number(sb.generation)),
                    ("nextLSN", .number(subject.recovered.scan.end.lsn)),
                    ("epoch", .number(subject.recovered.lastEpoch)),
                    ("uploadedEpoch", .number(sb.uploadedEpoch)),
                    ("mountToken", .number(sb.mountToken)),
                    ("mounter", .string(sb.mounter)), ("host", .string(sb.host)),
                    ("bootID", .string(Digest.hex(sb.bootID))),
                    ("mountedAt", .number(sb.mountedAt)),
                ])
            ),
            (
                "groups",
                .array(
                    subject.geometry.zones.map { zone in
                        .object([
                            ("slots", .number(zone.slots)),
                            ("slotsOffset", .number(zone.slotsOffset)),
                            ("hotOffsets", .array(zone.hotOffsets.map { .number($0) })),
                            ("coldOffsets", .array(zone.coldOffsets.map { .number($0) })),
                        ])
                    })
            ),
        ]
    }

    /// What is in the journal counts as being in the slot: there it goes when the file is restored.
    private static func entry(_ slot: Int, _ state: CacheState) -> [(String, JSON)] {
        let entry = FileImage.Entry(state, slot)
        let zeros = AlignedBuffer.zeroed(state.geometry.granuleSize)
        var crcs: [UInt8] = []
        entry.granules.forEach { granule in
            let crc: UInt32
            switch state.source(slot: slot, block: entry.block, granule: granule) {
            case .slot(let known): crc = known
            case .overlay(let overlay):
                crc =
                    overlay.crc ?? state.checksum(zeros.bytes, block: entry.block, granule: granule)
            case .zeros, .missing: crc = 0
            }
            for shift in [24, 16, 8, 0] { crcs.append(UInt8(truncatingIfNeeded: crc >> shift)) }
        }
        return [
            ("slot", .number(slot)), ("block", .number(entry.block)),
            ("state", .string(entry.state.name)), ("lsn", .number(entry.lsn)),
            ("dataLSN", .number(entry.dataLSN)), ("epoch", .number(entry.epoch)),
            ("base", .string(entry.base.dumped)), ("zeros", .bool(entry.isZeroBase)),
            ("granules", entry.granules.json), ("crcs", .string(Digest.hex(crcs))),
        ]
    }
}

extension CacheState {
    /// The checksum that a granule of a block has in this file.
    func checksum(_ bytes: UnsafeRawBufferPointer, block: UInt64, granule: Int) -> UInt32 {
        let index = geometry.granuleSeedIndex(block: block, granule: granule)
        return Checksum.crc32c(bytes, seed: slots.seeds.seed(.granule, index))
    }
}

extension Base.Kind {
    fileprivate var name: String {
        switch self {
        case .unknown: "unknown"
        case .absent: "absent"
        case .md5: "md5"
        case .multipart: "multipart"
        case .text: "text"
        case .hashed: "hashed"
        }
    }
}

extension Base {
    /// Kind and bytes, exactly.
    var dumped: String {
        bytes.allSatisfy { $0 == 0 } ? kind.name : "\(kind.name):\(Digest.hex(bytes))"
    }

    init(dumped place: JSONPlace) throws(DocumentError) {
        let parts = try place.string().split(separator: ":", omittingEmptySubsequences: false)
        let kinds = [Kind.unknown, .absent, .md5, .multipart, .text, .hashed]
        guard let kind = kinds.first(where: { $0.name == parts[0] }), parts.count <= 2 else {
            throw place.wrong("is no base")
        }
        guard parts.count == 2 else {
            self.init(kind)
            return
        }
        let digits = JSONPlace(value: .string(String(parts[1])), path: place.path)
        self.init(kind, try digits.bytes(24))
    }
}
