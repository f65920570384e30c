import Foundation
import Glibc
import TestSupport
import Testing

/// One s3backer, ours or the real one, serving a directory store or a bucket on a mount of its own.
/// Everything lives in one temporary directory, which `remove()` takes away again.
package final class MountedDaemon {
    package enum Program: Sendable { case ours, real }

    package let root: String
    /// The directory store, for starts that name no bucket.
    package var store: String { root + "/store" }
    package var mountPoint: String { root + "/mnt" }
    package var file: String { mountPoint + "/" + filename }
    /// Name of the disk in the mount point.
    package var filename = "file"
    package var cache: String { root + "/cache" }
    package var phaseFile: String { root + "/phases" }
    package private(set) var process: Process?
    private let program: Program
    private var logs = 0

    package static let s3backer = BuiltProgram("s3backer")?.path ?? "/s3backer/is/not/built"
    package static let cachecheck = BuiltProgram("cachecheck")?.path ?? "/cachecheck/is/not/built"
    /// s3backer 1.5.4 of Debian.
    package static let real = "/usr/bin/s3backer"

    package init(_ name: String = "mount", program: Program = .ours) throws {
        self.program = program
        root =
            NSTemporaryDirectory() + "s3backer-\(name)-\(getpid())-\(UUID().uuidString.prefix(8))"
        for path in [root, store, mountPoint] {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true)
        }
    }

    deinit { remove() }

    /// Ends and removes everything, also what a failed test left.
    package func remove() {
        killNow()
        detach()
        try? FileManager.default.removeItem(atPath: root)
    }

    // MARK: Starting

    /// The command line of a start, without the program.
    /// - Parameter bucket: `BUCKET/PREFIX`; nil: the directory store.
    package func arguments(_ options: [String], _ bucket: String? = nil) -> [String] {
        (bucket == nil ? ["--test", store, mountPoint] : []) + options
            + (bucket.map { [$0, mountPoint] } ?? [])
    }

    /// Starts in the foreground and waits until the mount answers.
    /// - Parameter program: Another one than that of the daemon.
    package func start(
        _ options: [String], _ bucket: String? = nil, program: Program? = nil
    ) throws {
        let process = try launch(options, bucket, program ?? self.program)
        try #require(process.isRunning, "s3backer did not start: \(log)")
    }

    /// Expects a start to fail with status 1; returns what it said.
    package func refused(_ options: [String], _ bucket: String? = nil) throws -> String {
        let process = try launch(options, bucket, program)
        try #require(!process.isRunning, "s3backer did start: \(log)")
        #expect(process.terminationStatus == 1)
        return log
    }

    /// - Returns: The process, which serves or has ended.
    private func launch(
        _ options: [String], _ bucket: String?, _ program: Program
    ) throws -> Process {
        let process = Process()
        process.executableURL = URL(
            fileURLWithPath: program == .ours ? Self.s3backer : Self.real)
        process.arguments = ["-f"] + arguments(options, bucket)
        logs += 1
        let log = root + "/log.\(logs)"
        try Data().write(to: URL(fileURLWithPath: log))
        process.standardError = FileHandle(forWritingAtPath: log)
        process.standardOutput = FileHandle.nullDevice
        process.environment = Self.environment(home: root)
        try process.run()
        self.process = process
        try waitFor("the mount", seconds: 60) {
            FileManager.default.fileExists(atPath: self.file) || !process.isRunning
        }
        return process
    }

    /// What a program of a test knows of the world.
    package static func environment(home: String) -> [String: String] {
        ["SWIFT_BACKTRACE": "enable=no", "PATH": "/usr/bin:/bin", "HOME": home]
    }

    /// What the last start said on standard error.
    package var log: String {
        (try? String(contentsOfFile: root + "/log.\(logs)", encoding: .utf8)) ?? ""
    }

    // MARK: Ending

    /// `kill -9`; the dead mount stays.
    package func killNow() {
        guard let process, process.isRunning else { return }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    /// Takes a mount away, dead or alive.
    package func detach() { umount2(mountPoint, Int32(MNT_DETACH)) }

    /// A clean unmount; returns the exit status.
    @discardableResult
    package func unmount() throws -> Int32 {
        try unmountOnly()
        let status = try exitStatus()
        if status != 0 { print("s3backer ended with status \(status):\n\(log)") }
        return status
    }

    /// A process that another test is just starting holds copies of our descriptors until it runs
    /// its program; so long the mount is busy.
    package func unmountOnly() throws {
        try waitFor("umount", seconds: 20) { umount2(mountPoint, 0) == 0 }
    }

    /// Waits for the end, however it came about.
    package func exitStatus(seconds: Double = 90) throws -> Int32 {
        guard let process else { return -1 }
        try waitFor("the end of s3backer", seconds: seconds) { !process.isRunning }
        return process.terminationStatus
    }

    /// A descriptor on the file keeps the mount busy.
    package func unmountAfterClosing(_ fd: Int32) throws -> Int32 {
        // Closed twice in the end; the second time finds nothing.
        dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), fd)
        return try unmount()
    }

    // MARK: What is there

    /// Names of the objects that hold blocks; the store has one more, which says what volume it is.
    package func blockNames() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: store)
            .filter { !$0.hasSuffix("s3backer-volume") }
    }

    /// The value of a line of the stats file.
    package func statistic(_ name: String) -> Int? {
        guard let text = try? String(contentsOfFile: mountPoint + "/stats", encoding: .utf8) else {
            return nil
        }
        for line in text.split(separator: "\n") where line.hasPrefix(name + " ") {
            return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        }
        return nil
    }

    /// Writes to the disk and waits until that is durable.
    package func write(_ bytes: [UInt8], at offset: Int) throws {
        let fd = open(file, O_WRONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        let done = bytes.withUnsafeBytes { pwrite(fd, $0.baseAddress, $0.count, offset) }
        try #require(done == bytes.count)
        try #require(fsync(fd) == 0)
    }

    /// The whole disk.
    package func read() throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: file)))
    }
}
