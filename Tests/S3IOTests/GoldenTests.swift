import BlockStore
import Foundation
import Logging
import S3IO
import Testing

@Suite struct GoldenTests {
    static func client(_ change: (inout S3Configuration) -> Void = { _ in }) throws -> S3Client {
        let endpoint = try S3Endpoint(
            baseURL: "http://127.0.0.1:5556/", bucket: "s3b", region: "us-east-1",
            isVirtualHosted: false)
        let credentials = Credentials(
            accessID: Golden.accessID, accessKey: Golden.accessKey)
        var configuration = S3Configuration(endpoint: endpoint, credentials: credentials)
        change(&configuration)
        return S3Client(configuration, logger: Logger(label: "test"))
    }

    @Test("every recorded signature comes out the same", arguments: Golden.traces)
    func signature(name: String) throws {
        let trace = try Golden.Trace(name)
        let signer = SignatureV4(
            Credentials(accessID: Golden.accessID, accessKey: Golden.accessKey),
            region: "us-east-1")
        let request = SignatureV4.Request(
            method: trace.method, path: trace.path, query: trace.query, headers: trace.signed,
            payloadHash: trace["x-amz-content-sha256"])
        let date = trace["x-amz-date"]
        #expect(request.canonical == trace.canonical)
        #expect(signer.stringToSign(request, date: date) == trace.stringToSign)
        #expect(signer.authorization(request, date: date) == trace["authorization"])
    }

    @Test("every recorded signature of version 2 comes out the same", arguments: Golden.tracesV2)
    func signatureV2(name: String) throws {
        let trace = try Golden.Trace(name, "traces-v2")
        let signer = SignatureV2(
            Credentials(accessID: Golden.accessID, accessKey: Golden.accessKey))
        let headers = trace.headers.map { (name: $0.name.lowercased(), value: $0.value) }
        let text = signer.stringToSign(
            method: trace.method, headers: headers, resource: trace.path)
        #expect(text == trace.stringToSign)
        let whole = signer.authorization(
            method: trace.method, headers: headers, resource: trace.path)
        #expect(whole == trace["authorization"])
    }

    @Test("requests signed by version 2 have the recorded headers")
    func requestsV2() throws {
        let client = try Self.client { $0.signatureVersion = .aws2 }
        for (name, method) in [
            ("15-v2-HEAD-block.txt", S3Request.Method.head), ("15-v2-DELETE-token.txt", .delete),
        ] {
            let trace = try Golden.Trace(name, "traces-v2")
            let lines = try client.headerLines(
                S3Request(method, path: trace.path), at: trace.seconds)
            #expect(Self.sent(lines) == Self.recorded(trace))
        }
    }

    @Test("in the style with the bucket in the host's name the bucket is signed all the same")
    func virtualHostV2() throws {
        let keys = Credentials(accessID: Golden.accessID, accessKey: Golden.accessKey)
        var lines: [[String]] = []
        for isVirtualHosted in [false, true] {
            let endpoint = try S3Endpoint(
                baseURL: "http://h/", bucket: "s3b", region: "us-east-1",
                isVirtualHosted: isVirtualHosted)
            var configuration = S3Configuration(endpoint: endpoint, credentials: keys)
            configuration.signatureVersion = .aws2
            let client = S3Client(configuration, logger: Logger(label: "test"))
            lines.append(
                try client.headerLines(S3Request(.head, path: endpoint.path(key: "k")), at: 0))
        }
        #expect(lines[0] == lines[1] && lines[0].contains { $0.hasPrefix("Authorization: AWS ") })
    }

    @Test("the token of a session is sent and signed")
    func sessionToken() throws {
        let keys = Credentials(accessID: "id", accessKey: "key", sessionToken: "to/ken==")
        for version in SignatureVersion.allCases {
            let client = try Self.client {
                $0.credentials = keys
                $0.signatureVersion = version
            }
            let lines = try client.headerLines(S3Request(.get, path: "/s3b/k"), at: 1_000_000_000)
            #expect(lines.contains("x-amz-security-token: to/ken=="))
            let signature = lines.first { $0.hasPrefix("Authorization") } ?? ""
            #expect(version == .aws2 || signature.contains(";x-amz-security-token,"))
        }
    }

