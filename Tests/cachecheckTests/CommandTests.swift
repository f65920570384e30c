import CacheFile
import FileIO
import Foundation
import TestSupport
import Testing

/// What all commands have in common, and what each of them says.
@Suite("cachecheck, commands")
struct CommandTests {
    let directory = TemporaryDirectory()
    let program: BuiltProgram
    var path: String { directory.file("c") }

    init() throws {
        program = try #require(BuiltProgram("cachecheck"), "cachecheck is not built")
    }

    private func run(_ arguments: String...) throws -> CommandOutcome {
        try program.run(arguments)
    }

    private func json(_ arguments: String...) throws -> [String: Any] {
        let output = try program.run(arguments + ["--json"]).output
        let first = output.split(separator: "\n").first ?? ""
        let value = try JSONSerialization.jsonObject(with: Data(first.utf8))
        return try #require(value as? [String: Any])
    }

    // MARK: All commands

    enum Case: String, CaseIterable {
        case help, unknownOption, missing, empty, tiny, foreign, readOnly, fifo, directory, inUse
    }

    static let commands = [
        [], ["check"], ["check", "--fast"], ["show"], ["list"], ["journal"], ["map"],
        ["salvage", "--to", "OUT"], ["bundle", "OUT"], ["import"],
        ["resize", "--slots=16", "--dry-run"], ["resize", "--slots=16"], ["compare"],
        ["dump"], ["dump", "--out", "OUT"], ["restore", "--into", "OUT"],
        ["upgrade", "--into", "OUT"], ["upgrade", "--force", "--into", "OUT"],
        ["repair", "--yes"], ["repair", "--dry-run"], ["undo", "--yes"],
    ]

