import Foundation
import MountSupport
import TestSupport
import Testing

/// `--statsFileMirror`.
@Suite("StatsMirrorTests", .serialized, .enabled(if: canMount, mountReason))
struct StatsMirrorTests {
    private func value(_ path: String, _ name: String) -> Int? {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
        let line = text.split(separator: "\n").first { $0.hasPrefix(name + " ") }
        return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    }

    @Test("the copy follows; removing it sets the counters to zero; a failure is told once")
    func follows() throws {
        let daemon = try MountedDaemon("mirror")
        defer { daemon.remove() }
        let directory = daemon.root + "/stats"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        let mirror = directory + "/copy"
        let options = [
            "--size=1m", "--blockCacheWriteDelay=0", "--statsFileMirror=\(mirror)",
            "--statsFileMirrorInterval=20",
        ]
        try daemon.start(options)
        for block in 0..<5 {
            try daemon.write([UInt8](repeating: 1, count: 4096), at: block * 4096)
        }
        try waitFor("the copy") { value(mirror, "http_puts") == 5 }
        try FileManager.default.removeItem(atPath: mirror)
        try waitFor("the reset") { value(mirror, "http_puts") == 0 }
        #expect(daemon.statistic("http_puts") == 0)
        try daemon.write([UInt8](repeating: 2, count: 4096), at: 0)
        try waitFor("the next one") { value(mirror, "http_puts") == 1 }
        #expect(try daemon.unmount() == 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["copy"])

        try daemon.start(options)
        try FileManager.default.removeItem(atPath: directory)
        try waitFor("the log") { daemon.log.contains("it is not written any more") }
        #expect(daemon.log.components(separatedBy: "not written any more").count == 2)
        #expect(try daemon.unmount() == 0)
        let inside = try daemon.refused(["--size=1m", "--statsFileMirror=\(daemon.mountPoint)/s"])
        #expect(inside.contains("lies inside the mount point"), "\(inside)")
    }
}
