import CacheFile
import FileIO
import Foundation
import Journal
import Simulation
import TestSupport
import Testing

/// Damaged files: each finding has one that shows it, and thousands with anything damaged are judged
/// as a mount would.
@Suite("cachecheck, damage")
struct DamageTests {
    let directory = TemporaryDirectory()
    let program: BuiltProgram

    init() throws {
        program = try #require(BuiltProgram("cachecheck"), "cachecheck is not built")
    }

    @Test("every finding of docs/format.md can be made", arguments: Damage.all)
    func findings(damage: Damage) throws {
        let path = directory.file("c")
        try writeFile(path, damage.make())
        let options = damage.needsData ? ["--data=all"] : []
        let outcome = try program.run(options + ["--json", path])
        #expect(outcome.status == damage.status, "\(outcome.output)")
        let value = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8))
        let object = try #require(value as? [String: Any])
        let findings = try #require(object["findings"] as? [[String: Any]])
        let isFound = findings.contains {
            $0["code"] as? String == damage.code && $0["severity"] as? String == damage.severity
        }
        #expect(isFound, "\(outcome.output)")
    }

    @Test("the list of damages has every finding that a file by itself can show")
    func complete() throws {
        let text = String(
            decoding: readFile(SourceTree.root + "/docs/format.md"), as: UTF8.self)
        let table = try #require(text.components(separatedBy: "<!-- table: findings -->").last)
        let rows = table.split(separator: "\n").dropFirst(2).prefix { $0.hasPrefix("|") }
        let documented = rows.map { row in
            row.split(separator: "|").prefix(2).map { $0.trimmingCharacters(in: .whitespaces) }
                .joined(separator: " ")
        }
        // Of a mount only; and of a disk that cannot be read, see the next test.
        let others = ["BIND_MISMATCH error", "DATA_EIO error", "DATA_EIO warning"]
        let made = Damage.all.map(\.description) + others
        for row in documented {
            #expect(made.contains(row), "no damage for \(row)")
        }
        for code in made { #expect(documented.contains(code), "\(code) is not in format.md") }
    }

    @Test("bytes that cannot be read are named", arguments: [false, true])
    func unreadable(dirty: Bool) throws {
        let file = UnreadableFile(try Worlds.rich(clean: true).bytes)
        let recovered = try Recovery.run(file)
        let slot = try #require(recovered.state.slot(of: dirty ? 3 : 4))
        file.bad = recovered.geometry.slotOffset(slot) + 5000
        let inspection = try CacheFiles.inspect(file, data: .all)
        let found = inspection.findings.filter { $0.code == "DATA_EIO" }
        #expect(found.map(\.severity) == [dirty ? .error : .warning])
        #expect(found.first?.message.contains("bytes 4096-8191") == true)
    }

    // MARK: Random damage

    private static let images = 5000

    @Test(
        "5,000 files with anything damaged: no loss with status 0, no crash, no hang, 256 MB",
        .timeLimit(.minutes(15)))
    func random() throws {
        let seed = testSeed
        var random = SeededRandom(seed: seed)
        let worlds = try [DamagedWorld(clean: false), DamagedWorld(clean: true)]
        // Writing them to a disk would take longer than all else.
        let path =
            (access("/dev/shm", W_OK) == 0 ? "/dev/shm" : directory.path)
            + "/s3backer-damage-\(getpid())"
        defer { unlink(path) }
        var counts = (refused: 0, damaged: 0, harmless: 0)
        for number in 0..<Self.images {
            let world = worlds[number % 2]
            let (bytes, what) = world.damaged(&random)
            try writeBytes(path, bytes)
            let served = world.served(bytes)
            let place = Comment(rawValue: "seed \(seed), image \(number): \(what)")
            let check = try Judge.run(program.path, ["check", "--data=dirty", "-q", path])
            guard let served else {
                counts.refused += 1
                // Of less than a superblock nobody can tell that it was a cache file.
                #expect(check.status == (bytes.count < Superblock.size ? 8 : 4), place)
                continue
            }
            #expect(check.status == 0 || check.status == 4, place)
            let isLost = !world.truth.isKept(by: served)
            if isLost { #expect(check.status == 4, place) }
            if isLost { counts.damaged += 1 } else { counts.harmless += 1 }
            // Reading less, a check still says whether a mount accepts the file.
            if number % 20 == 0 {
                #expect(try Judge.run(program.path, ["-q", path]).status == 0, place)
            }
            try others(number, path, place)
        }
        print(
            "DAMAGE images=\(Self.images) refused=\(counts.refused) lossy=\(counts.damaged)",
            "harmless=\(counts.harmless) limit_mib=\(Judge.limitMiB) seed=\(seed)")
        #expect(min(counts.refused, counts.damaged, counts.harmless) > 100)
    }

    /// The other commands read the same files, too: they end, and not by a signal.
    private func others(_ number: Int, _ path: String, _ place: Comment) throws {
        guard number % 20 == 1 else { return }
        let out = directory.file("out")
        let commands = [
            ["show"], ["list", "--bad"], ["journal", "--from=1"], ["map"],
            ["salvage", "--to", out], ["bundle", out], ["check", "--fast"],
        ]
        let outcome = try Judge.run(program.path, commands[number / 20 % 7] + [path])
        #expect([0, 4, 64, 68].contains(outcome.status), place)
        try? FileManager.default.removeItem(atPath: out)
    }

    private func writeBytes(_ path: String, _ bytes: [UInt8]) throws {
        let fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        try #require(fd >= 0)
        defer { close(fd) }
        try #require(write(fd, bytes, bytes.count) == bytes.count)
    }
}

/// Fails reads of one place.
private final class UnreadableFile: FileIO, @unchecked Sendable {
    private let file: MemoryFile
    var bad = -1

    init(_ bytes: [UInt8]) { file = MemoryFile(bytes) }

    func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        if (offset..<offset + target.count).contains(bad) { throw FileError(.io, "cannot read") }
        try file.read(into: target, at: offset, path)
    }

    func write(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath
    ) throws(FileError) { try file.write(pieces, at: offset, path) }
    func flush() throws(FileError) {}
    func flushAll() throws(FileError) {}
    func reserve(_ length: Int, at offset: Int) throws(FileError) {}
    func truncate(to size: Int) throws(FileError) {}
    func size() throws(FileError) -> Int { try file.size() }
}
