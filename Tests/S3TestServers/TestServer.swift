import Foundation

/// An S3 server of somebody else, on a port of 127.0.0.1 that the kernel chose.
public final class TestServer: @unchecked Sendable {
    /// `http://127.0.0.1:PORT/`, or the same with https
    public let url: String
    public let port: UInt16
    public let accessID: String
    public let accessKey: String
    /// Where rclone keeps the buckets; empty: in memory.
    public let directory: String

    private let process: ServerProcess

    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    private init(
        _ program: String, _ arguments: [String], environment: [String: String] = [:],
        accessID: String, accessKey: String, directory: String = "", scheme: String = "http"
    ) throws {
        self.accessID = accessID
        self.accessKey = accessKey
        self.directory = directory
        process = try ServerProcess(
            program, arguments, environment: environment,
            marks: ["Running on http://127.0.0.1:", "[\(scheme)://127.0.0.1:"])
        port = process.port
        url = "\(scheme)://127.0.0.1:\(port)/"
    }

    deinit { stop() }

    /// Ends the server. Only this process is meant.
    public func stop() {
        process.stop()
        if !directory.isEmpty { try? FileManager.default.removeItem(atPath: directory) }
    }

    /// The server hangs until `resume`: it takes connections and does not answer.
    public func pause() { process.send(signal: SIGSTOP) }

    public func resume() { process.send(signal: SIGCONT) }

    // MARK: Kinds

    /// moto takes any key.
    public static func moto(buckets: [String]) throws -> TestServer {
        let server = try TestServer(
            "moto_server", ["-H", "127.0.0.1", "-p", "0"], accessID: "AKIDEXAMPLE",
            accessKey: "SECRETEXAMPLE")
        for bucket in buckets { try server.makeBucket(bucket) }
        return server
    }

    /// moto with a user of its own, whose signatures and rights it checks.
    public static func strictMoto(bucket: String) throws -> TestServer {
        let port = try freePort()
        // Bucket, user, policy and key are made before it begins to check.
        let first = try TestServer(
            "moto_server", ["-H", "127.0.0.1", "-p", "\(port)"],
            environment: ["INITIAL_NO_AUTH_ACTION_COUNT": "4"], accessID: "", accessKey: "")
        try first.makeBucket(bucket)
        try first.iam("Action=CreateUser&UserName=tester")
        let policy = """
            {"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}
            """
        let escaped =
            policy.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        try first.iam(
            "Action=PutUserPolicy&UserName=tester&PolicyName=all&PolicyDocument=\(escaped)")
        let key = try first.iam("Action=CreateAccessKey&UserName=tester")
        func field(_ name: String) throws -> String {
            let parts = key.components(separatedBy: "<\(name)>")
            guard parts.count > 1 else { throw Failure(description: "no \(name) in \(key)") }
            return parts[1].components(separatedBy: "<")[0]
        }
        return TestServer(
            first, accessID: try field("AccessKeyId"), accessKey: try field("SecretAccessKey"))
    }

    /// rclone checks signatures, and keeps objects as files.
    ///
    /// - Parameter certificate: With TLS, and this certificate.
    public static func rclone(
        buckets: [String], certificate: TestAuthority.Certificate? = nil
    ) throws -> TestServer {
        let directory = NSTemporaryDirectory() + "s3rclone-\(UUID().uuidString)"
        for bucket in buckets {
            try FileManager.default.createDirectory(
                atPath: directory + "/" + bucket, withIntermediateDirectories: true)
        }
        let tls = certificate.map { ["--cert", $0.path, "--key", $0.keyPath] } ?? []
        return try TestServer(
            "rclone",
            [
                "serve", "s3", "--config", "/dev/null", "--addr", "127.0.0.1:0", "--auth-key",
                "AKIDEXAMPLE,SECRETEXAMPLE",
            ] + tls + [directory],
            accessID: "AKIDEXAMPLE", accessKey: "SECRETEXAMPLE", directory: directory,
            scheme: certificate == nil ? "http" : "https")
    }

    /// Takes over the process of `other`, with a key.
    private init(_ other: TestServer, accessID: String, accessKey: String) {
        url = other.url
        port = other.port
        process = other.process
        directory = other.directory
        self.accessID = accessID
        self.accessKey = accessKey
        kept = other
    }

    private var kept: TestServer?

    // MARK: Requests

    /// The options of s3backer that reach this server, maybe through a proxy.
    public var options: [String] { options(through: url) }

    public func options(through url: String) -> [String] {
        ["--baseURL=\(url)", "--accessId=\(accessID)", "--accessKey=\(accessKey)"]
    }

    /// A request without a valid signature.
    @discardableResult
    public func request(
        _ method: String, _ path: String, headers: [String] = [], body: [UInt8] = []
    ) throws -> HTTPReply {
        try HTTPReply.get(
            port: port, method, "/" + path, headers: ["Authorization: AWS x:y"] + headers,
            body: body)
    }

    public func makeBucket(_ name: String) throws {
        let reply = try request("PUT", name)
        guard reply.status == 200 else {
            throw Failure(description: "cannot make bucket \(name): \(reply.status)")
        }
    }

    @discardableResult
    private func iam(_ form: String) throws -> String {
        let scope = "Credential=x/20260101/us-east-1/iam/aws4_request"
        let reply = try HTTPReply.get(
            port: port, "POST", "/",
            headers: [
                "Authorization: AWS4-HMAC-SHA256 \(scope), SignedHeaders=host, Signature=0",
                "Content-Type: application/x-www-form-urlencoded",
            ], body: Array((form + "&Version=2010-05-08").utf8))
        guard reply.status == 200 else {
            throw Failure(description: "\(form): \(reply.status) \(reply.text)")
        }
        return reply.text
    }

    // MARK: Starting

    /// Programs of the Python environment of the tests, or of the PATH.
    public static func find(_ program: String) throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().path
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        for directory in [root + "/.build-venv/bin"] + path.components(separatedBy: ":") {
            let full = directory + "/" + program
            if FileManager.default.isExecutableFile(atPath: full) { return full }
        }
        throw Failure(description: "\(program) is not installed; run scripts/setup test")
    }

    private static func freePort() throws -> UInt16 {
        let socket = try ListeningSocket()
        defer { socket.close() }
        return socket.port
    }
}
