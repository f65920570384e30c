import CacheFile
import FileIO
import Foundation
import Journal
import Simulation
import TestSupport
import Testing

/// Repairs that are cut short, and undo files that cannot be trusted: whatever ends a repair leaves
/// the file as it was, as it is to be, or refused with an undo file that brings back what it was.
@Suite("Repair cut short")
struct RepairKillTests {
    /// What a repair made of an image.
    struct Outcome {
        let plan: RepairPlan
        let after: [UInt8]
        let undo: MemoryFile
    }

    static func repair(_ bytes: [UInt8]) throws -> Outcome {
        let file = MemoryFile(bytes)
        let plan = try #require(try RepairPlan.make(file, .safe))
        #expect(file.bytes == bytes, "a plan writes nothing")
        let undo = MemoryFile([])
        try save(plan, of: file, to: undo)
        #expect(file.bytes == bytes)
        try Repairer.apply(plan, to: file)
        return Outcome(plan: plan, after: file.bytes, undo: undo)
    }

    /// As the program does before it gives the undo file its name.
    static func save(_ plan: RepairPlan, of file: MemoryFile, to undo: any FileIO) throws {
        let written = try UndoFile.write(plan, of: file, to: undo)
        try undo.flushAll()
        try written.seal(undo)
        try undo.flushAll()
    }

    static func image(_ code: String, _ severity: String) throws -> [UInt8] {
        let damage = Damage.all.first { $0.code == code && $0.severity == severity }
        return try #require(damage).make()
    }

    @Test("a sound file has nothing to repair")
    func sound() throws {
        for name in ["clean", "replay", "full"] {
            #expect(try RepairPlan.make(MemoryFile(GoldenImages.make(name)), .safe) == nil)
        }
    }

    @Test("a file opened again after a checkpoint has equal copies of its pages")
    func matesAfterReopening() throws {
        let file = MemoryFile(try GoldenImages.make("full"))
        _ = try TestSession(file).checkpoint()
        let session = try TestSession(file)
        try session.checkpoint()
        let recovered = try Recovery.run(file)
        for page in 0..<session.geometry.pageCount where recovered.root.entries[page].isWritten {
            let copies = (0..<2).map { copy -> [UInt8] in
                let at = session.geometry.pageOffset(page, copy: copy)
                var bytes = Array(file.bytes[at..<at + Geometry.pageSize])
                bytes[5] = 0
                return bytes
            }
            #expect(copies[0] == copies[1], "page \(page)")
        }
    }

    // MARK: Cut short

    /// Every state of the file that a kill or a power cut at any step of `body` leaves.
    private func cuts(
        _ start: [UInt8], _ body: (SimDisk) throws -> Void, _ judge: ([UInt8]) throws -> Void
    ) throws -> Int {
        let whole = SimDisk(DiskImage(start))
        try body(whole)
        let steps = whole.writeSideCallCount
        #expect(whole.violations == [])
        var random = SeededRandom(seed: 7)
        for step in 1...steps {
            let disk = SimDisk(DiskImage(start))
            disk.crashAfter(step)
            do {
                try body(disk)
                Issue.record("no crash at step \(step)")
            } catch {}
            for image in disk.powerCutImages(limit: 64, seed: UInt64(step)) {
                try judge(image.read(0..<image.size))
            }
            for _ in 0..<3 {
                let image = disk.killImage(&random)
                try judge(image.read(0..<image.size))
            }
        }
        return steps
    }

    @Test(
        "cut short at any step: as before, as after, or refused; undo brings back what was",
        arguments: [
            ("SB_COPY_BAD", "warning"), ("PAGE_BAD", "warning"), ("PAGE_BAD", "error"),
            ("JRN_HOLE", "error"), ("ROOT_BAD", "error"),
        ])
    func killed(code: String, severity: String) throws {
        let bytes = try Self.image(code, severity)
        let outcome = try Self.repair(bytes)
        let before = try? contents(of: MemoryFile(bytes)).text
        let after = try contents(of: MemoryFile(outcome.after)).text
        var counts = (before: 0, after: 0, refused: 0)
        let judge = { (image: [UInt8]) throws in
            if image == bytes {
                counts.before += 1
            } else if let found = try? contents(of: MemoryFile(image)).text {
                #expect(found == before || found == after)
                if found == after { counts.after += 1 } else { counts.before += 1 }
            } else {
                counts.refused += 1
            }
            let file = MemoryFile(image)
            try Repairer.undo(outcome.undo, file)
            #expect(file.bytes == bytes)
        }
        let repairing = try cuts(bytes, { try Repairer.apply(outcome.plan, to: $0) }, judge)
        let undoing = try cuts(
            outcome.after, { try Repairer.undo(outcome.undo, $0) }, judge)
        print("REPAIR \(code) \(severity): \(repairing) + \(undoing) steps, \(counts)")
        #expect(counts.before >= 10 && counts.after >= 10 && counts.refused > 100)
    }

