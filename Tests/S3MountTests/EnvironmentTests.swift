import Foundation
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// What the program takes from its environment: proxies, and the service of a container.
@Suite("S3EnvironmentTests") struct EnvironmentTests {
    /// A server of a bucket with nothing in it, or a proxy to one.
    private static func bucket(_ request: StubServer.Request) -> StubServer.Answer {
        if request.method == "CONNECT" { return .status(403) }
        return request.path.contains("max-keys")
            ? .status(200, "<x/>") : .status(404, "<Error><Code>NoSuchKey</Code></Error>")
    }

    private let server: StubServer
    private let proxy: StubServer

    init() throws {
        server = try StubServer { _, request in Self.bucket(request) }
        proxy = try StubServer { _, request in Self.bucket(request) }
    }

    /// Asks for the mark of the bucket and, as there is none, for the bucket.
    ///
    /// - Parameter environment: `PROXY` in a value is the proxy.
    private func ask(
        _ url: String, _ environment: [String: String],
        options: [String] = ["--accessId=a", "--accessKey=b"]
    ) throws -> CommandOutcome {
        let home = TemporaryDirectory()
        defer {
            server.stop()
            proxy.stop()
        }
        // Whatever the environment of the tests says: empty is as good as not set.
        var variables = MountedDaemon.environment(home: home.path)
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            variables[name] = ""
            variables[name.uppercased()] = ""
        }
        for (name, value) in environment {
            variables[name] = value.replacingOccurrences(of: "PROXY", with: proxy.url)
        }
        let patience = ["--initialRetryPause=1", "--maxRetryPause=2"]
        return try runSplit(
            MountedDaemon.s3backer,
            ["--reset-mounted-flag", "--baseURL=\(url)"] + patience + options + ["bkt"],
            environment: variables)
    }

    // MARK: Proxies

    @Test("a proxy is asked for the server by name, with what is signed for the server")
    func absolute() throws {
        let outcome = try ask("http://s3.test/", ["http_proxy": "PROXY"])
        #expect(outcome.status == 0, "\(outcome)")
        #expect(!proxy.requests.isEmpty)
        for request in proxy.requests {
            #expect(request.path.hasPrefix("http://s3.test/bkt"))
            #expect(request.headers["host"] == "s3.test")
            #expect(request.headers["authorization"]?.contains("Credential=a/") == true)
        }
    }

    @Test(
        "http goes through a proxy, or not, by the rules of libcurl",
        arguments: [
            (["http_proxy": "PROXY"], true), (["all_proxy": "PROXY"], true),
            (["ALL_PROXY": "PROXY"], true), (["https_proxy": "PROXY"], false), ([:], false),
            // A program of a web server has this one from whoever asks.
            (["HTTP_PROXY": "PROXY"], false),
            (["http_proxy": "PROXY", "no_proxy": "127.0.0.1"], false),
            (["http_proxy": "PROXY", "NO_PROXY": "s3.test,127.0.0.1"], false),
            (["http_proxy": "PROXY", "no_proxy": "*"], false),
            (["http_proxy": "PROXY", "no_proxy": "s3.test"], true),
        ])
    func http(environment: [String: String], isProxied: Bool) throws {
        let outcome = try ask(server.url, environment)
        #expect(outcome.status == 0, "\(outcome)")
        #expect(proxy.requests.isEmpty != isProxied)
        #expect(server.requests.isEmpty == isProxied)
    }

    @Test(
        "https goes through a tunnel, or not",
        arguments: [
            (["https_proxy": "PROXY"], true), (["HTTPS_PROXY": "PROXY"], true),
            (["all_proxy": "PROXY"], true), (["http_proxy": "PROXY"], false),
            (["https_proxy": "PROXY", "no_proxy": "127.0.0.1"], false),
        ])
    func https(environment: [String: String], isProxied: Bool) throws {
        let nobody = try ListeningSocket()
        nobody.close()
        let outcome = try ask("https://127.0.0.1:\(nobody.port)/", environment)
        let reason = isProxied ? "CONNECT tunnel failed" : "cannot reach 127.0.0.1"
        #expect(outcome.status == 1 && outcome.errors.contains(reason), "\(outcome)")
        #expect(proxy.requests.isEmpty != isProxied)
        for request in proxy.requests {
            #expect(request.method == "CONNECT" && request.path == "127.0.0.1:\(nobody.port)")
        }
    }

    // MARK: Containers

    private static let document = """
        {"AccessKeyId": "ID", "SecretAccessKey": "KEY", "Token": "TOKEN",
         "Expiration": "2099-01-02T03:04:05Z"}
        """

    @Test(
        "the service of a container is asked if an option says so, with its token, directly",
        arguments: [true, false])
    func container(isAsked: Bool) throws {
        let service = try StubServer { _, _ in .status(200, Self.document) }
        defer { service.stop() }
        let outcome = try ask(
            "http://s3.test/",
            [
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": service.url + "v2/key",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": "secret", "http_proxy": "PROXY",
            ], options: isAsked ? ["--accessContainer"] : [])
        #expect(outcome.status == 0, "\(outcome)")
        #expect(service.requests.map(\.path) == (isAsked ? ["/v2/key"] : []))
        #expect(service.requests.allSatisfy { $0.headers["authorization"] == "secret" })
        #expect(!proxy.requests.isEmpty)
        for request in proxy.requests {
            let authorization = request.headers["authorization"]
            #expect(authorization?.contains("Credential=ID/") == (isAsked ? true : nil))
            #expect(request.headers["x-amz-security-token"] == (isAsked ? "TOKEN" : nil))
        }
    }
}
