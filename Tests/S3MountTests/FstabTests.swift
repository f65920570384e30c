import Foundation
import Glibc
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// The system's mount and umount, as fstab and systemd use them.
@Suite("S3FstabTests", .serialized, .enabled(if: canMount, mountReason))
struct FstabTests {
    static let words =
        "_netdev,noatime,nofail,noauto,x-systemd.automount,x-systemd.requires=network-online.target"

    /// The options of a line. mount(8) clears the environment: without `accessFile` the key would be
    /// looked for in root's home.
    private func options(_ server: TestServer, _ daemon: MountedDaemon) throws -> String {
        let access = daemon.root + "/passwd"
        try writeFile(access, Array("\(server.accessID):\(server.accessKey)\n".utf8))
        chmod(access, 0o600)
        return "baseURL=\(server.url),accessFile=\(access),blockSize=4k,size=256k,quiet,"
            + "blockCacheFile=\(daemon.cache),blockCacheSize=20,\(Self.words)"
    }

    /// Uses the mount, takes it away again, and waits for the end of its process.
    private func use(
        _ system: SystemMount, _ daemon: MountedDaemon, _ server: TestServer, value: UInt8
    ) throws {
        // The process is nobody's child any more; the token says which one it is.
        let token = try server.request("GET", "bkt/vol/s3backer-mounted").text
        let line = token.components(separatedBy: "\n").first { $0.hasPrefix("pid: ") }
        let pid = try #require(line.flatMap { Int32($0.dropFirst(5)) }, "\(token)")
        var hasEnded = false
        defer { if !hasEnded { kill(pid, SIGKILL) } }
        let mount = try system.line()
        #expect(mount.hasPrefix("\(server.url)bkt/vol/ \(daemon.mountPoint) fuse.s3backer "))
        #expect(mount.contains("noatime"), "\(mount)")

        let fd = open(system.path(daemon.file), O_RDWR)
        try #require(fd >= 0)
        let bytes = [UInt8](repeating: value, count: 5000)
        let written = pwrite(fd, bytes, bytes.count, 4096)
        let isDurable = fsync(fd) == 0
        var back = [UInt8](repeating: 0, count: bytes.count)
        let read = pread(fd, &back, back.count, 4096)
        close(fd)
        #expect(written == bytes.count && isDurable && read == back.count && back == bytes)

        try system.unmount(daemon.mountPoint)
        try waitFor("the end of s3backer", seconds: 90) { kill(pid, 0) != 0 && errno == ESRCH }
        hasEnded = true
        #expect(try server.request("HEAD", "bkt/vol/s3backer-mounted").status == 404)
        let block = try server.request("GET", "bkt/vol/00000001")
        #expect(block.body == [UInt8](repeating: value, count: 4096))
    }

    @Test("mount -t fuse.s3backer -o ... and umount")
    func mount() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon("fstab")
        defer { daemon.remove() }
        let system = try SystemMount(daemon)
        defer { system.end() }
        let options = try options(server, daemon)
        for round in 1...2 {
            try system.run(
                "/usr/bin/mount",
                ["-t", "fuse.s3backer", "-o", options, "bkt/vol", daemon.mountPoint])
            try use(system, daemon, server, value: UInt8(round))
        }
    }

    @Test("mount MOUNTPOINT with a line of fstab, in the new form and the old one")
    func line() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let daemon = try MountedDaemon("fstab")
        defer { daemon.remove() }
        let system = try SystemMount(daemon)
        defer { system.end() }
        let options = try options(server, daemon)
        let lines = [
            "bkt/vol \(daemon.mountPoint) fuse.s3backer \(options) 0 0\n",
            "s3backer#bkt/vol \(daemon.mountPoint) fuse \(options) 0 0\n",
        ]
        for (number, line) in lines.enumerated() {
            let fstab = daemon.root + "/fstab"
            try writeFile(fstab, Array(line.utf8))
            try system.run("/usr/bin/mount", ["-T", fstab, daemon.mountPoint])
            try use(system, daemon, server, value: UInt8(number + 1))
        }
    }
}
