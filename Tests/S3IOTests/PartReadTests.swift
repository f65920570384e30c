import BlockStore
import Foundation
import S3IO
import S3TestServers
import Testing

/// Parts of blocks, and reads on conditions.
@Suite struct PartReadTests {
    static let content = (0..<4096).map { UInt8(truncatingIfNeeded: $0 * 7 ^ $0 >> 5) }

    enum Manner: CaseIterable, Sendable {
        case partial
        /// As rclone does.
        case okWithRange
        /// The header means nothing to it.
        case ignored
    }

    static func answer(_ request: StubServer.Request, _ manner: Manner) -> StubServer.Answer {
        if request.headers["if-none-match"] == "\"t\"" { return .status(304) }
        if let match = request.headers["if-match"], match != "\"t\"" { return .status(412) }
        guard manner != .ignored, let text = request.headers["range"] else {
            return .reply(status: 200, headers: ["ETag: \"t\""], body: content)
        }
        let bounds = text.dropFirst(6).components(separatedBy: "-").compactMap { Int($0) }
        return .reply(
            status: manner == .partial ? 206 : 200,
            headers: ["ETag: \"t\"", "Content-Range: bytes \(bounds[0])-\(bounds[1])/4096"],
            body: Array(content[bounds[0]...bounds[1]]))
    }

    static func read(
        _ store: some BlockStore, _ range: Range<Int>, _ condition: ReadCondition = .always
    ) throws -> (answer: ReadAnswer, bytes: [UInt8]) {
        var target = [UInt8](repeating: 0xee, count: range.count)
        let answer = try target.withUnsafeMutableBytes {
            try store.read(3, range, into: $0, condition)
        }
        return (answer, target)
    }

    @Test("the bytes that were asked for, however they are sent", arguments: Manner.allCases)
    func ranges(manner: Manner) throws {
        let setup = try ClientTests.Setup { _, request in Self.answer(request, manner) }
        for range in [0..<1, 0..<512, 512..<1024, 4095..<4096, 1..<4096, 0..<4096] {
            let read = try Self.read(setup.store, range)
            #expect(read.answer == .content(.tag("t")))
            #expect(read.bytes == Array(Self.content[range]), "\(range)")
        }
        // Where that is in vain it is not asked for again.
        let asked = setup.stub.requests.filter { $0.headers["range"] != nil }
        #expect(asked.count == (manner == .ignored ? 1 : 5))
        #expect(asked[0].headers["range"] == "bytes=0-0")
    }

    @Test("conditions, with a part and with all", arguments: Manner.allCases)
    func conditions(manner: Manner) throws {
        let setup = try ClientTests.Setup { _, request in Self.answer(request, manner) }
        for range in [512..<1024, 0..<4096] {
            let bytes = Array(Self.content[range])
            let same = try Self.read(setup.store, range, .expecting(.tag("t")))
            #expect(same.answer == .content(.tag("t")) && same.bytes == bytes)
            let known = try Self.read(setup.store, range, .unlessKnown(.tag("t")))
            #expect(known.answer == .unchanged)
            let other = try Self.read(setup.store, range, .unlessKnown(.tag("u")))
            #expect(other.answer == .content(.tag("t")) && other.bytes == bytes)
            for expected in [ObjectVersion.tag("u"), .absent] {
                let error = try #require(throws: StoreError.self) {
                    try Self.read(setup.store, range, .expecting(expected))
                }
                #expect(error.kind == .conflict)
            }
        }
    }

    @Test("a server without conditions is compared with what it sends")
    func ignoredConditions() throws {
        let setup = try ClientTests.Setup { _, request in
            var plain = request
            plain.headers["if-match"] = nil
            plain.headers["if-none-match"] = nil
            return Self.answer(plain, .okWithRange)
        }
        let known = try Self.read(setup.store, 0..<512, .unlessKnown(.tag("t")))
        #expect(known.answer == .unchanged)
        let error = try #require(throws: StoreError.self) {
            try Self.read(setup.store, 0..<512, .expecting(.tag("u")))
        }
        #expect(error.kind == .conflict)
    }

    @Test("an absent block has no parts")
    func absent() throws {
        let setup = try ClientTests.Setup { _, _ in .status(404) }
        for range in [0..<512, 0..<4096] {
            for condition in [
                ReadCondition.always, .unlessKnown(.tag("t")), .expecting(.absent),
            ] {
                let read = try Self.read(setup.store, range, condition)
                #expect(read.answer == .content(.absent))
                #expect(read.bytes.allSatisfy { $0 == 0xee })
            }
            #expect(try Self.read(setup.store, range, .unlessKnown(.absent)).answer == .unchanged)
            let error = try #require(throws: StoreError.self) {
                try Self.read(setup.store, range, .expecting(.tag("t")))
            }
            #expect(error.kind == .conflict)
        }
    }

    @Test(
        "another part than was asked for is damaged, never data",
        arguments: [
            ("bytes 0-511/4096", 512), ("bytes 512-1023/8192", 512), ("bytes 512-1023/4096", 511),
            ("bytes 512-1023/4096", 4096), ("bytes 512-1022/4096", 511), ("bytes */4096", 512),
            ("512-1023", 512), ("bytes 512-1023/1000", 512), ("bytes -512/4096", 512),
            ("bytes 512-99999999999999999999/4096", 512),
        ])
    func wrong(text: String, count: Int) throws {
        let setup = try ClientTests.Setup { _, _ in
            .reply(
                status: 206, headers: ["ETag: \"t\"", "Content-Range: " + text],
                body: [UInt8](repeating: 1, count: count))
        }
        let error = try #require(throws: StoreError.self) { try Self.read(setup.store, 512..<1024) }
        #expect(error.kind == .damaged && error.message.contains("00000003"), "\(error)")
    }

    @Test("a part of what is encoded is not asked for twice; the whole decides")
    func encoded() throws {
        let setup = try ClientTests.Setup { _, _ in
            .reply(
                status: 206,
                headers: [
                    "ETag: \"t\"", "Content-Encoding: deflate", "Content-Range: bytes 0-1/9",
                ], body: [1, 2])
        }
        let error = try #require(throws: StoreError.self) { try Self.read(setup.store, 0..<2) }
        #expect(error.kind == .damaged && error.message.contains("deflate"))
        #expect(setup.stub.requests.map { $0.headers["range"] == nil } == [false, true])
    }
}