    @Test("all recordings are there")
    func count() { #expect(Golden.traces.count == 19 && Golden.tracesV2.count == 5) }

    /// Lines `name: value` without those that the transport adds and the empty ones.
    static func sent(_ lines: [String]) -> Set<String> {
        Set(
            lines.filter { !$0.hasSuffix(":") }.map { line in
                let colon = line.firstIndex(of: ":") ?? line.endIndex
                return line[..<colon].lowercased() + line[colon...]
            })
    }

    static func recorded(_ trace: Golden.Trace) -> Set<String> {
        let transport: Set<String> = ["host", "user-agent", "accept", "content-length", "expect"]
        return Set(
            trace.headers.map { (name: $0.name.lowercased(), value: $0.value) }
                .filter { !transport.contains($0.name) }.map { "\($0.name): \($0.value)" })
    }

    @Test("a block is put with the headers of the real s3backer, signature included")
    func putBlock() throws {
        let trace = try Golden.Trace("15-v4-PUT-block.txt")
        let client = try Self.client()
        let store = S3Store(client: client, prefix: "plain15/", blockSize: 4096, blockCount: 16)
        let block = try Golden.bytes("plain.bin")
        try block.withUnsafeBytes { bytes in
            let request = store.putRequest(0, bytes)
            #expect(request.path == trace.path && request.method.rawValue == trace.method)
            let lines = try client.headerLines(request, at: trace.seconds)
            #expect(Self.sent(lines) == Self.recorded(trace))
        }
        let other = try Golden.bytes("plain-b5.bin")
        other.withUnsafeBytes { bytes in
            let request = store.putRequest(5, bytes)
            #expect(request.path == "/s3b/plain15/00000005")
            #expect(!request.headers.contains { $0.name.contains("size") })
        }
    }

    @Test("a token is put with the headers of the real s3backer, signature included")
    func putToken() throws {
        let trace = try Golden.Trace("15-v4-PUT-token.txt")
        let client = try Self.client()
        let objects = BucketObjects(client: client, prefix: "plain15/")
        let token = MountToken(header: "575897f7", body: Array("vm\n20261122T065520Z\n".utf8))
        #expect(token.value == 0x5758_97f7 && token.host == "vm" && token.owner == nil)
        try token.body.withUnsafeBytes { bytes in
            let request = objects.putRequest(
                MountToken.name, bytes, BucketObjects.tokenHeaders(token))
            #expect(request.path == trace.path)
            let lines = try client.headerLines(request, at: trace.seconds)
            #expect(Self.sent(lines) == Self.recorded(trace))
        }
    }

    @Test(
        "HEAD and DELETE are signed like the real s3backer's",
        arguments: [
            ("15-v4-HEAD-block.txt", S3Request.Method.head),
            ("15-v4-HEAD-token.txt", .head), ("15-v4-DELETE-token.txt", .delete),
        ])
    func plain(name: String, method: S3Request.Method) throws {
        let trace = try Golden.Trace(name)
        let lines = try Self.client().headerLines(
            S3Request(method, path: trace.path), at: trace.seconds)
        #expect(lines.contains("Authorization: " + trace["authorization"]))
        #expect(Self.sent(lines) == Self.recorded(trace))
    }

    @Test("what listings ask for is encoded as recorded")
    func list() throws {
        let query = PercentEncoding.query([("prefix", "comp21/"), ("max-keys", "256")])
        #expect(query == (try Golden.Trace("15-v4-GET-list.txt")).query)
    }

    @Test("MD5 and SHA-256 of the recorded blocks")
    func digests() throws {
        let bytes = try Golden.bytes("plain.bin")
        let md5 = bytes.withUnsafeBytes { Digest.md5($0) }
        #expect(Digest.hex(md5) == "32696fd7d176a4abe51ef096a885fa89")
        #expect(Digest.base64(md5) == "Mmlv19F2pKvlHvCWqIX6iQ==")
    }
}