    @Test(
        "help, wrong usage, and files that are none", arguments: commands, Case.allCases)
    func behaves(command: [String], kind: Case) throws {
        let out = directory.file("out")
        let words = command.map { $0 == "OUT" ? out : $0 }
        let isImport = command == ["import"]
        let isRestore = command.first == "restore"
        let isCompare = command.first == "compare"
        let own = readFile(SourceTree.golden("clean.cache"))
        let other = readFile(SourceTree.golden("cachefile-1.5.4-clean.bin"))
        var status: Int32 = 8
        var part = ""
        var more: [String] = [path]
        var holder: OpenedCache?
        switch kind {
        case .help: (more, status, part) = (["--help"], 0, "USAGE: cachecheck")
        case .unknownOption: (more, status, part) = (["--frob", path], 16, "--frob")
        case .missing: part = "No such file"
        case .empty:
            try writeFile(path, [])
            part = isImport ? "is no cache file" : isRestore ? "there is none" : "is empty"
        case .tiny:
            try writeFile(path, [1, 2, 3])
            part = isImport ? "is no cache file" : isRestore ? "has no end" : "no cache file"
        case .foreign:
            try writeFile(path, isImport ? own : other)
            part = isImport ? "is no cache file of the original" : "original s3backer"
            if isRestore { part = "line 1" }
        case .readOnly:
            try writeFile(path, isImport ? other : own)
            chmod(path, 0o400)
            // Nobody keeps root from writing.
            if command == ["resize", "--slots=16"] || isRestore { return }
            (status, part) = isCompare ? (8, "BIND_MISMATCH") : (0, "")
            if command.first == "undo" { (status, part) = (8, "c.undo: No such file") }
        case .fifo:
            mkfifo(path, 0o600)
            part = "is a named pipe"
        case .directory:
            mkdir(path, 0o700)
            part = "is a directory"
        case .inUse:
            if isImport || isRestore { return }
            try writeFile(path, own)
            holder = try CacheFiles.open(
                path, identity: SmallWorld.identity, info: SmallWorld.info())
            part = "is in use by s3backer"
        }
        if isCompare { more += ["--test", directory.path] }
        let before = kind == .readOnly ? readFile(path) : []
        let outcome = try program.run(words + more)
        #expect(outcome.status == status, "\(outcome.errors)")
        if status == 0 {
            #expect(outcome.errors == "")
            #expect(part.isEmpty || outcome.output.contains(part))
        } else {
            #expect(outcome.output == "")
            #expect(outcome.errors.contains(part), "\(outcome.errors)")
        }
        if status == 8 {
            #expect(outcome.errors.hasPrefix("cachecheck: "))
            #expect(outcome.errors.split(separator: "\n").count == 1)
            let object = try JSONSerialization.jsonObject(
                with: Data(program.run(words + more + ["--json"]).output.utf8))
            let error = (object as? [String: Any])?["error"] as? [String: Any]
            #expect(error?["remedy"] != nil)
        }
        if kind == .readOnly { #expect(readFile(path) == before) }
        // Nothing is made for a command that cannot do its work.
        if status != 0 || kind == .help { #expect(access(out, F_OK) != 0) }
        withExtendedLifetime(holder) {}
    }

    @Test("^C ends a command at once, with a status of its own", arguments: ["INT", "TERM"])
    func cancelled(signal: String) throws {
        let file = try SmallWorld.make(slots: 4000)
        try writeFile(path, file.bytes)
        let process = Process()
        // A shell's job in the background ignores SIGINT, and so do these tests, then.
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["--default-signal=\(signal)", program.path, "map", "--json", path]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        try fillUp(pipe)
        try process.run()
        try waitFor("the program to be stuck in its output") {
            let stat = try? String(
                contentsOfFile: "/proc/\(process.processIdentifier)/wchan", encoding: .utf8)
            return stat?.contains("pipe") == true
        }
        kill(process.processIdentifier, signal == "INT" ? SIGINT : SIGTERM)
        process.waitUntilExit()
        #expect(process.terminationReason == .exit)
        #expect(process.terminationStatus == 32)
    }

    private func fillUp(_ pipe: Pipe) throws {
        let fd = pipe.fileHandleForWriting.fileDescriptor
        let flags = fcntl(fd, F_GETFL)
        _ = fcntl(fd, F_SETFL, flags | O_NONBLOCK)
        let zeros = [UInt8](repeating: 0, count: 4096)
        while write(fd, zeros, zeros.count) > 0 {}
        _ = fcntl(fd, F_SETFL, flags)
    }

    // MARK: Single commands

    private func writeRich(clean: Bool = false) throws {
        try writeFile(path, Worlds.rich(clean: clean).bytes)
    }

    @Test("check --fast reads no directory page, and says so")
    func fast() throws {
        let file = try Worlds.rich(clean: false)
        let recovered = try Recovery.run(file)
        for copy in 0..<2 {
            file.bytes[recovered.geometry.pageOffset(0, copy: copy) + 300] ^= 1
        }
        try writeFile(path, file.bytes)
        #expect(try run(path).status == 4)
        let fast = try run("check", "--fast", path)
        #expect(fast.status == 0)
        #expect(fast.lastLine.hasPrefix("sound as far as read (superblocks, root, journal)"))
        let object = try json("check", "--fast", path)
        #expect((object["journal"] as? [String: Any])?["journalGroups"] != nil)
        #expect(object["contents"] == nil)
        #expect(try run("check", "--fast", "--data=all", path).status == 16)
        #expect(try run("check", "--fast", SourceTree.golden("damaged.cache")).status == 4)
    }

    @Test("show tells of the file, and everything of one block")
    func show() throws {
        try writeRich()
        let text = try run("show", path)
        #expect(text.status == 0)
        for part in ["session:", "binding:", "5 dirty", "1 in conflict", "trimmed:"] {
            #expect(text.output.contains(part), "\(text.output)")
        }
        let five = try run("show", "--block", "5", path).output
        for part in [
            "in the slot:   0", "missing:       1", "bytes 100-299 of granule 1", "dirty, partial",
        ] {
            #expect(five.contains(part), "\(five)")
        }
        #expect(try run("show", "--block", "7", path).output.contains("in the journal: 1"))
        #expect(try run("show", "--block=10", path).lastLine == "block 10: trimmed")
        #expect(try run("show", "--block=11", path).lastLine == "block 11: absent")
        #expect(try run("show", "--block=12", path).output.contains("intent:        PUT of LSN"))
        #expect(try run("show", "--block=20", path).output.contains("zeros:         1"))
        #expect(try run("show", "--block=32", path).status == 16)
        let object = try json("show", "--block=5", path)
        let block = try #require(object["block"] as? [String: Any])
        #expect(block["partial"] as? Bool == true)
        #expect(block["missing"] as? [[Int]] == [[1, 1]])
        #expect(block["valid"] as? [[Int]] == [[0, 0]])
        #expect((block["patched"] as? [Any])?.count == 1)
    }

    @Test("list chooses blocks by state and number")
    func list() throws {
        try writeRich()
        func numbers(_ options: String...) throws -> [String] {
            try program.run(["list", "--csv"] + options + [path]).output
                .split(separator: "\n").dropFirst().map {
                    String($0.prefix { $0 != "," })
                }
        }
        #expect(try numbers() == ["3", "4", "5", "6", "7", "9", "12", "20"])
        #expect(try numbers("--dirty") == ["3", "5", "6", "7", "12", "20"])
        #expect(try numbers("--clean") == ["4"])
        #expect(try numbers("--partial") == ["5"])
        #expect(try numbers("--conflict", "--clean") == ["4", "6"])
        #expect(try numbers("--trimmed") == ["9"])
        #expect(try numbers("--blocks", "5-7") == ["5", "6", "7"])
        #expect(try numbers("--bad") == [])
        let lines = try run("list", path).output.split(separator: "\n")
        #expect(lines.first == "3: dirty")
        #expect(lines.contains("9-10: trimmed"))
        #expect(lines.contains("5: dirty, missing 1 of 2 granules, 1 patch"))
        #expect(lines.last == "7 blocks, 2 trimmed")
        #expect(try run("list", "--blocks=7-5", path).status == 16)
        let objects = try run("list", "--json", path).output.split(separator: "\n")
        #expect(objects.count == 9)
        for line in objects {
            _ = try JSONSerialization.jsonObject(with: Data(line.utf8))
        }
        let file = MemoryFile(readFile(path))
        let recovered = try Recovery.run(file)
        let slot = try #require(recovered.state.slot(of: 12))
        file.bytes[recovered.geometry.slotOffset(slot) + 5000] ^= 1
        try writeFile(path, file.bytes)
        #expect(try numbers("--bad") == ["12"])
        #expect(try run("list", "--bad", path).output.contains("bad granules 1"))
    }

    @Test("journal shows the newest records or those from an LSN, and how the log ends")
    func journal() throws {
        try writeRich()
        let all = try run("journal", "--from=1", "--count=1000", path).output
        for part in ["PATCH block 5", "MAP block 12", "ZERO blocks 9-10", " ends", "SEAL"] {
            #expect(all.contains(part), "\(all)")
        }
        let end = try Recovery.run(MemoryFile(readFile(path))).scan.end
        #expect(all.contains("end of log at position \(end.position), LSN \(end.lsn)"))
        let newest = try run("journal", "--count=2", path).output
        #expect(newest.contains("INTENT") == false && newest.contains("  \(end.lsn - 2)  EPOCH"))
        let damaged = try run("journal", SourceTree.golden("damaged.cache"))
        #expect(damaged.status == 4)
        #expect(damaged.output.contains("HOLE at position 12288, LSN 8"))
        #expect(damaged.output.contains("(unreachable)"))
        let dead = try #require(Damage.all.first { $0.code == "JRN_OLD_SESSION" })
        try writeFile(path, dead.make())
        let stale = try run("journal", path)
        #expect(stale.status == 0)
        #expect(stale.output.contains("(stale, of session 1)"))
        let object = try json("journal", path)
        #expect(object["verdict"] as? String == "JRN_OLD_SESSION")
    }

    @Test("map draws the volume, in text and as SVG, and overwrites nothing")
    func map() throws {
        try writeRich()
        let cells = "...DcP!D.zz.D.......D..........."
        #expect(try run("map", path).output.contains(cells))
        #expect(try json("map", path)["cells"] as? String == cells)
        let svg = directory.file("x.svg")
        #expect(try run("map", "--svg", svg, path).status == 0)
        let drawn = String(decoding: readFile(svg), as: UTF8.self)
        #expect(drawn.hasPrefix("<svg") && drawn.hasSuffix("</svg>\n"))
        let again = try run("map", "--svg", svg, path)
        #expect(again.status == 8 && again.errors.contains("nothing is overwritten"))
    }

    @Test("a bundle says what the file says, and has no byte of a block")
    func bundle() throws {
        let images =
            try [Worlds.rich(clean: false).bytes, Worlds.rich(clean: true).bytes]
            + Damage.all.filter {
                !$0.needsData
                    && !["SB_NONE", "SB_COPY_BAD", "VER_NEWER", "FEAT_UNKNOWN"].contains($0.code)
            }
            .map { try $0.make() }
        for (number, image) in images.enumerated() {
            try writeFile(path, image)
            let out = directory.file("bundle\(number)")
            let made = try run("bundle", out, path)
            #expect(made.status == 0, "\(made.errors)")
            for command in [
                ["check"], ["check", "--fast"], ["show"], ["list", "-v"], ["journal"], ["map"],
            ] {
                let direct = try program.run(command + [path])
                let bundled = try program.run(command + [out])
                #expect(direct.output == bundled.output, "\(number) \(command)")
                #expect(direct.status == bundled.status)
            }
            let bytes = readFile(out)
            for block: UInt64 in [3, 4, 5, 6, 7, 12, 20] {
                for granule in 0..<2 {
                    for version in 1...8 {
                        let content = Worlds.content(block, granule, version)
                        #expect(!contains(bytes, Array(content[64..<96])))
                    }
                }
            }
            if number == 0 {
                for command in [
                    ["check", "--data=all"], ["list", "--bad"],
                    ["salvage", "--to", directory.file("s")], ["bundle", directory.file("b2")],
                ] {
                    let refused = try program.run(command + [out])
                    #expect(refused.status == 8 && refused.errors.contains("is a bundle"))
                }
                #expect(try run("bundle", out, path).status == 8)
            }
        }
    }

    private func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
        Data(bytes).range(of: Data(part)) != nil
    }

    @Test("a bundle with any byte changed is refused or read, without a crash")
    func damagedBundle() throws {
        try writeRich()
        let out = directory.file("bundle")
        #expect(try run("bundle", out, path).status == 0)
        let bytes = readFile(out)
        for at in Array(0..<64) + Array(stride(from: 64, to: bytes.count, by: 4001)) {
            var changed = bytes
            changed[at] ^= 0xff
            try writeFile(out, changed)
            #expect([0, 4, 8].contains(try run("list", out).status))
        }
        try writeFile(out, Array(bytes.dropLast(8)))
        #expect(try run("list", out).status == 8)
    }

    // MARK: The original's files

    @Test("import shows, lists and salvages the original's files")
    func importing() throws {
        let clean = SourceTree.golden("cachefile-1.5.4-clean.bin")
        let dirty = SourceTree.golden("cachefile-1.5.4-dirty-after-sigkill.bin")
        #expect(try run("import", clean).lastLine.hasSuffix("readable; 0 dirty blocks"))
        let list = try run("import", "--list", clean).output
        #expect(list.contains("5: clean, slot 2, tag eff719cf31f540ab0ff61abc720de028"))
        let object = try json("import", dirty)
        #expect(object["mountToken"] as? Int == 0x0190_cbb9)
        #expect(object["dirtyBlocks"] as? Int == 3)
        let out = directory.file("out")
        #expect(try run("import", "--to", out, dirty).status == 0)
        for block in [0, 1, 5] {
            let bytes = readFile(out + "/0000000\(block)")
            let expected = (0..<4096).map {
                UInt8(truncatingIfNeeded: 7 * $0 + 13 * block + $0 >> 8)
            }
            #expect(bytes == expected)
        }
        #expect(readFile(out + "/manifest.json").isEmpty == false)
        #expect(try run("import", "--to", out, dirty).status == 8)
    }

    @Test("an original's file with a block twice, cut off, or with any header is told of")
    func damagedImports() throws {
        let bytes = readFile(SourceTree.golden("cachefile-1.5.4-dirty-after-sigkill.bin"))
        var twice = bytes
        twice[64 + 24] = 5
        try writeFile(path, twice)
        let told = try run("import", path)
        #expect(told.status == 4 && told.output.contains("block 5 is in two slots"))
        #expect(try run("import", "--to", directory.file("a"), path).status == 68)
        try writeFile(path, Array(bytes.prefix(4096 + 2 * 4096)))
        let cut = try run("import", "--to", directory.file("b"), path)
        #expect(cut.status == 68 && cut.output.contains("the file ends before block 5"))
        for at in 0..<64 {
            for value: UInt8 in [0, 0x7f, 0xff] {
                var changed = bytes
                changed[at] = value
                try writeFile(path, changed)
                #expect([0, 4, 8].contains(try run("import", "--list", path).status))
            }
        }
    }
}
