import Foundation
import Glibc
import MountSupport
import TestSupport
import Testing

/// A name space in which our s3backer is the one that mount(8) finds.
///
/// mount(8) hands no environment to its helpers; the shell of mount.fuse3 then looks in /usr/local/sbin
/// first. That directory is replaced, for the processes of this name space only.
final class SystemMount {
    private let daemon: MountedDaemon
    /// Holds the name space, until it is told the end of its input.
    private let holder = Process()
    private let input = Pipe()

    init(_ daemon: MountedDaemon) throws {
        self.daemon = daemon
        let directory = daemon.root + "/sbin"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            atPath: directory + "/s3backer", withDestinationPath: MountedDaemon.s3backer)
        holder.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
        holder.arguments = [
            "--mount", "--propagation", "private", "/bin/sh", "-c",
            "mount --bind '\(directory)' /usr/local/sbin && touch '\(directory)/ready' && exec cat",
        ]
        holder.standardInput = input
        holder.standardOutput = FileHandle.nullDevice
        try holder.run()
        try waitFor("the name space") {
            FileManager.default.fileExists(atPath: directory + "/ready") || !holder.isRunning
        }
        try #require(holder.isRunning)
    }

    /// Ends the name space, with every mount in it.
    func end() {
        try? input.fileHandleForWriting.close()
        holder.waitUntilExit()
    }

    /// Runs a program there, which must succeed and say nothing.
    func run(_ program: String, _ arguments: [String]) throws {
        let found = try output(program, arguments)
        try #require(found.status == 0, "\(program) \(arguments): \(found.errors)\(found.output)")
        #expect(found.errors == "" && found.output == "")
    }

    private func output(_ program: String, _ arguments: [String]) throws -> CommandOutcome {
        try runSplit(
            "/usr/bin/nsenter",
            ["--mount", "--target", "\(holder.processIdentifier)", program] + arguments,
            environment: [
                "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": daemon.root,
                "SWIFT_BACKTRACE": "enable=no",
            ], deadlineSeconds: 60)
    }

    /// Unmounts there. While a process that another test is just starting holds copies of our
    /// descriptors the mount is busy.
    func unmount(_ path: String) throws {
        try waitFor("umount", seconds: 20) {
            let found = try output("/usr/bin/umount", [path])
            if found.errors.contains("target is busy") { return false }
            try #require(found.status == 0, "umount: \(found.errors)\(found.output)")
            return true
        }
    }

    /// A path as seen there.
    func path(_ path: String) -> String { "/proc/\(holder.processIdentifier)/root" + path }

    /// The mount as the kernel lists it there.
    func line() throws -> String {
        let all = try String(
            contentsOfFile: "/proc/\(holder.processIdentifier)/mounts", encoding: .utf8)
        let mark = " \(daemon.mountPoint) "
        return all.components(separatedBy: "\n").first { $0.contains(mark) } ?? "not mounted"
    }
}