    @Test("a kill while the undo file is made has changed nothing, and it is not taken for one")
    func killedSaving() throws {
        let bytes = try Self.image("PAGE_BAD", "error")
        let file = MemoryFile(bytes)
        let plan = try #require(try RepairPlan.make(file, .safe))
        var taken = 0
        let steps = try cuts(
            [], { try Self.save(plan, of: file, to: $0) },
            { image in
                #expect(file.bytes == bytes)
                guard (try? UndoFile.read(MemoryFile(image))) != nil else { return }
                taken += 1
                let target = MemoryFile(try Self.repair(bytes).after)
                try Repairer.undo(MemoryFile(image), target)
                #expect(target.bytes == bytes)
            })
        #expect(steps > 5)
    }

    // MARK: Undo files

    @Test("the undo file is as docs/format.md says")
    func format() throws {
        let outcome = try Self.repair(Self.image("PAGE_BAD", "error"))
        let bytes = outcome.undo.bytes
        let header = try #require(FormatPage.shared.layouts["undoHeader"])
        let entry = try #require(FormatPage.shared.layouts["undoEntry"])
        #expect(header.size == Superblock.size && entry.size == UndoFile.entryHeaderSize)
        func field(_ layout: PageLayout, _ name: String, at: Int = 0) throws -> Int {
            let range = try #require(layout.range(name))
            return bytes[at + range.lowerBound..<at + range.upperBound].reversed()
                .reduce(0) { $0 << 8 | Int($1) }
        }
        #expect(Array(bytes[..<16]) == UndoFile.magic)
        #expect(try field(header, "version") == Int(UndoFile.version))
        #expect(try field(header, "sizeBefore") == outcome.plan.sizeBefore)
        #expect(try field(header, "bodyBytes") == bytes.count - UndoFile.bodyOffset)
        var at = UndoFile.bodyOffset
        for _ in 0..<(try field(header, "entryCount")) {
            let count = try field(entry, "count", at: at)
            let data = Array(bytes[at + entry.size..<at + entry.size + count])
            let crc = data.withUnsafeBytes { Checksum.crc32c($0) }
            #expect(try field(entry, "dataCRC", at: at) == Int(crc))
            at += entry.size + count
        }
        #expect(at == bytes.count)
    }

    @Test("2,000 damaged undo files: nothing is written unless all of it is right")
    func damagedUndoFiles() throws {
        let bytes = try Self.image("PAGE_BAD", "error")
        let outcome = try Self.repair(bytes)
        var random = SeededRandom(seed: 11)
        for number in 0..<2000 {
            var undo = outcome.undo.bytes
            switch number % 4 {
            case 0: undo[random.below(undo.count)] ^= 1 << UInt8(random.below(8))
            case 1: undo.removeLast(1 + random.below(undo.count))
            case 2: undo += random.bytes(1 + random.below(5000))
            default:
                let at = random.below(undo.count - 64)
                undo.replaceSubrange(at..<at + 64, with: random.bytes(64))
            }
            if undo == outcome.undo.bytes { continue }
            let file = MemoryFile(outcome.after)
            #expect(throws: CacheFileError.self, "mutation \(number)") {
                try Repairer.undo(MemoryFile(undo), file)
            }
            #expect(file.bytes == outcome.after, "mutation \(number)")
        }
    }

    @Test("undo refuses a file that was used since, another one")
    func refusals() throws {
        let bytes = try Self.image("PAGE_BAD", "error")
        let outcome = try Self.repair(bytes)
        let used = MemoryFile(outcome.after)
        _ = try TestSession(used)
        let other = MemoryFile([])
        try Creation.format(
            other, geometry: SmallWorld.request().layOut(), identity: SmallWorld.identity,
            info: SmallWorld.info())
        for file in [used, other, MemoryFile([])] {
            let was = file.bytes
            #expect(throws: CacheFileError.self) {
                try Repairer.undo(outcome.undo, file)
            }
            #expect(file.bytes == was)
        }
    }

    @Test("state 3 is refused by a mount, and looked into all the same")
    func needsCheck() throws {
        let file = MemoryFile(try Self.image("SB_REPAIR", "error"))
        let error = #expect(throws: CacheFileError.self) { try TestSession(file) }
        #expect(error?.message.contains("cachecheck undo") == true)
        #expect(try Recovery.run(file, goesOn: true).refusals.map(\.code) == ["SB_REPAIR"])
    }
}
