import BlockStore
import FileIO
import Foundation
import Logging
import S3IO
import S3TestServers
import Testing

/// Listing a bucket whose server says what the test wants.
@Suite struct ListingTests {
    static let head = "<?xml version=\"1.0\"?>\n"

    /// What is asked for in a request.
    struct Question {
        var fields: [String: String] = [:]

        init(_ request: StubServer.Request) {
            let query = request.path.components(separatedBy: "?").dropFirst().first ?? ""
            for pair in query.components(separatedBy: "&") {
                let parts = pair.components(separatedBy: "=")
                fields[parts[0]] = parts.count > 1 ? parts[1].removingPercentEncoding : ""
            }
        }

        var isOld: Bool { fields["list-type"] != "2" }
        var after: String { fields["start-after"] ?? fields["marker"] ?? "" }
    }

    static func entry(_ key: String, size: String = "4096", tag: String = "&quot;t&quot;") -> String
    {
        "<Contents><Key>\(key)</Key><ETag>\(tag)</ETag><Size>\(size)</Size>"
            + "<Owner><ID>x</ID></Owner></Contents>"
    }

    static func document(_ entries: String, isTruncated: Bool, more: String = "") -> String {
        head + "<ListBucketResult><IsTruncated>\(isTruncated)</IsTruncated>\(more)"
            + entries + "</ListBucketResult>"
    }

    /// A server that has these keys, and gives `most` at a time.
    static func answer(_ keys: [String], most: Int, _ request: StubServer.Request)
        -> StubServer.Answer
    {
        let question = Question(request)
        let prefix = question.fields["prefix"] ?? ""
        let rest = keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.filter {
            $0.hasPrefix(prefix)
                && question.after.utf8.lexicographicallyPrecedes($0.utf8)
        }
        let page = rest.prefix(most)
        return .status(
            200, document(page.map { entry($0) }.joined(), isTruncated: page.count < rest.count))
    }

    func list(
        _ setup: ClientTests.Setup, prefix: String = "p/", isHashed: Bool = false,
        blocks: UInt64 = 1000, _ part: ListPart = .all
    ) throws -> [UInt64] {
        let store = S3Store(
            client: setup.client, prefix: prefix, isHashed: isHashed, blockSize: 4096,
            blockCount: blocks)
        var found: [UInt64] = []
        try store.list(part) { page in
            found += page.map(\.block)
            return true
        }
        return found
    }

    func message(_ setup: ClientTests.Setup) throws -> String {
        let error = try #require(throws: StoreError.self) { try list(setup) }
        #expect(!error.message.contains("\n") && error.kind == .permanent)
        #expect(error.message.contains("the list of \(setup.stub.url)bkt/ "))
        return error.message
    }

    @Test("the blocks among strangers' objects, in pages", arguments: [1, 2, 7, 1000])
    func pages(most: Int) throws {
        let ours = [0, 1, 9, 10, 15, 16, 31, 255, 256, 511, 998, 999].map {
            BlockKeys(prefix: "p/").key($0)
        }
        let strangers = [
            "p/", "p/0000000", "p/00000000x", "p/0000000A", "p/0000000a/b", "p/0000000g",
            "p/000003e8", "p/00000009~", "p/ffffffff", "p/s3backer-mounted", "p/s3backer-volume",
            "p/d211cad9-00000001", "p/zz",
        ]
        let setup = try ClientTests.Setup { _, request in
            Self.answer(ours + strangers, most: most, request)
        }
        let expected: [UInt64] = [0, 1, 9, 10, 15, 16, 31, 255, 256, 511, 998, 999]
        #expect(try list(setup) == expected)
        #expect(setup.stub.requests.allSatisfy { !Question($0).isOld })
        let parts = try (0..<5).flatMap { try list(setup, ListPart($0, of: 5)) }
        #expect(parts == expected)
    }

    @Test("ranges, one page after the other: what is not named is absent", arguments: [1, 2, 1000])
    func ranges(most: Int) throws {
        let numbers: [UInt64] = [0, 1, 9, 255, 256, 998, 999]
        let keys =
            numbers.map { BlockKeys(prefix: "p/").key($0) } + ["p/0000000a/b", "p/00000200x"]
        let setup = try ClientTests.Setup { _, request in
            Self.answer(keys, most: most, request)
        }
        let store = S3Store(client: setup.client, prefix: "p/", blockSize: 4096, blockCount: 1000)
        #expect(store.listsInOrder)
        for range in [0..<1000, 1..<256, 2..<9, 9..<10, 257..<998, 999..<1000] as [Range<UInt64>] {
            var found: [UInt64] = []
            var left = range
            while !left.isEmpty {
                let page = try store.listed(left)
                try #require(page.end > left.lowerBound && page.end <= left.upperBound)
                #expect(page.blocks.allSatisfy { $0.block < page.end && left.contains($0.block) })
                found += page.blocks.map(\.block)
                left = page.end..<left.upperBound
            }
            #expect(found == numbers.filter { range.contains($0) })
        }
    }

