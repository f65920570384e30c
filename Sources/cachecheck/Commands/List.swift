import ArgumentParser
import CacheFile
import FileIO

struct List: Command {
    static let configuration = CommandConfiguration(
        abstract: "Lists blocks in order of their numbers.",
        discussion: """
            Without a choice of states all blocks that the file knows of. As text, neighbours that \
            are alike make one line; with -v each block has its own. --json writes a line for the \
            file and one for each block, --csv a line of names and one for each block.
            """)

    @OptionGroup var common: CommonOptions

    @Flag(name: .long, help: "Blocks that are not in the store as they are here.")
    var dirty = false
    @Flag(name: .long, help: "Blocks that the store has, too.")
    var clean = false
    @Flag(name: .long, help: "Dirty blocks of which some is only in the store.")
    var partial = false
    @Flag(name: .long, help: "Blocks that somebody else has changed in the store.")
    var conflict = false
    @Flag(name: .long, help: "Trimmed blocks, to be deleted in the store.")
    var trimmed = false
    @Flag(name: .long, help: "Read the bytes; only blocks that do not match their checksums.")
    var bad = false
    @Flag(name: .long, help: "Comma-separated values.")
    var csv = false
    @Option(name: .long, help: ArgumentHelp("Only these blocks.", valueName: "FIRST-LAST"))
    var blocks: BlockRange?

    mutating func validate() throws {
        if csv && common.json { throw ValidationError("--csv and --json exclude each other.") }
    }

    func execute() -> Int32 {
        look("list", common) { subject in
            if bad, subject.opened.isBundle {
                return fail("list", common, .failed(.bundle(subject.path)))
            }
            return list(subject)
        }
    }

    private func list(_ subject: Subject) -> Int32 {
        var listing = Listing(self, subject)
        listing.begin()
        let state = subject.state
        let found = state.blocks(in: blocks?.range)
        let progress = Progress("reading blocks", common)
        let reader = BlockReader(subject.recovered, subject.opened.file)
        let buffer = AlignedBuffer(bad ? subject.geometry.blockSize : 1)
        var extents = state.zeros.items[...]
        if let range = blocks?.range { extents = state.zeros.overlapping(range) }
        if !wantsTrimmed { extents = [] }
        for (number, block) in found.enumerated() {
            while let extent = extents.first, extent.blocks.lowerBound < block {
                listing.add(extent)
                extents.removeFirst()
            }
            let facts = BlockFacts(block, subject)
            guard isWanted(facts) else { continue }
            var damaged = GranuleSet()
            if bad {
                damaged = reader.read(block, slot: facts.slot, into: buffer.mutableBytes).damaged
                progress.show(number + 1, found.count)
                if damaged.isEmpty { continue }
            }
            listing.add(facts, damaged)
        }
        progress.clear()
        for extent in extents { listing.add(extent) }
        return listing.finish()
    }

    private var hasChoice: Bool { dirty || clean || partial || conflict || trimmed }
    private var wantsTrimmed: Bool { (trimmed || !hasChoice) && !bad }

    private func isWanted(_ facts: BlockFacts) -> Bool {
        if !hasChoice { return true }
        return dirty && facts.isDirty || clean && facts.state == .clean
            || partial && facts.isPartial || conflict && facts.state == .conflict
    }
}

/// `7` or `7-19`.
struct BlockRange: ExpressibleByArgument {
    let range: Range<UInt64>

    init?(argument: String) {
        let parts = argument.split(separator: "-", omittingEmptySubsequences: false)
        guard let first = parts.first.flatMap({ UInt64($0) }), parts.count <= 2 else { return nil }
        guard let last = parts.count == 2 ? UInt64(parts[1]) : first, last >= first,
            last < UInt64.max
        else { return nil }
        range = first..<last + 1
    }
}

extension CacheState {
    /// Blocks in slots, and those of which only the journal has something, in order.
    func blocks(in range: Range<UInt64>? = nil) -> [UInt64] {
        var found: [UInt64] = []
        found.reserveCapacity(usedSlots)
        for slot in 0..<geometry.slotCount where !slots.isFree(slot) {
            found.append(slots.block(slot))
        }
        found += strays
        if let range { found.removeAll { !range.contains($0) } }
        return found.sorted()
    }
}

