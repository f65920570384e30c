import BlockStore
import Foundation
import S3IO
import S3TestServers
import Testing

@Suite struct BulkDeletionTests {
    static func result(_ errors: [(key: String, code: String)]) -> String {
        "<?xml version=\"1.0\"?><DeleteResult><Deleted><Key>p/00000000</Key></Deleted>"
            + errors.map {
                "<Error><Key>\($0.key)</Key><Code>\($0.code)</Code><Message>m</Message></Error>"
            }.joined() + "</DeleteResult>"
    }

    /// Kinds of the failures; nil: deleted.
    func kinds(
        _ setup: ClientTests.Setup, _ blocks: [UInt64]
    ) -> [StoreError.Kind?] {
        setup.store.delete(blocks).map { result in
            switch result {
            case .success(let outcome):
                #expect(outcome.version == .absent)
                return nil
            case .failure(let error): return error.kind
            }
        }
    }

    @Test("one request names many, each of them only")
    func request() throws {
        let setup = try ClientTests.Setup { _, _ in .status(200, Self.result([])) }
        let odd = S3Store(client: setup.client, prefix: "a&<b>\"/", blockSize: 4096, blockCount: 9)
        #expect(odd.delete([1, 2]).count == 2)
        let request = try #require(setup.stub.requests.first)
        #expect(request.method == "POST" && request.path == "/bkt?delete=")
        #expect(
            String(decoding: request.body, as: UTF8.self)
                == "<Delete><Object><Key>a&amp;&lt;b&gt;\"/00000001</Key></Object>"
                + "<Object><Key>a&amp;&lt;b&gt;\"/00000002</Key></Object>"
                + "<Quiet>true</Quiet></Delete>")
        let digest = request.body.withUnsafeBytes { Digest.base64(Digest.md5($0)) }
        #expect(request.headers["content-md5"] == digest)
        #expect(request.headers["content-type"] == "application/xml")
        #expect(request.headers["x-amz-acl"] == nil)
        let store = S3Store(
            client: setup.client, prefix: "", blockSize: 4096, blockCount: 10_000)
        #expect(store.delete(Array(0..<2500)).count == 2500)
        let sizes = setup.stub.requests.dropFirst().map {
            String(decoding: $0.body, as: UTF8.self).components(separatedBy: "<Object>").count - 1
        }
        #expect(sizes == [1000, 1000, 500])
        #expect(store.delete([]).isEmpty)
        // One alone is an ordinary deletion.
        #expect(store.delete([7]).count == 1)
        #expect(setup.stub.requests.last?.method == "DELETE")
    }

    @Test("what fails is told for each block")
    func errors() throws {
        let errors = [
            ("p/00000001", "AccessDenied"), ("p/00000003", "SlowDown"), ("p/00000004", "NoSuchKey"),
        ]
        let setup = try ClientTests.Setup { _, _ in .status(200, Self.result(errors)) }
        #expect(kinds(setup, [0, 1, 2, 3, 4]) == [nil, .permanent, nil, .temporary, nil])
        let first = setup.store.delete([1, 3, 4])[0]
        guard case .failure(let error) = first else {
            Issue.record("deleted")
            return
        }
        #expect(
            error.message == "block 1: \(setup.stub.url)bkt/p/00000001 is not deleted: "
                + "AccessDenied m")
    }

    @Test(
        "an answer that is none says nothing of any block",
        arguments: [
            "", "<Error><Code>InternalError</Code></Error>", "<DeleteResult>",
            result([("p/00000009", "AccessDenied")]), result([("", "AccessDenied")]),
            "<DeleteResult><Error><Code>AccessDenied</Code></Error></DeleteResult>",
        ])
    func malformed(text: String) throws {
        let setup = try ClientTests.Setup { _, _ in .status(200, text) }
        #expect(kinds(setup, [0, 1]) == [.temporary, .temporary])
    }

    @Test("a server that fails is failing, not without bulk deletion")
    func failing() throws {
        let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 2) { _, _ in .status(500) }
        #expect(kinds(setup, [0, 1]) == [.temporary, .temporary])
        #expect(setup.stub.requests.allSatisfy { $0.method == "POST" })
    }

    @Test(
        "where the server does not know it, blocks are deleted one by one",
        arguments: [400, 403, 404, 405, 501])
    func unknown(status: Int) throws {
        let setup = try ClientTests.Setup { _, request in
            request.method == "POST" ? .status(status) : .status(204)
        }
        #expect(kinds(setup, [0, 1, 2]) == [nil, nil, nil])
        #expect(kinds(setup, [3, 4]) == [nil, nil])
        let methods = setup.stub.requests.map(\.method)
        #expect(methods == ["POST", "DELETE", "DELETE", "DELETE", "DELETE", "DELETE"])
    }

    @Test("a right that is missing is not taken for that")
    func denied() throws {
        let setup = try ClientTests.Setup { _, _ in
            .status(403, "<Error><Code>AccessDenied</Code></Error>")
        }
        #expect(kinds(setup, [0, 1]) == [.permanent, .permanent])
        #expect(kinds(setup, [0, 1]) == [.permanent, .permanent])
        let posts = setup.stub.requests.filter { $0.method == "POST" }
        #expect(posts.count == 2)
    }

    @Test("a prefix that no document can hold")
    func unprintable() throws {
        let setup = try ClientTests.Setup { _, _ in .status(204) }
        let odd = S3Store(client: setup.client, prefix: "a\u{1}", blockSize: 4096, blockCount: 9)
        #expect(odd.delete([1, 2]).count == 2)
        #expect(setup.stub.requests.map(\.method) == ["DELETE", "DELETE"])
    }
}