    @Test("a page in no order is refused where what is not named would be absent")
    func noOrder() throws {
        let setup = try ClientTests.Setup { _, _ in
            .status(
                200,
                Self.document(
                    Self.entry("p/00000005") + Self.entry("p/00000003"), isTruncated: false))
        }
        let store = S3Store(client: setup.client, prefix: "p/", blockSize: 4096, blockCount: 1000)
        let error = try #require(throws: StoreError.self) { try store.listed(0..<1000) }
        #expect(error.message.contains("in no order"))
    }

    @Test("hashed names, in parts", arguments: [1, 3, 1000])
    func hashed(most: Int) throws {
        let keys = BlockKeys(prefix: "p/", isHashed: true)
        let ours = (0..<50).map { keys.key($0) }
        let strangers =
            (0..<50).map { BlockKeys(prefix: "p/").key($0) } + [
                "p/c448b72c-00000001", "p/c448b72c", "p/c448b72c-00000000x", keys.key(1000),
            ]
        let setup = try ClientTests.Setup { _, request in
            Self.answer(ours + strangers, most: most, request)
        }
        #expect(try list(setup, isHashed: true).sorted() == Array(0..<50))
        let parts = try (0..<4).map { try list(setup, isHashed: true, ListPart($0, of: 4)) }
        #expect(parts.flatMap { $0 }.sorted() == Array(0..<50))
        #expect(parts.allSatisfy { !$0.isEmpty })
    }

    @Test("what lies between two possible names is passed over")
    func jump() throws {
        let strangers = (0..<10).flatMap { block in
            let name = BlockKeys(prefix: "p/").key(UInt64(block))
            return [name] + (0..<3000).map { name + "x\($0)" }
        }
        let filled = try ClientTests.Setup { _, request in
            Self.answer(strangers, most: 1000, request)
        }
        #expect(try list(filled, blocks: 10) == Array(0..<10))
        #expect(filled.stub.requests.count <= 11)
        // Where no name can be, they have no end.
        let setup = try ClientTests.Setup { _, request in
            let after = Question(request).after
            return .status(
                200,
                Self.document(
                    Self.entry(after + "!") + Self.entry(after + "~"), isTruncated: true))
        }
        #expect(try message(setup).contains("does not get on"))
        #expect(setup.stub.requests.count <= 101)
    }

    @Test("a server that knows only the old listing", arguments: [501, 400, 405, 200])
    func fallback(status: Int) throws {
        let keys = (0..<10).map { BlockKeys(prefix: "p/").key($0) }
        let setup = try ClientTests.Setup { _, request in
            let question = Question(request)
            if question.isOld { return Self.answer(keys, most: 3, request) }
            if status != 200 { return .status(status, "<Error><Code>NotSupported</Code></Error>") }
            // It takes the new question for the old one, and so does not know where to begin.
            var old = request
            old.path = "/bkt?prefix=p%2F"
            return Self.answer(keys, most: 3, old)
        }
        #expect(try list(setup) == Array(0..<10))
        let requests = setup.stub.requests.count
        #expect(requests <= 6)
    }

    @Test("refused both ways, the first answer counts")
    func refused() throws {
        let setup = try ClientTests.Setup { _, _ in
            .status(403, "<Error><Code>AccessDenied</Code></Error>")
        }
        let error = try #require(throws: StoreError.self) { try list(setup) }
        #expect(error.kind == .permanent && error.message.contains("rights"))
        #expect(setup.stub.requests.count == 1)
    }

    @Test("encoded names are decoded where the server says so, wherever it says so")
    func encoding() throws {
        let prefix = "a b+%41&<\u{1}\u{e4}/"
        let names = [
            "a+b%2B%2541%26%3C%01%C3%A4/00000001", "a%20b%2b%2541%26%3c%01%c3%a4%2F00000002",
        ]
        let entries = names.map { Self.entry($0) }.joined()
        let flag = "<EncodingType>url</EncodingType>"
        let setup = try ClientTests.Setup { number, _ in
            .status(
                200,
                number == 0
                    ? Self.document(entries, isTruncated: false, more: flag)
                    : Self.document(entries + flag, isTruncated: false))
        }
        #expect(try list(setup, prefix: prefix) == [1, 2])
        #expect(try list(setup, prefix: prefix) == [1, 2])
        #expect(Question(setup.stub.requests[0]).fields["prefix"] == prefix)
        // Of another server the same is a stranger.
        let plain = try ClientTests.Setup { _, _ in
            .status(200, Self.document(Self.entry("p/0000001%30"), isTruncated: false))
        }
        #expect(try list(plain) == [])
    }

