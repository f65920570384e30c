import BlockStore
import Foundation
import S3IO
import S3TestServers
import TestSupport
import Testing

/// The client against servers that break every rule: a clear error, bounded memory, and another
/// attempt where that makes sense.
@Suite struct HostileTests {
    static let size = ClientTests.blockSize

    /// What a further attempt may cure.
    static let passing: [HostileAnswer] = [
        .resetBeforeReply, .resetInHeader, .resetInBody(count: size), .cutInBody(count: size),
        .endlessHeader, .longHeaderLine, .garbage, .bareBody,
        .wrongLength(claimed: "9000", count: size), .wrongLength(claimed: "-5", count: size),
        .wrongLength(claimed: "many", count: size),
        .endlessBody(status: 500, inChunks: false), .endlessBody(status: 503, inChunks: true),
        .truncatedXML(status: 503), .xmlBomb(status: 500), .deepXML(status: 500),
        .controlCharacters(status: 500),
    ]

    /// A message that a log and a terminal can take: short, one line, no control characters.
    static func isClear(_ message: String) -> Bool {
        message.utf8.count < 1000
            && message.unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7f...0x9f ~= $0.value) }
    }

    /// How far a client may read before it hangs up: libcurl asks whether to go on after a hundred
    /// pieces of 256 KiB at the latest; and the socket buffers.
    static let readMax = 64 << 20

    @Test("what a further attempt may cure gets one", arguments: passing)
    func cured(answer: HostileAnswer) throws {
        let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 5000) { number, _ in
            number < 2 ? .hostile(answer) : ClientTests.block()
        }
        #expect(try setup.get() == .tag("t"))
        #expect(setup.target.allSatisfy { $0 == 5 })
        #expect(setup.stub.requests.count == 3)
    }

    @Test("an upload is tried again as well, whole", arguments: passing)
    func upload(answer: HostileAnswer) throws {
        let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 5000) { number, _ in
            number < 2 ? .hostile(answer) : ClientTests.block()
        }
        // To a PUT some of these are good enough: nobody needs its body.
        #expect(try setup.put() == .tag("t"))
        let puts = setup.stub.requests.filter { $0.method == "PUT" }
        #expect(puts.allSatisfy { $0.body == [UInt8](repeating: 7, count: Self.size) })
    }

    @Test("what goes on is a temporary error that names block and server", arguments: passing)
    func givenUp(answer: HostileAnswer) throws {
        let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 3) { _, _ in .hostile(answer) }
        let error = try setup.getError()
        #expect(error.kind == .temporary && error.block == 3, "\(error)")
        #expect(error.message.contains("block 3: ") && Self.isClear(error.message), "\(error)")
        #expect(error.message.contains("127.0.0.1:\(setup.stub.port)"), "\(error)")
        #expect((2...5).contains(setup.stub.requests.count))
        #expect(setup.stub.hostileBytesSent.allSatisfy { $0 < Self.readMax })
    }

    @Test(
        "a refusal stays one, whatever comes with it",
        arguments: [
            (HostileAnswer.endlessBody(status: 403, inChunks: false), "rights"),
            (.endlessBody(status: 403, inChunks: true), "rights"),
            (.truncatedXML(status: 403), "AccessDenied"), (.xmlBomb(status: 403), "rights"),
            (.deepXML(status: 403), "rights"), (.controlCharacters(status: 403), "Odd  Code"),
            (.controlCharacters(status: 301), "--region"),
            (.controlCharacters(status: 418), HostileAnswer.message),
        ])
    func refused(answer: HostileAnswer, word: String) throws {
        let setup = try ClientTests.Setup { _, _ in .hostile(answer) }
        let error = try setup.getError()
        #expect(error.kind == .permanent && error.message.contains(word), "\(error)")
        #expect(Self.isClear(error.message), "\(error)")
        #expect(setup.stub.requests.count == 1)
    }

    @Test(
        "a body that is too long is damaged, and not read to its end",
        arguments: [
            HostileAnswer.endlessBody(status: 200, inChunks: false),
            .endlessBody(status: 200, inChunks: true), .wrongLength(claimed: "10", count: 4096),
            .twoLengths(4096, 8192),
        ])
    func tooLong(answer: HostileAnswer) throws {
        let setup = try ClientTests.Setup { number, _ in
            number == 0 ? .hostile(answer) : ClientTests.block()
        }
        let error = try setup.getError()
        #expect(error.kind == .damaged && error.block == 3 && Self.isClear(error.message))
        #expect(setup.stub.requests.count == 1)
        // Nothing of it is taken for the next reply.
        #expect(try setup.get() == .tag("t"))
        #expect(setup.target.allSatisfy { $0 == 5 })
        #expect(setup.stub.hostileBytesSent.allSatisfy { $0 < Self.readMax })
    }

    @Test("a document without end is not collected")
    func endlessDocument() throws {
        for inChunks in [false, true] {
            let setup = try ClientTests.Setup { _, _ in
                .hostile(.endlessBody(status: 200, inChunks: inChunks))
            }
            let error = try #require(throws: S3Error.self) { try setup.objects.readIdentity() }
            #expect(Self.isClear(error.message), "\(error)")
            #expect(setup.stub.requests.count == 1)
            // It has hung up: the server notices, however late.
            try waitFor("the end of the answer") { !setup.stub.hostileBytesSent.isEmpty }
            #expect(setup.stub.hostileBytesSent[0] < Self.readMax)
        }
    }

    @Test("a reply in pieces of one byte is a reply")
    func singleBytes() throws {
        let setup = try ClientTests.Setup { _, _ in .hostile(.singleBytes(count: Self.size)) }
        for _ in 0..<2 {
            #expect(try setup.get() == .tag("t"))
            #expect(setup.target.allSatisfy { $0 == 5 })
        }
        #expect(Set(setup.stub.requests.map(\.connection)) == [0])
    }

    @Test(
        "what some clients take is taken or refused, but never a wrong block",
        arguments: [
            HostileAnswer.largeHeader,
            .wrongLength(claimed: "99999999999999999999", count: size),
        ])
    func doubtful(answer: HostileAnswer) throws {
        let setup = try ClientTests.Setup(pauseMs: 1, sumMs: 3) { _, _ in .hostile(answer) }
        do {
            #expect(try setup.get() == .tag("t"))
            #expect(setup.target.allSatisfy { $0 == 5 })
        } catch let error as StoreError {
            #expect(error.kind == .temporary && Self.isClear(error.message), "\(error)")
        }
    }

    @Test("a server that only ever says Continue is given up within the time for one request")
    func endlessContinue() throws {
        let setup = try ClientTests.Setup(timeoutMs: 2000, pauseMs: 1, sumMs: 1) { _, _ in
            .hostile(.endlessContinue)
        }
        let error = try setup.getError()
        #expect(error.kind == .temporary && Self.isClear(error.message), "\(error)")
    }
}
