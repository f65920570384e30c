import Glibc
import Testing
import VolumeOptions

@testable import s3backer

/// A directory with a store, a mount point and a file in it.
final class Playground {
    let path: String
    var store: String { path + "/store" }
    var target: String { path + "/mnt" }
    var file: String { path + "/plain" }

    init() throws {
        var template = Array("/tmp/s3backer-options-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let made = String(
            decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        path = try #require(PathChecks.resolved(made))
        try #require(mkdir(store, 0o700) == 0 && mkdir(target, 0o700) == 0)
        let fd = open(file, O_WRONLY | O_CREAT, 0o600)
        try #require(fd >= 0)
        close(fd)
    }

    deinit {
        unlink(file)
        for directory in [store + "/sub", store, target, path] { rmdir(directory) }
    }
}

@Suite struct ValidationTests {
    let place: Playground

    init() throws { place = try Playground() }

    func plan(_ words: [String]) throws -> MountPlan {
        try Validation.plan(Options.read(Arguments.normalise(words)))
    }

    func plan(with words: String...) throws -> MountPlan {
        try plan(["--test", "--size=1m"] + words + [place.store, place.target])
    }

    func message(_ words: String...) throws -> String {
        try #require(throws: StartupError.self) { try plan(words) }.message
    }

    func message(with words: String...) throws -> String {
        let line = ["--test", "--size=1m"] + words + [place.store, place.target]
        return try #require(throws: StartupError.self) { try plan(line) }.message
    }

    @Test("defaults")
    func defaults() throws {
        let plan = try plan(with: "--blockSize=4k")
        #expect(plan.source == .directory(place.store))
        #expect(plan.mountPoint == place.target)
        #expect(plan.blockSize == 4096 && plan.blockCount == 256 && plan.fileSize == 1 << 20)
        #expect(plan.cacheFile == nil && plan.cacheSlots == 256 && !plan.isCacheSizeGiven)
        #expect(plan.writeDelayMs == 250 && plan.uploadThreads == 20)
        #expect(plan.readAhead == ReadAheadPlan(blocksMax: 64, trigger: 2))
        #expect(plan.filename == "file" && plan.statsFilename == "stats")
        #expect(plan.fileMode == 0o600 && !plan.isReadOnly && !plan.isForeground)
        #expect(plan.description == "file://\(place.store)/")
        #expect(try self.plan(with: "--readOnly").fileMode == 0o400)
        #expect(try self.plan(with: "-d").isForeground)
        #expect(try self.plan(with: "--statsFilename=").statsFilename == "")
        #expect(try self.plan(with: "--prefix=-x").prefix == "-x")
        #expect(try self.plan(with: "--readAhead=0").readAhead.blocksMax == 0)
        #expect(try self.plan(with: "--readAhead=9").readAhead.blocksMax == 9)
        #expect(try self.plan(with: "--readAheadTrigger=0").readAhead.trigger == 0)
    }

    @Test(
        "the cache is counted in blocks, or in bytes with a suffix, and never exceeds the disk",
        arguments: [("10", 10), ("64k", 16), ("70000", 256), ("200g", 256), ("4097", 256)])
    func cacheSize(text: String, slots: Int) throws {
        #expect(try plan(with: "--blockCacheSize=" + text).cacheSlots == slots)
    }

    @Test(
        "a wrong value is an error that names the option",
        arguments: [
            ("--size=1mb", "--size=1mb: invalid size; "),
            ("--size=0", "--size=0: must be more than 0"),
            ("--size=9e", "--size=9e: too big; "),
            ("--size=16t", "--size=16t: more than 2^32-1 blocks of 4k; use a larger --blockSize"),
            ("--size=10000", "--size=10000: not a multiple of the block size 4k; use --size=8k "),
            ("--size=100", "--size=100: not a multiple of the block size 4k; use --size=4k "),
            ("--blockSize=2k", "--blockSize=2k: must be a power of two from 4k to 64m"),
            ("--blockSize=12k", "--blockSize=12k: must be a power of two from 4k to 64m"),
            ("--blockSize=128m", "--blockSize=128m: must be a power of two from 4k to 64m"),
            ("--blockCacheSize=0", "--blockCacheSize=0: the cache must hold at least one block"),
            ("--blockCacheSize=1k", "--blockCacheSize=1k: the cache must hold at least one "),
            ("--blockCacheThreads=0", "--blockCacheThreads=0: must be a number from 1 to 1000"),
            ("--blockCacheWriteDelay=x", "--blockCacheWriteDelay=x: must be a number from 0 to "),
            ("--readAhead=-1", "--readAhead=-1: must be a number from 0 to 1000000"),
            ("--readAheadTrigger=", "--readAheadTrigger=: must be a number from 0 to 1000000"),
            ("--fileMode=8", "--fileMode=8: must be an octal number from 0 to 0777"),
            ("--fileMode=1777", "--fileMode=1777: must be an octal number from 0 to 0777"),
            ("--filename=", "--filename=: must be a name without \"/\""),
            ("--filename=a/b", "--filename=a/b: must be a name without \"/\""),
            ("--statsFilename=file", "--statsFilename=file: is --filename too"),
            ("--prefix=no/x", "--prefix=no/x: there is no directory "),
            ("--blockCacheFile=/nowhere/x/c", "--blockCacheFile=/nowhere/x/c: directory "),
            ("--blockCacheFile=/tmp/", "--blockCacheFile=/tmp/: name a file"),
            ("--blockCacheFile=/dev/null", "--blockCacheFile=/dev/null: is not a regular file"),
        ])
    func wrongValue(word: String, start: String) throws {
        let message = try message(with: word)
        #expect(message.hasPrefix(start), "\(message)")
        #expect(!message.contains("\n"))
    }

