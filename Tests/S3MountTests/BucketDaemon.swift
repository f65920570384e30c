import Foundation
import Glibc
import S3TestServers
import Testing

/// One s3backer, ours or the real one, on a mount of its own. Everything lives in one temporary
/// directory, which `remove()` takes away again.
final class BucketDaemon {
    enum Program: Sendable { case ours, real }

    let root: String
    var mountPoint: String { root + "/mnt" }
    var file: String { mountPoint + "/file" }
    var cache: String { root + "/cache" }
    private let program: Program
    private(set) var process: Process?
    private var logs = 0

    static let products = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().path
    static let real = "/usr/bin/s3backer"

    init(_ program: Program = .ours) throws {
        self.program = program
        root = NSTemporaryDirectory() + "s3mount-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: root + "/mnt", withIntermediateDirectories: true)
    }

    deinit { remove() }

    func remove() {
        killNow()
        umount2(mountPoint, Int32(MNT_DETACH))
        try? FileManager.default.removeItem(atPath: root)
    }

    private func launch(_ arguments: [String]) throws -> Process {
        let process = Process()
        process.executableURL = URL(
            fileURLWithPath: program == .ours ? Self.products + "/s3backer" : Self.real)
        process.arguments = ["-f"] + arguments
        logs += 1
        try Data().write(to: URL(fileURLWithPath: root + "/log.\(logs)"))
        process.standardError = FileHandle(forWritingAtPath: root + "/log.\(logs)")
        process.standardOutput = FileHandle.nullDevice
        process.environment = [
            "SWIFT_BACKTRACE": "enable=no", "PATH": "/usr/bin:/bin", "HOME": root,
        ]
        try process.run()
        return process
    }

    /// Mounts in the foreground and waits until the mount answers.
    func start(_ options: [String], _ bucket: String) throws {
        let process = try launch(options + [bucket, mountPoint])
        self.process = process
        try waitFor("the mount", seconds: 60) {
            FileManager.default.fileExists(atPath: self.file) || !process.isRunning
        }
        try #require(process.isRunning, "s3backer did not start: \(log)")
    }

    /// Expects a start to fail; returns what it said.
    func refused(_ options: [String], _ bucket: String) throws -> String {
        let process = try launch(options + [bucket, mountPoint])
        self.process = process
        try waitFor("the refusal", seconds: 60) {
            FileManager.default.fileExists(atPath: self.file) || !process.isRunning
        }
        try #require(!process.isRunning, "s3backer did start: \(log)")
        #expect(process.terminationStatus == 1)
        return log
    }

    /// What the last start said on standard error.
    var log: String {
        (try? String(contentsOfFile: root + "/log.\(logs)", encoding: .utf8)) ?? ""
    }

    func killNow() {
        guard let process, process.isRunning else { return }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        umount2(mountPoint, Int32(MNT_DETACH))
    }

    /// A clean unmount; returns the exit status.
    @discardableResult
    func unmount() throws -> Int32 {
        guard let process else { return -1 }
        try #require(umount2(mountPoint, 0) == 0, "umount: \(String(cString: strerror(errno)))")
        try waitFor("the end of s3backer", seconds: 90) { !process.isRunning }
        return process.terminationStatus
    }

    // MARK: The disk

    func write(_ bytes: [UInt8], at offset: Int) throws {
        let fd = open(file, O_WRONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        let done = bytes.withUnsafeBytes { pwrite(fd, $0.baseAddress, $0.count, offset) }
        try #require(done == bytes.count)
        try #require(fsync(fd) == 0)
    }

    func read() throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: file)))
    }

    func statistic(_ name: String) -> Int? {
        guard let text = try? String(contentsOfFile: mountPoint + "/stats", encoding: .utf8) else {
            return nil
        }
        for line in text.split(separator: "\n") where line.hasPrefix(name + " ") {
            return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        }
        return nil
    }
}

/// Waits for a condition with a deadline, without a fixed delay.
func waitFor(_ what: String, seconds: Double, _ condition: () -> Bool) throws {
    let deadline = Date(timeIntervalSinceNow: seconds)
    while !condition() {
        try #require(Date() < deadline, "waited \(seconds) s for \(what)")
        usleep(2000)
    }
}

/// Bytes that depend on a seed, with stretches of zeros of whole blocks.
func pattern(_ count: Int, blockSize: Int, seed: UInt64) -> [UInt8] {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    var bytes = [UInt8](repeating: 0, count: count)
    for block in 0..<count / blockSize {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        if state >> 62 == 0 { continue }
        for index in block * blockSize..<(block + 1) * blockSize {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            bytes[index] = UInt8(truncatingIfNeeded: state)
        }
    }
    return bytes
}

enum MountSwitch {
    static let isOn =
        ProcessInfo.processInfo.environment["S3BACKER_TEST_ALL"] == "1"
        && access("/dev/fuse", R_OK | W_OK) == 0
    static let hasReal = isOn && access(BucketDaemon.real, X_OK) == 0
}
