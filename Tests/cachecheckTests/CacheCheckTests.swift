import CacheFile
import FileIO
import Foundation
import TestSupport
import Testing

@Suite("cachecheck")
struct CacheCheckTests {
    let directory = TemporaryDirectory()
    let program: BuiltProgram

    init() throws {
        program = try #require(BuiltProgram("cachecheck"), "cachecheck is not built")
    }

    func check(_ arguments: String...) throws -> CommandOutcome { try program.run(arguments) }

    /// One line on standard error, status 8, nothing else.
    func expectRefusal(
        _ path: String, _ parts: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let outcome = try check(path)
        #expect(outcome.status == 8, sourceLocation: sourceLocation)
        #expect(outcome.output == "", sourceLocation: sourceLocation)
        #expect(outcome.errors.hasPrefix("cachecheck: "), sourceLocation: sourceLocation)
        #expect(outcome.errors.split(separator: "\n").count == 1, sourceLocation: sourceLocation)
        for part in parts {
            #expect(
                outcome.errors.contains(part), "\(outcome.errors)", sourceLocation: sourceLocation)
        }
        let json = try check("--json", path)
        #expect(json.status == 8, sourceLocation: sourceLocation)
        let object = try parse(json.output)
        #expect(
            (object["error"] as? [String: Any])?["remedy"] != nil, sourceLocation: sourceLocation)
    }

    func parse(_ text: String) throws -> [String: Any] {
        let value = try JSONSerialization.jsonObject(with: Data(text.utf8))
        return try #require(value as? [String: Any])
    }

    // MARK: Golden images

    @Test("the golden images are what make-golden makes", arguments: GoldenImages.names)
    func reproducible(name: String) throws {
        let isSame = try GoldenImages.make(name) == readFile(SourceTree.golden("\(name).cache"))
        #expect(isSame, "run make-golden, and say in the commit why the format changed")
    }

    @Test(
        "the golden images are judged as ever",
        arguments: GoldenImages.names)
    func golden(name: String) throws {
        let status: Int32 = ["damaged", "page"].contains(name) ? 4 : 0
        for (options, suffix) in [([], "txt"), (["-v"], "verbose.txt"), (["--json"], "json")] {
            let outcome = try program.run(options + [SourceTree.golden("\(name).cache")])
            #expect(outcome.status == status)
            #expect(outcome.errors == "")
            let text = outcome.output.replacing(SourceTree.root + "/", with: "")
            let expected = SourceTree.golden("\(name).\(suffix)")
            if ProcessInfo.processInfo.environment["S3B_WRITE_GOLDEN"] == "1" {
                try writeFile(expected, Array(text.utf8))
            }
            #expect(text == String(decoding: readFile(expected), as: UTF8.self))
        }
    }

    @Test("the verdict is the last line, and with -q the only one")
    func verdicts() throws {
        let expected = [
            "clean.cache": "sound; clean; 2 dirty blocks, 12288 bytes",
            "replay.cache": "sound; needs replay; 3 dirty blocks, 24576 bytes",
            "damaged.cache":
                "damaged: JRN_HOLE (the journal breaks at LSN 8, but LSN 11 was durable): "
                + "a mount refuses it",
        ]
        for (name, verdict) in expected {
            #expect(try check(SourceTree.golden(name)).lastLine == verdict)
            #expect(try check("-q", SourceTree.golden(name)).output == verdict + "\n")
            let object = try parse(check("--json", SourceTree.golden(name)).output)
            #expect(object["verdict"] as? String == verdict)
            #expect(object["cachecheck"] as? Int == 1)
        }
    }

    @Test("--data reads what a mount would serve: dirty damage is a problem, clean a warning")
    func data() throws {
        let path = directory.file("c")
        let original = readFile(SourceTree.golden("clean.cache"))
        let geometry = try CacheFiles.inspect(MemoryFile(original)).geometry
        try writeFile(path, original)
        for depth in ["dirty", "all"] {
            let outcome = try check("--data=\(depth)", path)
            #expect(outcome.status == 0 && outcome.output.contains("data read:"))
        }
        var found: [String: Int] = [:]
        for slot in 0..<geometry.slotCount {
            for granule in 0..<geometry.granulesPerBlock {
                var bytes = original
                bytes[geometry.slotOffset(slot) + granule * geometry.granuleSize + 99] ^= 4
                try writeFile(path, bytes)
                let outcome = try check("--data=all", "--json", path)
                let object = try parse(outcome.output)
                let findings = try #require(object["findings"] as? [[String: Any]])
                let code = findings.first?["code"] as? String ?? "none"
                found[code, default: 0] += 1
                #expect(outcome.status == (code == "DATA_BAD_DIRTY" ? 4 : 0))
                let onlyDirty = try check("--data=dirty", path)
                #expect(onlyDirty.status == outcome.status)
                #expect(onlyDirty.output.contains("DATA_BAD_CLEAN") == false)
                #expect(try check(path).status == 0)
            }
        }
        // Two dirty blocks with three granules, one clean with two, five free slots.
        #expect(found == ["DATA_BAD_DIRTY": 3, "DATA_BAD_CLEAN": 2, "none": 11])
        #expect(try check("--data=some", path).status == 16)
    }

    @Test("trimmed blocks that the store may still have are shown")
    func trimmed() throws {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        session.append(.zeroRange(ZeroRangeRecord(blocks: 3..<9)))
        session.append(.zeroRange(ZeroRangeRecord(blocks: 20..<21)))
        try session.commit()
        let path = directory.file("trimmed")
        try writeFile(path, file.bytes)
        let text = try check(path)
        #expect(text.status == 0)
        #expect(
            text.output.contains("trimmed:       7 blocks to be deleted in the store, in 2 ranges"))
        #expect(text.lastLine.hasSuffix("; 7 trimmed blocks to delete"))
        let object = try parse(check("--json", path).output)
        let contents = try #require(object["contents"] as? [String: Any])
        #expect(contents["zeroBlocks"] as? Int == 7 && contents["zeroExtents"] as? Int == 2)
    }

    @Test("checking writes nothing")
    func writesNothing() throws {
        let path = directory.file("c")
        let bytes = readFile(SourceTree.golden("replay.cache"))
        try writeFile(path, bytes)
        chmod(path, 0o400)
        #expect(try check(path).status == 0)
        #expect(readFile(path) == bytes)
    }

    @Test("a damaged superblock copy is a warning, a file of a newer kind a refusal")
    func otherVerdicts() throws {
        let path = directory.file("c")
        let file = MemoryFile(readFile(SourceTree.golden("clean.cache")))
        let sb = try SuperblockSet.read(file).current
        let geometry = try CacheFiles.inspect(file).geometry
        let copy = geometry.superblockOffset(sb.copies[1])
        file.bytes[copy + 200] ^= 1
        try writeFile(path, file.bytes)
        let warned = try check(path)
        #expect(warned.status == 0)
        #expect(warned.output.contains("warning SB_COPY_BAD"))
        #expect(warned.lastLine.hasSuffix("; 1 warning: SB_COPY_BAD"))
        var newer = sb
        newer.featIncompat = 4
        for copy in sb.copies {
            let buffer = newer.encode(copy: UInt32(copy))
            try file.write(buffer.bytes, at: geometry.superblockOffset(copy), .cached)
        }
        try writeFile(path, file.bytes)
        let refused = try check(path)
        #expect(refused.status == 4)
        #expect(refused.lastLine.hasPrefix("not usable: FEAT_UNKNOWN"))
        #expect(refused.output.contains("features 0x4"))
    }

    @Test("a cut file is damaged")
    func cut() throws {
        let path = directory.file("c")
        let bytes = readFile(SourceTree.golden("clean.cache"))
        try writeFile(path, Array(bytes.dropLast(4096)))
        let outcome = try check(path)
        #expect(outcome.status == 4)
        #expect(outcome.lastLine.hasPrefix("damaged: SIZE_SHORT"))
    }

    // MARK: What is no cache file

    @Test("missing, directory, named pipe, device")
    func oddKinds() throws {
        try expectRefusal(directory.file("no"), "No such file", "check the name")
        try expectRefusal(directory.path, "is a directory", "--blockCacheFile")
        mkfifo(directory.file("fifo"), 0o600)
        try expectRefusal(directory.file("fifo"), "is a named pipe")
        try expectRefusal("/dev/null", "is a device")
    }

    @Test("empty, tiny, garbage")
    func garbage() throws {
        let path = directory.file("c")
        try writeFile(path, [])
        try expectRefusal(path, "is empty", "remove it")
        for size in [1, 100, 4096, 70_000] {
            try writeFile(path, (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 37) })
            try expectRefusal(path, "no cache file", "check the name")
        }
    }

    @Test(
        "files of the original program",
        arguments: ["cachefile-1.5.4-clean.bin", "cachefile-1.5.4-dirty-after-sigkill.bin"])
    func foreign(name: String) throws {
        try expectRefusal(SourceTree.golden(name), "original s3backer", "choose another file")
    }

    @Test(
        "a file that may not be read", .enabled(if: geteuid() == 0, "changing the user needs root"))
    func denied() throws {
        let path = directory.file("c")
        chmod(directory.path, 0o755)
        try writeFile(path, readFile(SourceTree.golden("clean.cache")))
        chmod(path, 0o600)
        let process = try program.run([path], asUser: 65534)
        guard process.status == 8 || process.errors.contains("cachecheck:") else { return }
        #expect(process.status == 8)
        #expect(process.errors.contains("Permission denied"))
        #expect(process.errors.contains("run as the owner"))
    }

    @Test("a file in use: by whom, and that it serves a mount")
    func locked() throws {
        let path = directory.file("c")
        try writeFile(path, readFile(SourceTree.golden("clean.cache")))
        let cache = try CacheFiles.open(
            path, identity: SmallWorld.identity,
            info: SmallWorld.info(mounter: "pid 99, /mnt\u{9b}x"))
        try expectRefusal(
            path, "pid 99, /mnt\\u{9b}x", "testhost", "starting or stopping", "unmount")
        cache.setServing(true)
        try expectRefusal(path, "serves a mount")
        withExtendedLifetime(cache) {}
    }

    @Test("several checks at once")
    func shared() throws {
        let path = directory.file("c")
        try writeFile(path, readFile(SourceTree.golden("clean.cache")))
        let reader = try PosixFile.open(path, readOnly: true)
        try reader.lock(exclusive: false)
        #expect(try check(path).status == 0)
        withExtendedLifetime(reader) {}
    }

    @Test("control characters of names never reach the terminal")
    func controlCharacters() throws {
        let path = directory.file("a\u{1b}[31m\nb\u{202e}")
        let missing = try check(path)
        #expect(missing.errors.unicodeScalars.filter { $0.value < 0x20 } == ["\n"])
        #expect(missing.errors.contains("\\u{1b}[31m\\u{a}b\\u{202e}"))
        let file = MemoryFile(readFile(SourceTree.golden("clean.cache")))
        var sb = try SuperblockSet.read(file).current
        let geometry = try CacheFiles.inspect(file).geometry
        sb.mounter = "pid 1\u{9b}2J\u{202e}"
        sb.creator = "x\u{1b}]0;y"
        for copy in sb.copies {
            let buffer = sb.encode(copy: UInt32(copy))
            try file.write(buffer.bytes, at: geometry.superblockOffset(copy), .cached)
        }
        try writeFile(path, file.bytes)
        for options in [[], ["-v"], ["--json"]] {
            let outcome = try program.run(options + [path])
            #expect(outcome.status == 0)
            let bad = outcome.output.unicodeScalars.filter {
                $0 != "\n" && [.control, .format].contains($0.properties.generalCategory)
            }
            #expect(bad.isEmpty)
        }
        #expect(try parse(check("--json", path).output)["file"] as? String == path)
    }

    // MARK: Usage

    @Test(
        "wrong usage",
        arguments: [
            [], ["--frob", "x"], ["a", "b"], ["-q", "-v", "x"], [""], ["--json=3", "x"],
        ])
    func usage(arguments: [String]) throws {
        let outcome = try program.run(arguments)
        #expect(outcome.status == 16)
        #expect(outcome.output == "")
        #expect(!outcome.errors.isEmpty)
    }

    @Test("help and version")
    func help() throws {
        for option in ["--help", "-h"] {
            let outcome = try check(option)
            #expect(outcome.status == 0)
            #expect(outcome.output.contains("Exit status"))
            #expect(outcome.output.contains("USAGE: cachecheck"))
        }
        #expect(try check("--version").output == "cachecheck version 0.1.0\n")
    }

    @Test("a report that cannot be written is an error")
    func fullOutput() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program.path)
        process.arguments = [SourceTree.golden("clean.cache")]
        process.standardOutput = FileHandle(forWritingAtPath: "/dev/full")
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 8)
    }
}
