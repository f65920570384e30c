import Foundation
import Glibc
import Testing

/// The s3backer that was built with these tests, serving a directory store on a mount of its own.
/// Everything lives in one temporary directory, which `remove()` takes away again.
final class MountedDaemon {
    let root: String
    var store: String { root + "/store" }
    var mountPoint: String { root + "/mnt" }
    var file: String { mountPoint + "/" + filename }
    /// Name of the disk in the mount point.
    var filename = "file"
    var cache: String { root + "/cache" }
    var phaseFile: String { root + "/phases" }
    private(set) var process: Process?
    private var logs = 0

    static let products = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().path
    static let s3backer = products + "/s3backer"
    static let cachecheck = products + "/cachecheck"

    init(_ name: String) throws {
        root = NSTemporaryDirectory() + "s3backer-\(name)-\(getpid())"
        let files = FileManager.default
        try files.createDirectory(atPath: root, withIntermediateDirectories: true)
        try files.createDirectory(atPath: root + "/store", withIntermediateDirectories: true)
        try files.createDirectory(atPath: root + "/mnt", withIntermediateDirectories: true)
    }

    /// Ends and removes everything, also what a failed test left.
    func remove() {
        if let process, process.isRunning {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        detach()
        try? FileManager.default.removeItem(atPath: root)
    }

    /// Takes a mount away, dead or alive.
    func detach() { umount2(mountPoint, Int32(MNT_DETACH)) }

    /// Starts in the foreground and waits until the mount answers.
    func start(_ options: [String], program: String = s3backer) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = ["-f", "--test", store, mountPoint] + options
        logs += 1
        let log = root + "/log.\(logs)"
        try Data().write(to: URL(fileURLWithPath: log))
        process.standardError = FileHandle(forWritingAtPath: log)
        process.standardOutput = FileHandle.nullDevice
        process.environment = ["SWIFT_BACKTRACE": "enable=no", "PATH": "/usr/bin:/bin"]
        try process.run()
        self.process = process
        try waitFor("the mount", seconds: 30) {
            FileManager.default.fileExists(atPath: self.file) || !process.isRunning
        }
        try #require(process.isRunning, "s3backer did not start: \(self.log())")
    }

    func log(_ number: Int? = nil) -> String {
        (try? String(contentsOfFile: root + "/log.\(number ?? logs)", encoding: .utf8)) ?? ""
    }

    /// `kill -9`, and away with the dead mount.
    func killNow() {
        guard let process else { return }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    /// A clean unmount; returns the exit status.
    func unmount() throws -> Int32 {
        try unmountOnly()
        return try exitStatus()
    }

    /// A process that another test is just starting holds copies of our descriptors until it runs
    /// its program; so long the mount is busy.
    func unmountOnly() throws {
        try waitFor("umount", seconds: 20) { umount2(mountPoint, 0) == 0 }
    }

    /// Waits for the end, however it came about.
    func exitStatus() throws -> Int32 {
        guard let process else { return -1 }
        try waitFor("the end of s3backer", seconds: 60) { !process.isRunning }
        return process.terminationStatus
    }

    /// A descriptor on the file keeps the mount busy.
    func unmountAfterClosing(_ fd: Int32) throws -> Int32 {
        // Closed twice in the end; the second time finds nothing.
        dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), fd)
        return try unmount()
    }

    /// Names of the objects that hold blocks; the store has one more, which says what volume it is.
    func blockNames() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: store)
            .filter { !$0.hasSuffix("s3backer-volume") }
    }

    /// The value of a line of the stats file.
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

/// Whether tests that mount may run here.
let canMount =
    ProcessInfo.processInfo.environment["S3BACKER_TEST_ALL"] == "1" && geteuid() == 0
    && access("/dev/fuse", R_OK | W_OK) == 0
let mountReason: Comment = "needs S3BACKER_TEST_ALL=1, root and /dev/fuse"

/// Waits for a condition with a deadline, without a fixed delay.
func waitFor(_ what: String, seconds: Double, _ condition: () -> Bool) throws {
    let deadline = Date(timeIntervalSinceNow: seconds)
    while !condition() {
        try #require(Date() < deadline, "waited \(seconds) s for \(what)")
        usleepBriefly()
    }
}

/// Lets others run; a poll interval, never something to rely on.
func usleepBriefly() {
    var pause = timespec(tv_sec: 0, tv_nsec: 2_000_000)
    _ = clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nil)
}

/// Runs a program to its end and returns status and everything it printed.
func run(_ program: String, _ arguments: [String]) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
}

/// Runs a program to its end with nothing to read; its output and its errors apart.
func runSplit(
    _ program: String, _ arguments: [String]
) throws -> (status: Int32, output: String, errors: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    let (output, errors) = (Pipe(), Pipe())
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    // One that should have failed and serves instead would never end.
    let watch = DispatchWorkItem { kill(process.processIdentifier, SIGTERM) }
    DispatchQueue.global().asyncAfter(deadline: .now() + 30, execute: watch)
    defer { watch.cancel() }
    // Both are short, so reading one after the other blocks nobody.
    let complaint = errors.fileHandleForReading.readDataToEndOfFile()
    let said = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (
        process.terminationStatus, String(decoding: said, as: UTF8.self),
        String(decoding: complaint, as: UTF8.self)
    )
}
