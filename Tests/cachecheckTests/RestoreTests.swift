import CacheFile
import FileIO
import Foundation
import Glibc
import Journal
import Simulation
import TestSupport
import Testing

/// Files made of others: dump and restore, upgrade.
@Suite("cachecheck, copies")
struct RestoreTests {
    let directory = TemporaryDirectory()
    let program: BuiltProgram
    var old: String { directory.file("old") }
    var new: String { directory.file("new") }
    var dump: String { directory.file("dump") }

    init() throws {
        program = try #require(BuiltProgram("cachecheck"), "cachecheck is not built")
    }

    private func run(_ arguments: String...) throws -> CommandOutcome {
        try program.run(arguments)
    }

    private static let worlds = ["rich", "rich-clean", "full", "mate", "torn"]

    private func world(_ name: String) throws -> [UInt8] {
        switch name {
        case "rich": try Worlds.rich(clean: false).bytes
        case "rich-clean": try Worlds.rich(clean: true).bytes
        default: try GoldenImages.make(name)
        }
    }

    private func lines(_ path: String) -> [String] {
        String(decoding: readFile(path), as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// Volume and layout of a dump, which a restore keeps.
    private func facts(_ path: String) throws -> [NSDictionary] {
        let object = try JSONSerialization.jsonObject(with: Data(lines(path)[0].utf8))
        let head = try #require(object as? [String: Any])
        return try ["volume", "layout"].map { try #require(head[$0] as? NSDictionary) }
    }

    @Test("dump, restore with the data, dump: the same, byte for byte", arguments: worlds)
    func roundTrip(name: String) throws {
        try writeFile(old, world(name))
        #expect(try run("dump", "--out", dump, old).status == 0)
        let made = try run("restore", dump, "--into", new, "--data", old)
        #expect(made.status == 0, "\(made.errors)\(made.output)")
        let again = directory.file("again")
        #expect(try run("dump", "--out", again, new).status == 0)
        #expect(lines(again).dropFirst() == lines(dump).dropFirst())
        #expect(try facts(again) == facts(dump))
        let before = try Recovery.run(MemoryFile(readFile(old)))
        let after = try Recovery.run(MemoryFile(readFile(new)))
        #expect(describe(after.state) == describe(before.state))
        #expect(after.findings.allSatisfy { $0.severity == .info || $0.code == "S3_CONFLICT" })
        #expect(after.superblock.mountToken == 0)
        #expect(try run("check", "--data=all", new).status == 0)
        // A mount begins where this one ended.
        let session = try TestSession(MemoryFile(readFile(new)))
        try session.commit()
        #expect(session.state.dirtySlots == before.state.dirtySlots)
    }

    @Test("without the data no dirty byte is wrong: reads of it fail", arguments: worlds)
    func withoutData(name: String) throws {
        try writeFile(old, world(name))
        #expect(try run("dump", "--out", dump, old).status == 0)
        let made = try run("restore", dump, "--into", new)
        #expect(made.status == 64, "\(made.errors)")
        let before = try Recovery.run(MemoryFile(readFile(old)))
        let file = MemoryFile(readFile(new))
        let after = try Recovery.run(file)
        let reader = BlockReader(after, file)
        let buffer = AlignedBuffer(before.geometry.blockSize)
        for slot in 0..<before.geometry.slotCount where !before.state.slots.isFree(slot) {
            let block = before.state.slots.block(slot)
            let reading = reader.read(block, slot: slot, into: buffer.mutableBytes)
            #expect(after.state.slots.rawState(slot) == before.state.slots.rawState(slot))
            before.state.present(slot: slot).forEach { granule in
                let isZeros = before.state.overlaid(block).contains(granule)
                #expect(reading.bad.contains(granule) || isZeros, "block \(block)")
            }
            for patch in before.state.patched(block) {
                #expect(reading.bad.contains(patch.granule))
            }
        }
    }

    @Test("bytes that do not match any more are not taken, and the others are")
    func damagedData() throws {
        let file = try Worlds.rich(clean: true)
        try writeFile(old, file.bytes)
        #expect(try run("dump", "--out", dump, old).status == 0)
        let before = try Recovery.run(file)
        let slot = try #require(before.state.slot(of: 3))
        file.bytes[before.geometry.slotOffset(slot) + 50] ^= 1
        // A damaged directory is no reason: the dump has what it said.
        for copy in 0..<2 { file.bytes[before.geometry.pageOffset(0, copy: copy) + 300] ^= 1 }
        try writeFile(old, file.bytes)
        let made = try run("restore", dump, "--into", new, "--data", old, "--json")
        #expect(made.status == 64)
        let checked = try run("check", "--data=all", "--json", new)
        #expect(checked.status == 4)
        #expect(try run("list", "--bad", new).output.hasPrefix("3: dirty, "))
        #expect(try run("list", "--bad", "--json", new).output.split(separator: "\n").count > 1)
        let after = try Recovery.run(MemoryFile(readFile(new)))
        let reader = BlockReader(after, MemoryFile(readFile(new)))
        let buffer = AlignedBuffer(before.geometry.blockSize)
        for (block, granule, version) in [(UInt64(3), 1, 1), (6, 0, 2), (12, 1, 5), (20, 0, 6)] {
            let reading = reader.read(
                block, slot: after.state.slot(of: block), into: buffer.mutableBytes)
            #expect(!reading.damaged.contains(granule))
            let bytes = buffer.slice(granule * 4096..<(granule + 1) * 4096)
            #expect(bytes.elementsEqual(Worlds.content(block, granule, version)))
        }
    }

    @Test("nothing is overwritten, and what is no dump of this file is refused with its place")
    func refusals() throws {
        try writeFile(old, world("rich"))
        #expect(try run("dump", "--out", dump, old).status == 0)
        #expect(try run("dump", "--out", dump, old).status == 8)
        #expect(try run("restore", dump, "--into", old).errors.contains("exists"))
        #expect(try run("upgrade", "--force", "--into", old, old).errors.contains("exists"))
        let other = directory.file("other")
        try writeFile(other, GoldenImages.make("clean"))
        let text = lines(dump)
        let cases: [(String, String, String)] = [
            ("\"slot\":0", "\"slot\":8", "line 2.slot: 8 is more than 7"),
            ("\"dump\":1", "\"dump\":2", "line 1.dump: is no version"),
            ("\"state\":\"dirty\"", "\"state\":\"x\"", "state: is none of"),
            ("\"status\":0", "\"status\":4", "line 1.status: the file was damaged"),
            ("\"blockSize\":8192", "\"blockSize\":8193", "line 1.layout: block size 8193"),
            ("\"trims\":1", "\"trims\":2", "trims: there were 1"),
            ("\"lsn\":", "\"lsn\":-", "is no JSON"),
        ]
        for (from, to, wanted) in cases {
            let whole = text.joined(separator: "\n") + "\n"
            let range = try #require(whole.range(of: from), "\(from)")
            try writeFile(other, Array(whole.replacingCharacters(in: range, with: to).utf8))
            let refused = try run("restore", other, "--into", new)
            #expect(refused.status == 8 && refused.errors.contains(wanted), "\(refused.errors)")
            #expect(access(new, F_OK) != 0)
        }
        try writeFile(other, Array((text.dropLast().joined(separator: "\n") + "\n").utf8))
        #expect(try run("restore", other, "--into", new).errors.contains("the end is missing"))
        let damaged = SourceTree.golden("damaged.cache")
        #expect(try run("upgrade", "--force", "--into", new, damaged).status == 4)
        #expect(access(new, F_OK) != 0)
    }

    @Test("a dump with anything changed makes a sound file, or none")
    func mutated() throws {
        try writeFile(old, world("full"))
        #expect(try run("dump", "--out", dump, old).status == 0)
        let bytes = readFile(dump)
        var random = SeededRandom(seed: testSeed)
        var made = 0
        for _ in 0..<400 {
            var changed = bytes
            for _ in 0...random.below(2) {
                let at = random.below(changed.count)
                switch random.below(4) {
                case 0: changed[at] = UInt8(random.below(256))
                case 1: changed[at] = 0x30 + UInt8(random.below(10))
                case 2: changed.remove(at: at)
                default: changed.insert(contentsOf: changed[at..<min(at + 9, bytes.count)], at: at)
                }
            }
            try writeFile(dump, changed)
            let outcome = try run("restore", dump, "--into", new, "--data", old)
            #expect([0, 8, 64].contains(outcome.status), "\(outcome.status) \(outcome.errors)")
            let isThere = access(new, F_OK) == 0
            #expect(isThere == (outcome.status != 8))
            if isThere {
                made += 1
                #expect(throws: Never.self) { try Recovery.run(MemoryFile(readFile(new))) }
                unlink(new)
            }
        }
        print("restores of a changed dump: \(made) of 400 made a file")
        #expect(made > 10 && made < 390)
    }

    // MARK: Upgrade

    @Test("the newest format is not copied, but with --force: all is there", arguments: worlds)
    func upgrade(name: String) throws {
        let bytes = try world(name)
        try writeFile(old, bytes)
        let nothing = try run("upgrade", "--into", new, old)
        #expect(nothing.status == 0 && nothing.output.contains("nothing was made"))
        #expect(access(new, F_OK) != 0)
        let made = try run("upgrade", "--force", "--into", new, old)
        #expect(made.status == 0, "\(made.errors)")
        #expect(readFile(old) == bytes)
        let before = try Recovery.run(MemoryFile(bytes))
        let file = MemoryFile(readFile(new))
        let after = try Recovery.run(file)
        #expect(after.superblock.fileUUID != before.superblock.fileUUID)
        #expect(after.superblock.mountToken == 0)
        #expect(after.geometry.ringLength == 1 << 20)
        #expect(try run("check", "--data=all", new).status == 0)
        let content = try content(before, MemoryFile(bytes))
        #expect(try content == self.content(after, file))
    }

    /// Every block with its bytes and all that decides its fate, whatever slot it is in.
    private func content(_ recovered: RecoveredFile, _ file: any FileIO) throws -> [String] {
        let state = recovered.state
        let reader = BlockReader(recovered, file)
        let buffer = AlignedBuffer.zeroed(recovered.geometry.blockSize)
        var lines: [String] = []
        for slot in 0..<recovered.geometry.slotCount where !state.slots.isFree(slot) {
            buffer.mutableBytes.initializeMemory(as: UInt8.self, repeating: 0)
            let block = state.slots.block(slot)
            let reading = reader.read(block, slot: slot, into: buffer.mutableBytes)
            var line = "\(block) \(state.slots.rawState(slot)) \(state.slots.lsn(slot))"
            line += " \(state.slots.dataLSN(slot)) \(state.slots.epoch(slot))"
            line += " \(state.slots.base(slot)) \(state.slots.isZeroBase(slot))"
            line += " \(reading.missing.runs) \(reading.damaged.runs)"
            line += " \(Checksum.crc32c(buffer.bytes))"
            for patch in state.patched(block) {
                let image = AlignedBuffer.zeroed(recovered.geometry.granuleSize)
                patch.apply(over: image.mutableBytes)
                line += " p\(patch.lsn) \(patch.ranges) \(Checksum.crc32c(image.bytes))"
            }
            for intent in state.intents(of: block) {
                line += " i\(intent.record.asOf) \(intent.record.base) \(intent.record.digest)"
            }
            lines.append(line)
        }
        return lines.sorted() + state.zeros.items.map { "z\($0.blocks) \($0.lsn)" }
    }

    @Test("damaged bytes stay damaged in the copy; clean blocks with such are left out")
    func upgradeDamaged() throws {
        for (block, damaged, dropped) in [(UInt64(3), 1, 0), (4, 0, 1)] {
            let file = try Worlds.rich(clean: true)
            let recovered = try Recovery.run(file)
            let slot = try #require(recovered.state.slot(of: block))
            file.bytes[recovered.geometry.slotOffset(slot) + 50] ^= 1
            try writeFile(old, file.bytes)
            let made = try run("upgrade", "--json", "--force", "--into", new, old)
            #expect(made.status == (damaged > 0 ? 4 : 0))
            #expect(made.output.contains("\"damagedBlocks\":\(damaged)"), "\(made.output)")
            #expect(made.output.contains("\"droppedBlocks\":\(dropped)"), "\(made.output)")
            #expect(try run("check", "--data=dirty", new).status == (damaged > 0 ? 4 : 0))
            unlink(new)
        }
    }

    // MARK: Kills

    @Test("killed at any I/O, the new file is not there; when it is, all of it is durable")
    func killed() throws {
        let image = try world("full")
        let before = try Recovery.run(MemoryFile(image))
        let geometry = before.geometry
        func copy(_ disk: SimDisk) throws {
            _ = try FileCopy.run(
                before, MemoryFile(image), to: disk, geometry,
                fileUUID: before.superblock.fileUUID)
        }
        let whole = SimDisk(size: 0)
        try copy(whole)
        let steps = whole.writeSideCallCount
        var random = SeededRandom(seed: testSeed)
        for mode in PowerCut.allCases {
            let after = try Recovery.run(whole.afterPowerCut(mode, &random))
            #expect(describe(after.state) == describe(before.state))
        }
        #expect(whole.unsyncedWrites.isEmpty)
        for step in 1...steps {
            let disk = SimDisk(size: 0)
            disk.crashAfter(step)
            // It throws, so that nobody gives it a name.
            #expect(throws: CacheFileError.self) { try copy(disk) }
        }
        print("kills of a copy: \(steps) steps")
        #expect(steps > 20)
    }

    @Test("SIGKILL at any moment: the new file is complete, or is not there")
    func killedForReal() throws {
        try writeFile(old, SmallWorld.make(slots: 2000).bytes)
        #expect(try run("dump", "--out", dump, old).status == 0)
        var random = SeededRandom(seed: testSeed)
        for words in [
            ["restore", dump, "--into", new, "--data", old],
            ["upgrade", "--force", "--into", new, old],
        ] {
            for _ in 0..<12 {
                try program.runKilled(words, after: random.below(30_000))
                if access(new, F_OK) == 0 {
                    #expect(try run("check", "--data=all", new).status == 0)
                }
                unlink(new)
            }
        }
    }
}