    @Test("what is missing is named")
    func missing() throws {
        #expect(try message("--test", place.store, place.target).hasPrefix("--size is missing; "))
        #expect(
            try message("--test", "--size=1m", place.store).hasPrefix("the mount point is missing"))
        #expect(try message("--test", "--size=1m").hasPrefix("--test needs a directory and "))
        #expect(try message("--size=1m").hasPrefix("the bucket and the mount point are missing"))
        #expect(try message("bkt").hasPrefix("the mount point is missing: s3backer bkt "))
        #expect(
            try message("--test", "--size=1m", place.store, place.target, "more")
                .hasPrefix("unexpected argument more"))
    }

    @Test("store directory and mount point must be directories that exist")
    func directories() throws {
        func line(_ store: String, _ target: String) throws -> String {
            try message("--test", "--size=1m", store, target)
        }
        #expect(
            try line(place.path + "/none", place.target)
                == "store directory \(place.path)/none does not exist; "
                + "create it with mkdir \(place.path)/none")
        #expect(try line(place.file, place.target).contains("is not a directory"))
        #expect(
            try line(place.store, place.path + "/none")
                == "mount point \(place.path)/none does not exist; "
                + "create it with mkdir \(place.path)/none")
        #expect(try line(place.store, place.file).contains("is not a directory"))
        #expect(try line(place.store, "/proc").hasPrefix("mount point /proc is busy"))
        #expect(try line(place.store, "/").hasPrefix("mount point / is busy"))
    }

    @Test("the cache file may not lie inside the mount")
    func cacheInside() throws {
        let path = place.target + "/cache"
        #expect(try message(with: "--blockCacheFile=" + path).contains("inside the mount point"))
    }

    @Test("nothing is created by checking")
    func createsNothing() throws {
        let path = place.path + "/cache"
        #expect(try plan(with: "--blockCacheFile=" + path).cacheFile?.path == path)
        #expect(access(path, F_OK) != 0)
    }

    @Test("paths become absolute and lose symbolic links")
    func absolutePaths() throws {
        #expect(PathChecks.absolute("/a/b") == "/a/b")
        #expect(PathChecks.absolute("a").hasPrefix("/") && PathChecks.absolute("a").hasSuffix("/a"))
        let link = place.path + "/link"
        #expect(symlink(place.store, link) == 0)
        defer { unlink(link) }
        let plan = try plan(["--test", "--size=1m", link, place.target + "/../mnt"])
        #expect(plan.source == .directory(place.store))
        #expect(plan.mountPoint == place.target)
    }

    @Test("a prefix with a slash needs its directory only")
    func prefixDirectory() throws {
        #expect(mkdir(place.store + "/sub", 0o700) == 0)
        #expect(try plan(with: "--prefix=sub/x").prefix == "sub/x")
    }

    @Test("the binding text names the volume and its geometry")
    func binding() throws {
        let plan = try plan(with: "--prefix=pp", "--blockSize=64k")
        #expect(
            plan.address.name.text(blockSize: plan.blockSize) == """
                s3backer-binding-1
                bucket=file://\(place.store)
                prefix=pp
                blockSize=65536
                blockHashPrefix=0

                """)
        let uuid = [UInt8](1...16)
        let identity = CacheOpening.identity(plan, uuid: uuid)
        #expect(identity.binding.count == 32 && identity.volumeUUID == uuid)
        #expect(identity.volumeBlocks == 16)
    }
}
