import ArgumentParser
import BlockStore
import FileIO

struct Import: Command {
    static let configuration = CommandConfiguration(
        abstract: "Looks into a cache file of the original s3backer.",
        discussion: """
            Shows what it is; with --list its blocks, with --to DIR it copies the dirty ones as \
            "salvage" does. Such a file has no checksums: whether the bytes are right nobody knows.
            """)

    @OptionGroup var common: CommonOptions

    @Flag(name: .long, help: "List the blocks.")
    var list = false

    @Option(name: .long, help: ArgumentHelp("Copy dirty blocks there.", valueName: "DIR"))
    var to: String?

    mutating func validate() throws {
        if list && to != nil { throw ValidationError("--list and --to exclude each other.") }
    }

    func execute() -> Int32 {
        do throws(Failure) {
            let cache = try open()
            if let to { return try salvage(cache, to) }
            return list ? show(cache) : report(cache, nil, 0)
        } catch {
            return fail("import", common, .failed(error))
        }
    }

    private func open() throws(Failure) -> ForeignCache {
        if let odd = Failure.oddKind(common.file) { throw odd }
        let file: PosixFile
        do throws(FileError) {
            file = try PosixFile.open(common.file, readOnly: true)
        } catch {
            throw Failure(reading: error)
        }
        do throws(FileError) { return try ForeignCache(file) } catch {
            throw Failure(
                kind: "garbage", message: "\(Text.safe(common.file)) \(Text.safe(error.message))",
                remedy: "check the name")
        }
    }

    // MARK: Show and list

    private func status(_ cache: ForeignCache) -> Int32 {
        let isSound =
            cache.duplicates.isEmpty && cache.entries.allSatisfy { cache.isWhole($0) }
        return isSound ? ExitStatus.sound : ExitStatus.problems
    }

    private func header(_ cache: ForeignCache, _ status: Int32) -> [(String, JSON)] {
        [
            ("cachecheck", .number(JSON.version)), ("command", .string("import")),
            ("file", .string(common.file)), ("status", .number(Int(status))),
            ("blockSize", .number(cache.blockSize)), ("slots", .number(cache.slotCount)),
            ("mountToken", .number(UInt64(cache.mountToken))),
            ("dirtyBlocks", .number(cache.dirtyCount)),
            ("cleanBlocks", .number(cache.entries.count - cache.dirtyCount)),
            ("duplicates", .array(cache.duplicates.map { .number(UInt64($0)) })),
            (
                "cutOff",
                .array(
                    cache.entries.filter { !cache.isWhole($0) }
                        .map { .number(UInt64($0.block)) })
            ),
        ]
    }

    private func show(_ cache: ForeignCache) -> Int32 {
        var stream = OutputStream()
        let status = status(cache)
        if common.json { stream.line(JSON.object(header(cache, status)).text) }
        for entry in cache.entries where common.json || !common.quiet {
            let state = entry.isDirty ? "dirty" : "clean"
            if common.json {
                stream.line(
                    JSON.object([
                        ("block", .number(UInt64(entry.block))), ("state", .string(state)),
                        ("slot", .number(entry.slot)), ("tag", .string(Digest.hex(entry.tag))),
                        ("cutOff", .bool(!cache.isWhole(entry))),
                    ]).text)
            } else {
                stream.line(
                    "\(entry.block): \(state), slot \(entry.slot)"
                        + (entry.isDirty ? "" : ", tag \(Digest.hex(entry.tag))")
                        + (cache.isWhole(entry) ? "" : ", cut off"))
            }
        }
        if !common.json { stream.line(Text.count(cache.entries.count, "block")) }
        return stream.finish(status)
    }

    /// - Parameter salvaged: blocks copied.
    private func report(_ cache: ForeignCache, _ salvaged: Int?, _ more: Int32) -> Int32 {
        let status = status(cache) | more
        if common.json {
            var members = header(cache, status)
            if let salvaged { members.append(("salvagedBlocks", .number(salvaged))) }
            return Output.finish(JSON.object(members).text + "\n", status)
        }
        var lines: [String] = []
        if !common.quiet {
            let line = Report.line
            lines = [
                line("block", Text.size(UInt64(cache.blockSize))),
                line(
                    "slots",
                    "\(cache.slotCount): \(cache.entries.count - cache.dirtyCount) clean, "
                        + "\(cache.dirtyCount) dirty, "
                        + "\(cache.slotCount - cache.entries.count) free"),
                line(
                    "mount token",
                    cache.mountToken == 0 ? "none" : "0x" + String(cache.mountToken, radix: 16)),
            ]
            for block in cache.duplicates { lines.append("error: block \(block) is in two slots") }
            for entry in cache.entries where !cache.isWhole(entry) {
                lines.append("error: the file ends before block \(entry.block)")
            }
        }
        let what = status & ExitStatus.problems == 0 ? "readable" : "damaged"
        lines.append(
            "a cache file of the original s3backer; \(what); "
                + (salvaged.map { "\(Text.count($0, "dirty block")) salvaged" }
                    ?? Text.count(cache.dirtyCount, "dirty block")))
        return Output.finish(lines.map { $0 + "\n" }.joined(), status)
    }

    // MARK: Salvage

    private func salvage(_ cache: ForeignCache, _ path: String) throws(Failure) -> Int32 {
        let directory = try SalvageDirectory(path, blockSize: cache.blockSize)
        let dirty = cache.entries.filter(\.isDirty)
        let progress = Progress("salvaging", common)
        let buffer = AlignedBuffer(cache.blockSize)
        var bad: [UInt32] = []
        var copied: Set<UInt32> = []
        for (number, entry) in dirty.enumerated() {
            progress.show(number + 1, dirty.count)
            // Of a block in two slots nobody knows which is newer; the first is taken, and told of.
            if copied.contains(entry.block) { continue }
            do throws(FileError) { try cache.read(entry, into: buffer.mutableBytes) } catch {
                bad.append(entry.block)
                continue
            }
            try directory.put(UInt64(entry.block), buffer.bytes)
            copied.insert(entry.block)
        }
        progress.clear()
        let status: Int32 = bad.isEmpty && cache.duplicates.isEmpty ? 0 : ExitStatus.undelivered
        do throws(FileError) {
            let members =
                header(cache, self.status(cache) | status) + [
                    ("blocks", .array(copied.sorted().map { .number(UInt64($0)) })),
                    ("undelivered", .array(bad.map { .number(UInt64($0)) })),
                ]
            try directory.manifest.append(JSON.object(members).text + "\n")
            try directory.manifest.finish()
        } catch {
            throw Failure(writing: error)
        }
        return report(cache, copied.count, status)
    }
}
