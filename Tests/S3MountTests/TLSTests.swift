import Foundation
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// Servers that prove who they are, to those who trust the authority that says so.
@Suite("S3TLSTests", .serialized, .enabled(if: canMount, mountReason))
struct TLSTests {
    static let sizes = ["--blockSize=4k", "--size=256k"]

    private let authority: TestAuthority

    init() throws { authority = try TestAuthority() }

    private func server(for host: String) throws -> TestServer {
        try TestServer.rclone(buckets: ["bkt"], certificate: authority.issue(for: host))
    }

    /// A mount that stores a block, and a second one that reads it.
    private func works(_ server: TestServer, _ options: [String]) throws {
        let daemon = try MountedDaemon()
        let block = [UInt8](repeating: 7, count: 4096)
        try daemon.start(server.options + options + Self.sizes, "bkt")
        try daemon.write(block, at: 8192)
        #expect(try daemon.unmount() == 0)
        #expect(readFile(server.directory + "/bkt/00000002") == block)
        try daemon.start(server.options + options, "bkt")
        #expect(Array(try daemon.read()[8192..<12288]) == block)
        #expect(try daemon.unmount() == 0)
    }

    /// One line says what is wrong and what to do, and nothing was stored.
    private func refused(_ server: TestServer, _ options: [String]) throws {
        let said = try MountedDaemon().refused(server.options + options + Self.sizes, "bkt")
        let lines = said.split(separator: "\n").filter { $0.hasPrefix("s3backer: ") }
        #expect(lines.count == 1, "\(said)")
        for words in ["127.0.0.1:\(server.port) cannot prove who it is", "--baseURL", "--cacert"] {
            #expect(lines.first?.contains(words) == true, "\(said)")
        }
        #expect(try FileManager.default.subpathsOfDirectory(atPath: server.directory) == ["bkt"])
    }

    @Test("a server of an authority that nobody knows needs --cacert or --insecure")
    func unknownAuthority() throws {
        let server = try server(for: "IP:127.0.0.1")
        defer { server.stop() }
        try refused(server, [])
        let other = try TestAuthority()
        try refused(server, ["--cacert=\(other.certificate.path)"])
        try works(server, ["--cacert=\(authority.certificate.path)"])
        try works(server, ["--insecure"])
    }

    @Test("with --cacert the authorities of the system are trusted no longer")
    func systemAuthorities() throws {
        let server = try server(for: "IP:127.0.0.1")
        defer { server.stop() }
        // A system that knows one authority, as file and as directory, for one process.
        let system = TemporaryDirectory()
        try writeFile(system.file("ca-certificates.crt"), readFile(authority.certificate.path))
        try #require(run("/usr/bin/openssl", ["rehash", system.path]).status == 0)
        func ask(_ options: [String]) throws -> CommandOutcome {
            let script = "mount --bind '\(system.path)' /etc/ssl/certs && exec \"$0\" \"$@\""
            return try runSplit(
                "/usr/bin/unshare",
                [
                    "--mount", "--propagation", "private", "/bin/sh", "-c", script,
                    MountedDaemon.s3backer, "--reset-mounted-flag",
                ] + server.options + options + ["bkt"])
        }
        let trusting = try ask([])
        #expect(trusting.status == 0, "\(trusting)")
        let other = try TestAuthority()
        let wary = try ask(["--cacert=\(other.certificate.path)"])
        #expect(wary.status == 1 && wary.errors.contains("cannot prove who it is"), "\(wary)")
    }

    @Test("a certificate for another host is refused, unless any will do")
    func otherHost() throws {
        let server = try server(for: "DNS:other.test")
        defer { server.stop() }
        try refused(server, ["--cacert=\(authority.certificate.path)"])
        try works(server, ["--insecure"])
    }
}
