import Foundation
import Glibc
import MountSupport
import TestSupport
import Testing

/// `nullmount` is the upper bound of the bench only while it asks the kernel for the same as
/// s3backer does.
@Suite(.serialized, .enabled(if: canMount, mountReason))
struct NullMountTests {
    /// What the kernel has of a FUSE mount.
    struct Terms: Equatable {
        var options: String
        var backgroundMax: String
        var congestionThreshold: String
        var readAheadKB: String

        /// - Parameter control: Where fusectl is mounted.
        init(_ mountPoint: String, control: String) throws {
            let table = try String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)
            let line = try #require(
                table.split(separator: "\n").first { $0.contains(" \(mountPoint) ") })
            let words = line.split(separator: " ").map(String.init)
            options = words[5] + " " + (words.last ?? "")
            let device = words[2]
            let minor = device.split(separator: ":").last.map(String.init) ?? ""
            func text(_ path: String) throws -> String {
                try String(contentsOfFile: path, encoding: .utf8)
            }
            let connection = "\(control)/\(minor)/"
            backgroundMax = try text(connection + "max_background")
            congestionThreshold = try text(connection + "congestion_threshold")
            readAheadKB = try text("/sys/class/bdi/\(device)/read_ahead_kb")
        }
    }

    @Test("it serves zeros, takes writes, and has the same terms as s3backer")
    func sameTerms() throws {
        let daemon = try MountedDaemon("null-terms")
        defer { daemon.remove() }
        try daemon.start(["--size=64m"])
        let control = daemon.root + "/control"
        try FileManager.default.createDirectory(
            atPath: control, withIntermediateDirectories: true)
        try #require(mount("fusectl", control, "fusectl", 0, nil) == 0)
        defer { umount2(control, Int32(MNT_DETACH)) }
        let terms = try Terms(daemon.mountPoint, control: control)
        #expect(try daemon.unmount() == 0)

        let process = Process()
        let program = try #require(BuiltProgram("nullmount"), "nullmount is not built")
        process.executableURL = URL(fileURLWithPath: program.path)
        process.arguments = ["\(64 << 20)", daemon.mountPoint]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        defer {
            daemon.detach()
            if process.isRunning { kill(process.processIdentifier, SIGKILL) }
            process.waitUntilExit()
        }
        try waitFor("the mount", seconds: 30) {
            FileManager.default.fileExists(atPath: daemon.file) || !process.isRunning
        }
        #expect(try Terms(daemon.mountPoint, control: control) == terms)

        // Past the page cache one request comes as it was made.
        let direct: Int32 = 0o40000
        let fd = open(daemon.file, O_RDWR | direct)
        try #require(fd >= 0)
        let count = 1 << 20
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 4096)
        defer { bytes.deallocate() }
        bytes.initializeMemory(as: UInt8.self, repeating: 1)
        #expect(pwrite(fd, bytes.baseAddress, count, 3 << 20) == count)
        #expect(fsync(fd) == 0)
        #expect(pread(fd, bytes.baseAddress, count, 3 << 20) == count)
        #expect(bytes.allSatisfy { $0 == 0 })
        #expect(lseek(fd, 0, SEEK_END) == 64 << 20)
        close(fd)
        try daemon.unmountOnly()
        process.waitUntilExit()
        let said = String(
            decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(process.terminationStatus == 0)
        #expect(said == "largest read 1048576, largest write 1048576\n")
    }
}