/// What is listed, in one of the three forms.
private struct Listing {
    private let command: List
    private let subject: Subject
    private var stream = OutputStream()
    private var run: (first: UInt64, last: UInt64, text: String)?
    private var count = 0
    private var trimmedCount: UInt64 = 0

    init(_ command: List, _ subject: Subject) {
        self.command = command
        self.subject = subject
    }

    mutating func begin() {
        if command.common.json {
            stream.line(JSON.object(subject.header("list")).text)
        } else {
            if command.csv {
                stream.line(
                    "block,last,slot,state,granules,valid,overlaid,patched,missing,bad,"
                        + "lsn,data_lsn,epoch,base")
            }
            for line in subject.warnings { Output.complain(line) }
        }
    }

    mutating func add(_ facts: BlockFacts, _ damaged: GranuleSet) {
        count += 1
        if command.common.quiet { return }
        if command.common.json {
            var members = facts.json
            if command.bad { members.append(("bad", damaged.json)) }
            return stream.line(JSON.object(members).text)
        }
        if command.csv {
            let numbers = [
                facts.valid.count, facts.overlaid.count, facts.patches.count, facts.missing.count,
                damaged.count,
            ].map { "\($0)" }.joined(separator: ",")
            return stream.line(
                "\(facts.block),\(facts.block),\(facts.slot.map { "\($0)" } ?? ""),"
                    + "\(facts.stateName),\(facts.granules),\(numbers),\(facts.lsn),"
                    + "\(facts.dataLSN),\(facts.epoch),\(Self.quoted(facts.base.text))")
        }
        var text = facts.stateName
        if facts.isPartial {
            text += ", missing \(facts.missing.count) of \(facts.granules) granules"
        }
        if !facts.patches.isEmpty { text += ", \(Text.count(facts.patches.count, "patch"))" }
        if !facts.intents.isEmpty { text += ", upload open" }
        if facts.isLost { text += ", directory page lost" }
        if !damaged.isEmpty { text += ", bad granules \(damaged.text)" }
        if command.common.verbose {
            text +=
                "; slot \(facts.slot.map { "\($0)" } ?? "none"), LSN \(facts.lsn), "
                + "data LSN \(facts.dataLSN), epoch \(facts.epoch), base \(facts.base.text)"
        } else if let last = run, last.last + 1 == facts.block, last.text == text {
            run?.last = facts.block
            return
        }
        endRun()
        run = (facts.block, facts.block, text)
    }

    mutating func add(_ extent: ZeroExtents.Extent) {
        trimmedCount += UInt64(extent.blocks.count)
        if command.common.quiet { return }
        let last = extent.blocks.upperBound - 1
        if command.common.json {
            stream.line(
                JSON.object([
                    ("blocks", extent.blocks.json), ("state", .string("trimmed")),
                    ("lsn", .number(extent.lsn)),
                ]).text)
        } else if command.csv {
            stream.line("\(extent.blocks.lowerBound),\(last),,trimmed,,,,,,,\(extent.lsn),,,")
        } else {
            endRun()
            run = (extent.blocks.lowerBound, last, "trimmed")
        }
    }

    private mutating func endRun() {
        guard let run else { return }
        let name = run.first == run.last ? "\(run.first)" : "\(run.first)-\(run.last)"
        stream.line("\(name): \(run.text)")
        self.run = nil
    }

    mutating func finish() -> Int32 {
        endRun()
        if !command.common.json && !command.csv {
            let trimmed = trimmedCount > 0 ? ", \(trimmedCount) trimmed" : ""
            stream.line("\(Text.count(count, "block"))\(trimmed)")
        }
        return stream.finish(subject.status)
    }

    private static func quoted(_ text: String) -> String {
        "\"" + text.replacing("\"", with: "\"\"") + "\""
    }
}
