import Foundation
import Glibc
import MountSupport
import TestSupport
import Testing

/// One wrong way to call the program.
struct BadInputCase: CustomTestStringConvertible, Sendable {
    /// Makes what is wrong; returns what undoes it, beyond removing the directory.
    typealias Preparation = @Sendable (BadInputWorld) throws -> (() -> Void)?

    var testDescription: String
    /// Arguments after `-f`; `@` stands for the directory of the test.
    var arguments: String
    /// What the one line must contain: the option or path, and the remedy.
    var expected: [String]
    var prepare: Preparation = { _ in nil }

    init(
        _ description: String, _ arguments: String, _ expected: [String],
        _ prepare: @escaping Preparation = { _ in nil }
    ) {
        testDescription = description
        self.arguments = arguments
        self.expected = expected
        self.prepare = prepare
    }
}

/// A directory with a store, another store, a mount point and a good cache file.
final class BadInputWorld {
    let daemon: MountedDaemon
    var root: String { daemon.root }

    static let size = ["--size=4m", "--blockSize=64k", "--blockCacheSize=16"]
    static let small = size + ["--blockCacheRingSize=512k"]

    init() throws {
        daemon = try MountedDaemon("bad")
        try FileManager.default.createDirectory(
            atPath: root + "/other", withIntermediateDirectories: true)
    }

    /// A cache file that was used and unmounted.
    func makeCache() throws {
        try daemon.start(Self.small + ["--blockCacheFile=\(daemon.cache)"])
        try Data(repeating: 0x61, count: 200_000).write(to: URL(fileURLWithPath: daemon.file))
        try #require(daemon.unmount() == 0)
    }

    /// The store no longer says what volume it holds.
    func forgetVolume() throws {
        try FileManager.default.removeItem(atPath: daemon.store + "/s3backer-volume")
    }

    /// A program of the system, which must succeed.
    func command(_ program: String, _ arguments: String...) throws {
        let found = try run(program, arguments)
        try #require(found.status == 0, "\(program) \(arguments): \(found.output)")
    }

    /// A file system of its own, so full that nothing large fits.
    func mountSmall(_ type: String) throws -> () -> Void {
        let path = root + "/small"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        if type == "tmpfs" {
            try command("/usr/bin/mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path)
        } else {
            // Beside the directory: the mounted file system writes to it whenever it likes.
            let image = root + "-image"
            try command("/usr/bin/truncate", "-s", "16m", image)
            try command("/usr/sbin/mkfs.ext4", "-q", image)
            try command("/usr/bin/mount", "-o", "loop", image, path)
        }
        return { [root] in
            umount2(path, Int32(MNT_DETACH))
            unlink(root + "-image")
        }
    }
}
