import BlockStore
import S3IO
import Testing

@Suite struct EndpointTests {
    func endpoint(
        _ base: String, _ bucket: String = "bkt", vhost: Bool = false
    ) throws -> S3Endpoint {
        try S3Endpoint(
            baseURL: base, bucket: bucket, region: "us-east-1", isVirtualHosted: vhost)
    }

    @Test(
        "both styles of URL, with ports and paths",
        arguments: [
            ("http://h:80/", false, "http://h/bkt/k", "h"),
            ("https://H.Example/", false, "https://h.example/bkt/k", "h.example"),
            ("https://h:443/", true, "https://bkt.h/k", "bkt.h"),
            ("http://127.0.0.1:90/", false, "http://127.0.0.1:90/bkt/k", "127.0.0.1:90"),
            ("http://localhost:90/", true, "http://bkt.localhost:90/k", "bkt.localhost:90"),
            ("http://h/a/b/", false, "http://h/a/b/bkt/k", "h"),
            ("http://h/a/", true, "http://bkt.h/a/k", "bkt.h"),
            ("http://h", false, "http://h/bkt/k", "h"),
            ("https://h:80/", false, "https://h:80/bkt/k", "h:80"),
        ])
    func url(base: String, vhost: Bool, url: String, host: String) throws {
        let endpoint = try endpoint(base, vhost: vhost)
        #expect(endpoint.url(path: endpoint.path(key: "k"), query: "") == url)
        #expect(endpoint.host == host)
    }

    @Test("the bucket itself has no slash at its end")
    func bucket() throws {
        #expect(try endpoint("http://h/").bucketPath == "/bkt")
        #expect(try endpoint("http://h/", vhost: true).bucketPath == "/")
        #expect(try endpoint("http://h/").description == "http://h/bkt/")
        #expect(try endpoint("http://h/", vhost: true).description == "http://bkt.h/")
    }

    @Test(
        "a base URL that cannot be one is refused",
        arguments: [
            "h/", "ftp://h/", "http://", "http:///x/", "http://:80/", "http://h/?a=b",
            "http://u:p@h/", "http://h/a b/",
        ])
    func invalid(base: String) {
        #expect(throws: S3Endpoint.Invalid.self) { try endpoint(base) }
    }

    @Test("keys are encoded but for slashes")
    func encoding() {
        let key = "a/ +%?#&=\u{e4}~-._*'()!$,:;@\"<>[]\\^`{|}"
        #expect(
            PercentEncoding.encode(key, keepingSlashes: true)
                == "a/%20%2B%25%3F%23%26%3D%C3%A4~-._%2A%27%28%29%21%24%2C%3A%3B%40%22%3C%3E"
                + "%5B%5D%5C%5E%60%7B%7C%7D")
        #expect(PercentEncoding.encode("a/b", keepingSlashes: false) == "a%2Fb")
    }

    @Test("keys of blocks have eight digits")
    func keys() {
        #expect(BlockKeys(prefix: "a/b/").key(0) == "a/b/00000000")
        #expect(BlockKeys(prefix: "").key(0xdead_beef) == "deadbeef")
    }

    @Test(
        "entity tags of any shape",
        arguments: [
            ("\"abc\"", "abc"), ("abc", "abc"), ("W/\"abc\"", "abc"),
            ("\"32696fd7d176a4abe51ef096a885fa89-12\"", "32696fd7d176a4abe51ef096a885fa89-12"),
            ("\"\"", nil), ("", nil),
        ] as [(String, String?)])
    func tags(text: String, tag: String?) { #expect(S3Response.entityTag(text) == tag) }

    @Test("header names have no case, a new status line begins anew")
    func headers() {
        var headers = S3Headers()
        func add(_ line: String) {
            Array(line.utf8).withUnsafeBytes { headers.add(line: $0) }
        }
        add("HTTP/1.1 100 Continue\r\n")
        add("X-Old: 1\r\n")
        add("HTTP/1.1 200 OK\r\n")
        add("X-Amz-Meta-S3backer-Filesize:  65536 \r\n")
        add("ETag:\"a:b\"\r\n")
        add("nonsense\r\n")
        #expect(headers["x-amz-meta-s3backer-filesize"] == "65536")
        #expect(headers["Etag"] == "\"a:b\"" && headers["x-old"] == nil)
    }

    @Test("the access file")
    func accessFile() {
        let text = "# a:b\n x:y\nnothing\nid1:k1  \nid2:k:2\r\n"
        #expect(Credentials.find(in: text, accessID: nil)?.accessID == "id1")
        #expect(Credentials.find(in: text, accessID: nil)?.accessKey == "k1")
        #expect(Credentials.find(in: text, accessID: "id2")?.accessKey == "k:2")
        #expect(Credentials.find(in: text, accessID: "id3") == nil)
        #expect(Credentials.find(in: "", accessID: nil) == nil)
    }

    @Test("pauses double and their sum is limited")
    func pauses() {
        var pauses = RetryPauses(initialMs: 200, sumMs: 30_000)
        var found: [Int] = []
        while let pause = pauses.next(chance: 0) { found.append(pause) }
        #expect(found == [200, 400, 800, 1600, 3200, 6400, 12_800, 4600])
        var late = RetryPauses(initialMs: 100, sumMs: 1000)
        var sum = 0
        for expected in [100...120, 200...240, 400...480, 160...300] {
            let pause = late.next(chance: 1) ?? 0
            #expect(expected.contains(pause))
            sum += pause
        }
        #expect(sum == 1000 && late.next(chance: 1) == nil)
        var none = RetryPauses(initialMs: 200, sumMs: 0)
        #expect(none.next(chance: 0) == nil)
    }

    @Test("error documents are read, dangerous ones are not")
    func xml() {
        let good = "<?xml version=\"1.0\"?><Error><Code>A&amp;B</Code><Code>C</Code></Error>"
        #expect(XMLFields(Array(good.utf8))["Code"] == "A&B")
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aa\">]><Error><Code>&a;</Code></Error>"
        #expect(XMLFields(Array(bomb.utf8))["Code"] == nil)
        let deep = String(repeating: "<a>", count: 5000) + "<Code>x</Code>"
        #expect(XMLFields(Array(deep.utf8))["Code"] == nil)
        #expect(XMLFields(Array("<Error><Code>x</Code>".utf8))["Code"] == "x")
        #expect(XMLFields(Array("plain text".utf8)).fields.isEmpty)
    }
}