    @Test("versions and sizes come along")
    func facts() throws {
        let entries =
            Self.entry("p/00000001", size: "17", tag: "&quot;abc-2&quot;")
            + Self.entry("p/00000002", tag: "abc")
            + Self.entry("p/00000003", tag: "W/&quot;x&quot;")
            + Self.entry("p/00000004", tag: "a&#10;b")
            + "<Contents><Key>p/00000005</Key><Size>1</Size></Contents>"
        let setup = try ClientTests.Setup { _, _ in
            .status(200, Self.document(entries, isTruncated: false))
        }
        let store = S3Store(client: setup.client, prefix: "p/", blockSize: 4096, blockCount: 9)
        var found: [ListedBlock] = []
        try store.list(.all) {
            found += $0
            return true
        }
        #expect(found.map(\.version) == [.tag("abc-2"), .tag("abc"), .tag("x"), nil, nil])
        #expect(found.map(\.byteCount) == [17, 4096, 4096, 4096, 1])
    }

    @Test("a server that does not get on is found out")
    func endless() throws {
        let same = Self.document(Self.entry("p/00000001"), isTruncated: true)
        let repeating = try ClientTests.Setup { _, _ in .status(200, same) }
        #expect(try message(repeating).contains("listed before"))
        #expect(repeating.stub.requests.count <= 4)
        let empty = try ClientTests.Setup { number, _ in
            .status(
                200,
                Self.document(
                    "", isTruncated: true,
                    more: "<NextContinuationToken>\(number)</NextContinuationToken>"))
        }
        #expect(try message(empty).contains("does not get on"))
        #expect(empty.stub.requests.count <= 101)
        let silent = try ClientTests.Setup { _, _ in
            .status(200, Self.document("", isTruncated: true))
        }
        #expect(try message(silent).contains("does not get on"))
    }

    @Test("an empty page in between is passed by the server's own mark")
    func emptyPage() throws {
        let setup = try ClientTests.Setup { _, request in
            let question = Question(request)
            switch question.fields["continuation-token"] {
            case nil where question.after.hasPrefix("p/00000001"):
                return .status(
                    200,
                    Self.document(
                        "", isTruncated: true,
                        more: "<NextContinuationToken>go on</NextContinuationToken>"))
            case nil: return Self.answer(["p/00000001", "p/00000002"], most: 1, request)
            default:
                return .status(200, Self.document(Self.entry("p/00000002"), isTruncated: false))
            }
        }
        #expect(try list(setup) == [1, 2])
        #expect(setup.stub.requests.count == 3)
    }

    @Test(
        "what is no list is an error, and never an empty one",
        arguments: [
            ("", "no whole XML"), ("<html>", "no ListBucketResult"),
            ("<Error><Code>InternalError</Code></Error>", "no ListBucketResult"),
            ("<ListBucketResult></ListBucketResult>", "complete"),
            ("<ListBucketResult><IsTruncated>maybe</IsTruncated></ListBucketResult>", "complete"),
            ("<ListBucketResult><IsTruncated>false</IsTruncated><Contents>", "no whole XML"),
            (document("<Contents><Size>1</Size></Contents>", isTruncated: false), "without a name"),
            (document(entry("p/00000001", size: "-1"), isTruncated: false), "how large"),
            (
                document(
                    entry("p/%0"), isTruncated: false, more: "<EncodingType>url</EncodingType>"),
                "not encoded"
            ),
            (
                document(entry(String(repeating: "k", count: 4097)), isTruncated: false),
                "more than 4096"
            ),
            (
                document(
                    (0...10_000).map { "<Contents><Key>q\($0)</Key></Contents>" }.joined(),
                    isTruncated: false), "too many"
            ),
            (
                "<!DOCTYPE l [<!ENTITY a \"b\">]>" + document(entry("&a;"), isTruncated: false),
                "no whole XML"
            ),
            (
                document(String(repeating: "<d>", count: 20), isTruncated: false), "no whole XML"
            ),
            (String(repeating: " ", count: 5 << 20), "longer than"),
        ])
    func malformed(text: String, says: String) throws {
        let setup = try ClientTests.Setup { _, _ in .status(200, text) }
        let said = try message(setup)
        #expect(said.contains(says), "\(said)")
    }

    @Test("all parts at the same time; one that fails ends the others")
    func all() throws {
        let keys = (0..<1000).map { BlockKeys(prefix: "p/").key($0) }
        let setup = try ClientTests.Setup { _, request in Self.answer(keys, most: 10, request) }
        let store = S3Store(client: setup.client, prefix: "p/", blockSize: 4096, blockCount: 1000)
        let found = Locked<[UInt64]>([])
        try store.listAll(parts: 8) { page in
            found.withLock { $0 += page.map(\.block) }
            return true
        }
        #expect(found.withLock { $0.sorted() } == Array(0..<1000))
        let broken = try ClientTests.Setup { _, request in
            Question(request).after.hasPrefix("p/000001")
                ? .status(200, "") : Self.answer(keys, most: 10, request)
        }
        let other = S3Store(client: broken.client, prefix: "p/", blockSize: 4096, blockCount: 1000)
        #expect(throws: StoreError.self) { try other.listAll(parts: 8) { _ in true } }
        let before = setup.stub.requests.count
        try store.listAll(parts: 8) { _ in false }
        #expect(setup.stub.requests.count - before <= 8)
    }
}
