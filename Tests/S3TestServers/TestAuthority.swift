import Foundation

/// An authority of certificates that nobody trusts yet. Its files go away with it.
public final class TestAuthority: Sendable {
    public struct Certificate: Sendable {
        public let path: String
        public let keyPath: String
    }

    /// Its own; whoever trusts this one trusts all that it issues.
    public let certificate: Certificate

    private let directory: String

    public init() throws {
        let name = "authority-\(UUID().uuidString)"
        directory = NSTemporaryDirectory() + name
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        certificate = Certificate(
            path: directory + "/authority.pem", keyPath: directory + "/authority.key")
        try make(certificate, ["-subj", "/CN=\(name)"])
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// - Parameter host: `IP:ADDRESS` or `DNS:NAME`.
    public func issue(for host: String) throws -> Certificate {
        let name = directory + "/" + host
        let issued = Certificate(path: name + ".pem", keyPath: name + ".key")
        try make(
            issued,
            [
                "-CA", certificate.path, "-CAkey", certificate.keyPath, "-subj", "/CN=server",
                "-addext", "subjectAltName=\(host)", "-addext", "basicConstraints=CA:FALSE",
            ])
        return issued
    }

    private func make(_ certificate: Certificate, _ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try TestServer.find("openssl"))
        process.arguments =
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-noenc", "-out", certificate.path, "-keyout", certificate.keyPath,
            ] + arguments
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw TestServer.Failure(description: "openssl makes no certificate")
        }
    }
}
