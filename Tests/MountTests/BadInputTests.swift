import FileIO
import Foundation
import Glibc
import MountSupport
import Simulation
import TestSupport
import Testing

@Suite("BadInputTests", .serialized, .enabled(if: canMount, mountReason))
struct BadInputTests {
    static let cache = "--blockCacheFile=@/cache"
    static let disk = BadInputWorld.size.joined(separator: " ")
    static let ring = BadInputWorld.small.joined(separator: " ")
    static let good = "--test @/store @/mnt"

    static let cacheFiles: [BadInputCase] = [
        .init(
            "another store directory", "--test @/other @/mnt \(ring) \(cache)",
            ["--blockCacheFile=", "another volume", "choose another file"]
        ) {
            try $0.makeCache()
            return nil
        },
        .init(
            "another prefix", "\(good) \(ring) --prefix=x \(cache)",
            ["--blockCacheFile=", "another volume", "choose another file"]
        ) {
            try $0.makeCache()
            return nil
        },
        .init(
            "another block size than the volume", "\(good) \(ring) --blockSize=32k \(cache)",
            ["--blockSize=32k", "64k", "leave the option out"]
        ) {
            try $0.makeCache()
            return nil
        },
        .init(
            "another size than the volume", "\(good) \(ring) --size=8m \(cache)",
            ["--size=8m", "4m", "leave the option out"]
        ) {
            try $0.makeCache()
            return nil
        },
        .init(
            "another block size", "\(good) \(ring) --blockSize=32k \(cache)",
            ["--blockCacheFile=", "65536", "--blockSize", "choose another file"]
        ) {
            try $0.makeCache()
            try $0.forgetVolume()
            return nil
        },
        .init(
            "another size", "\(good) \(ring) --size=8m \(cache)",
            ["--blockCacheFile=", "4194304", "--size", "choose another file"]
        ) {
            try $0.makeCache()
            try $0.forgetVolume()
            return nil
        },
        .init(
            "random bytes", "\(good) \(disk) \(cache)",
            ["--blockCacheFile=", "no cache file", "move it away"]
        ) {
            var random = SeededRandom(seed: 3)
            let bytes = (0..<100_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            try Data(bytes).write(to: URL(fileURLWithPath: $0.daemon.cache))
            return nil
        },
        .init(
            "an empty file", "\(good) \(disk) \(cache)",
            ["--blockCacheFile=", "no cache file", "move it away"]
        ) {
            try Data().write(to: URL(fileURLWithPath: $0.daemon.cache))
            return nil
        },
        .init(
            "a text", "\(good) \(disk) \(cache)",
            ["--blockCacheFile=", "no cache file", "move it away"]
        ) {
            try Data("Dear diary,\n".utf8).write(to: URL(fileURLWithPath: $0.daemon.cache))
            return nil
        },
        .init(
            "a clean file of s3backer 1.5.4", "\(good) \(disk) \(cache)",
            ["--blockCacheFile=", "original s3backer", "choose a new file"]
        ) {
            try copyGolden("cachefile-1.5.4-clean.bin", to: $0)
            return nil
        },
        .init(
            "a dirty file of s3backer 1.5.4", "\(good) \(disk) \(cache)",
            ["--blockCacheFile=", "--blockCacheRecoverDirtyBlocks", "choose a new file"]
        ) {
            try copyGolden("cachefile-1.5.4-dirty-after-sigkill.bin", to: $0)
            return nil
        },
        .init(
            "a hole where the file begins", "\(good) \(ring) \(cache)",
            ["--blockCacheFile=", "damaged", "cachecheck"]
        ) {
            try $0.makeCache()
            try $0.command("/usr/bin/fallocate", "-p", "-o", "0", "-l", "256k", $0.daemon.cache)
            return nil
        },
        .init(
            "holes in both tables of zones", "\(good) \(ring) \(cache)",
            ["--blockCacheFile=", "damaged", "cachecheck"]
        ) {
            try $0.makeCache()
            try $0.command("/usr/bin/fallocate", "-p", "-o", "128k", "-l", "128k", $0.daemon.cache)
            return nil
        },
        .init("a file cut short", "\(good) \(ring) \(cache)", ["--blockCacheFile=", "cachecheck"]) {
            try $0.makeCache()
            try #require(truncate($0.daemon.cache, 300 << 10) == 0)
            return nil
        },
        .init(
            "in use by a mount", "--test @/store @/mnt2 \(ring) \(cache)",
            ["--blockCacheFile=", "in use by s3backer (pid ", "/mnt", "unmount that first"]
        ) {
            try FileManager.default.createDirectory(
                atPath: $0.root + "/mnt2", withIntermediateDirectories: true)
            try $0.daemon.start(BadInputWorld.small + ["--blockCacheFile=\($0.daemon.cache)"])
            return nil
        },
        .init(
            "in use by a mount of another volume", "--test @/other @/mnt2 \(ring) \(cache)",
            ["--blockCacheFile=", "in use by s3backer (pid ", "/mnt", "unmount that first"]
        ) {
            try FileManager.default.createDirectory(
                atPath: $0.root + "/mnt2", withIntermediateDirectories: true)
            try $0.daemon.start(BadInputWorld.small + ["--blockCacheFile=\($0.daemon.cache)"])
            return nil
        },
        .init(
            "a directory", "\(good) \(disk) --blockCacheFile=@/other",
            ["--blockCacheFile=", "not a regular file", "choose another"]),
        .init(
            "a missing directory", "\(good) \(disk) --blockCacheFile=@/none/cache",
            ["--blockCacheFile=", "@/none does not exist", "create it"]),
        .init(
            "no name", "\(good) \(disk) --blockCacheFile=", ["--blockCacheFile=", "name a file"]),
        .init(
            "in the mount point", "\(good) \(disk) --blockCacheFile=@/mnt/cache",
            ["--blockCacheFile=", "inside the mount point", "choose another"]),
        .init(
            "a full tmpfs",
            "\(good) \(disk) --blockCacheSize=1g --size=2g "
                + "--blockCacheFile=@/small/cache",
            ["--blockCacheFile=", "and 4194304 are free;", "make room", "--blockCacheSize"]
        ) {
            try $0.mountSmall("tmpfs")
        },
        .init(
            "a full ext4",
            "\(good) \(disk) --blockCacheSize=1g --size=2g "
                + "--blockCacheFile=@/small/cache",
            ["--blockCacheFile=", "are free; make room", "--blockCacheSize"]
        ) {
            try $0.mountSmall("ext4")
        },
        .init(
            "a read-only directory", "\(good) \(disk) --blockCacheFile=@/small/cache",
            ["--blockCacheFile", "Read-only file system", "choose another file"]
        ) {
            let undo = try $0.mountSmall("tmpfs")
            try $0.command("/usr/bin/mount", "-o", "remount,ro", $0.root + "/small")
            return undo
        },
        .init(
            "a block cache of nothing", "\(good) \(disk) --blockCacheSize=0",
            ["--blockCacheSize=0", "give a number"]),
    ]

    static let places: [BadInputCase] = [
        .init(
            "mount point missing", "--test @/store @/none \(disk)",
            ["mount point", "does not exist", "mkdir"]),
        .init(
            "mount point a file", "--test @/store @/text \(disk)",
            ["mount point", "not a directory", "name an empty directory"]
        ) {
            try Data("x".utf8).write(to: URL(fileURLWithPath: $0.root + "/text"))
            return nil
        },
        .init(
            "mount point busy", "--test @/other @/mnt \(disk)",
            ["mount point", "busy", "umount"]
        ) {
            try $0.daemon.start(BadInputWorld.small)
            return nil
        },
        .init(
            "mount point a dead mount", "\(good) \(disk)",
            ["mount point", "dead mount", "fusermount3 -u"]
        ) {
            try $0.daemon.start(BadInputWorld.small)
            $0.daemon.killNow()
            return nil
        },
        .init(
            "mount point is the store", "--test @/store @/store \(disk)",
            ["mount point", "store directory", "choose another"]),
        .init(
            "mount point above the store", "--test @/store @ \(disk)",
            ["mount point", "store directory", "choose another"]),
        .init(
            "mount point not given", "--test @/store \(disk)",
            ["mount point is missing", "MOUNTPOINT"]),
        .init("nothing given", "--test \(disk)", ["--test needs", "DIRECTORY MOUNTPOINT"]),
        .init("one argument too many", "\(good) @/more \(disk)", ["@/more", "leave it out"]),
        .init(
            "store missing", "--test @/none @/mnt \(disk)",
            ["store directory", "does not exist", "mkdir"]),
        .init(
            "store a file", "--test @/text @/mnt \(disk)",
            ["store directory", "not a directory", "name a directory"]
        ) {
            try Data("x".utf8).write(to: URL(fileURLWithPath: $0.root + "/text"))
            return nil
        },
        .init(
            "directory of the prefix missing", "\(good) \(disk) --prefix=a/b",
            ["--prefix=a/b", "create it first"]),
        .init(
            "a bucket on a server that is not there",
            "bucket @/mnt --baseURL=http://127.0.0.1:1/ --accessId= \(disk)",
            ["127.0.0.1:1", "check --baseURL"]),
    ]

    static let values: [BadInputCase] = [
        .init("size missing", "\(good)", ["--size", "--size=10g"]),
        .init(
            "size no multiple", "\(good) --size=100k --blockSize=64k",
            ["--size=100k", "use --size=64k"]),
        .init("size nothing", "\(good) --size=0", ["--size=0", "more than 0"]),
        .init("size empty", "\(good) --size=", ["--size=", "give a number"]),
        .init("size without value", "\(good) --size", ["--size", "--size=VALUE"]),
        .init("size a word", "\(good) --size=big", ["--size=big", "give a number"]),
        .init("size of two letters", "\(good) --size=1mb", ["--size=1mb", "give a number"]),
        .init("size too big", "\(good) --size=9z", ["--size=9z", "smaller"]),
        .init("too many blocks", "\(good) --size=1p", ["--size=1p", "larger --blockSize"]),
        .init(
            "block size below 4k", "\(good) --size=1m --blockSize=2k",
            ["--blockSize=2k", "power of two from 4k to 64m"]),
        .init(
            "block size no power of two", "\(good) --size=1m --blockSize=5000",
            ["--blockSize=5000", "power of two from 4k to 64m"]),
        .init(
            "block size too large", "\(good) --size=1g --blockSize=128m",
            ["--blockSize=128m", "power of two from 4k to 64m"]),
        .init(
            "no threads", "\(good) \(disk) --blockCacheThreads=0",
            ["--blockCacheThreads=0", "from 1 to"]),
        .init(
            "delay a word", "\(good) \(disk) --blockCacheWriteDelay=soon",
            ["--blockCacheWriteDelay=soon", "from 0 to"]),
        .init(
            "mode not octal", "\(good) \(disk) --fileMode=999",
            ["--fileMode=999", "octal number"]),
        .init("owner a name", "\(good) \(disk) --uid=root", ["--uid=root", "a number from"]),
        .init(
            "file name with a slash", "\(good) \(disk) --filename=a/b",
            ["--filename=a/b", "without \"/\""]),
        .init(
            "two equal names", "\(good) \(disk) --statsFilename=file",
            ["--statsFilename=file", "choose two names"]),
        .init("unknown option", "\(good) \(disk) --bogus", ["--bogus", "--help"]),
        .init(
            "mistyped option", "\(good) \(disk) --blokSize=64k",
            ["--blokSize", "did you mean --blockSize?"]),
        .init("unknown letter", "\(good) \(disk) -z", ["-z", "--help"]),
        .init("unknown mount option", "\(good) \(disk) -o bogus", ["-o bogus", "--help"]),
        .init("nothing after -o", "\(good) \(disk) -o", ["-o needs a value"]),
        .init(
            "option not there yet", "\(good) \(disk) --compress=zstd",
            ["--compress", "leave it out"]),
        .init(
            "flag with a value", "\(good) \(disk) --readOnly=no",
            ["--readOnly=no", "takes no value"]),
    ]

    @Test("a cache file that cannot be used: one line, nothing changed", arguments: cacheFiles)
    func cacheFile(_ item: BadInputCase) throws { try check(item, isDaemon: [false, true]) }

    @Test("a place that cannot be used: one line, nothing changed", arguments: places)
    func place(_ item: BadInputCase) throws { try check(item, isDaemon: [false, true]) }

    @Test("a value that makes no sense: one line, nothing changed", arguments: values)
    func value(_ item: BadInputCase) throws { try check(item, isDaemon: [false]) }

    @Test("in use by a process that serves no mount: said once, and the file is left alone")
    func inUseElsewhere() throws {
        let world = try BadInputWorld()
        defer { world.daemon.remove() }
        try world.makeCache()
        let before = TreeSnapshot(world.root)
        let holder = try PosixFile.open(world.daemon.cache, readOnly: false)
        try holder.lock(exclusive: true)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: MountedDaemon.s3backer)
        process.arguments =
            ["-f", "--test", world.daemon.store, world.daemon.mountPoint] + BadInputWorld.small
            + ["--blockCacheFile=\(world.daemon.cache)"]
        let pipe = Pipe()
        process.standardError = pipe
        try process.run()
        defer { process.waitUntilExit() }
        // It waits, and says for whom.
        let said = String(decoding: pipe.fileHandleForReading.availableData, as: UTF8.self)
        #expect(said.hasPrefix("waiting for ") && said.contains(world.daemon.cache), "\(said)")
        #expect(process.isRunning)
        kill(process.processIdentifier, SIGTERM)
        process.waitUntilExit()
        let rest = String(
            decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(rest == "")
        #expect(TreeSnapshot(world.root).differences(from: before) == [])
    }

    // MARK: Checking

    private func check(_ item: BadInputCase, isDaemon modes: [Bool]) throws {
        let world = try BadInputWorld()
        let undo = try item.prepare(world)
        defer {
            undo?()
            world.daemon.remove()
        }
        let root = world.root
        for isDaemon in modes {
            let before = TreeSnapshot(root)
            let beforeSmall = TreeSnapshot(root + "/small")
            let words = item.arguments.split(separator: " ").map {
                $0.replacingOccurrences(of: "@", with: root)
            }
            let found = try runSplit(MountedDaemon.s3backer, (isDaemon ? [] : ["-f"]) + words)
            let mode = isDaemon ? "daemon" : "foreground"
            #expect(found.status == 1, "\(mode): exit status")
            #expect(found.output == "", "\(mode): standard output")
            let lines = found.errors.split(separator: "\n", omittingEmptySubsequences: false)
            #expect(
                lines.count == 2 && lines.last == "", "\(mode): not one line:\n\(found.errors)")
            #expect(found.errors.hasPrefix("s3backer: "), "\(mode): \(found.errors)")
            for text in item.expected {
                let wanted = text.replacingOccurrences(of: "@", with: root)
                #expect(
                    found.errors.contains(wanted), "\(mode): no \"\(wanted)\" in: \(found.errors)")
            }
            #expect(TreeSnapshot(root).differences(from: before) == [], "\(mode)")
            #expect(TreeSnapshot(root + "/small").differences(from: beforeSmall) == [], "\(mode)")
        }
    }

    private static func copyGolden(_ name: String, to world: BadInputWorld) throws {
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../Golden/" + name)
        try FileManager.default.copyItem(at: source, to: URL(fileURLWithPath: world.daemon.cache))
    }
}
