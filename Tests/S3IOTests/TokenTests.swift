import S3IO
import Testing

@Suite struct TokenTests {
    static let owner = MountOwner(
        host: "vm", machine: "m1", bootID: "b1", processSpace: "pid:[1]", processID: 77,
        processStart: "123")

    func token(_ change: (inout MountOwner) -> Void = { _ in }) -> MountToken {
        var owner = Self.owner
        change(&owner)
        return MountToken(value: 0x42, owner: owner, since: "20261122T065520Z", session: "s")
    }

    func verdict(
        _ token: MountToken, known: UInt32? = nil, running: Bool = false
    ) -> MountToken.Verdict {
        token.verdict(known: known, owner: Self.owner) { _ in running }
    }

    @Test("the first two lines are those of the real s3backer, and all lines come back")
    func body() {
        let token = token()
        let text = String(decoding: token.body, as: UTF8.self)
        #expect(text.hasPrefix("vm\n20261122T065520Z\nhost: vm\npid: 77\nboot: b1\n"))
        #expect(MountToken(header: "00000042", body: token.body) == token)
        #expect(token.facts.contains("host vm, process 77, since 2026-11-22 06:55:20 UTC"))
        #expect(token.facts.contains("0x00000042"))
    }

    @Test("tokens of other programs")
    func foreign() {
        let real = MountToken(header: "575897f7", body: Array("vm\n20261122T065520Z\n".utf8))
        #expect(real.owner == nil && real.value == 0x5758_97f7)
        #expect(verdict(real) == .foreign)
        #expect(verdict(real, known: 0x5758_97f7) == .ours)
        #expect(MountToken(header: nil, body: []).value == 1)
        #expect(MountToken(header: "zz", body: [0xff, 0, 10, 10]).value == 1)
    }

    @Test("only what cannot run any more is taken over")
    func verdicts() {
        #expect(verdict(token()) == .stale)
        #expect(verdict(token(), running: true) == .running)
        #expect(verdict(token { $0.bootID = "b0" }, running: true) == .stale)
        #expect(verdict(token { $0.host = "other" }) == .foreign)
        #expect(verdict(token { $0.machine = "m2" }) == .foreign)
        #expect(
            verdict(
                token {
                    $0.machine = "m2"
                    $0.bootID = "b0"
                }) == .foreign)
        // Another container: its process numbers say nothing here.
        #expect(verdict(token { $0.processSpace = "pid:[2]" }) == .foreign)
        #expect(verdict(token { $0.bootID = "" }) == .foreign)
        #expect(verdict(token { $0.host = "other" }, known: 0x42) == .ours)
        #expect(verdict(token { $0.host = "other" }, known: 0) == .foreign)
        // A process that runs is not taken over because the cache file knows its token.
        #expect(verdict(token(), known: 0x42, running: true) == .running)
    }

    @Test("the identity comes back as it was written")
    func identity() throws {
        let volume = VolumeObject(blockSize: 4096, size: 1 << 40)
        #expect(volume.uuid.count == 16 && volume.uuid[6] >> 4 == 4)
        #expect(try VolumeObject(volume.encoded()) == volume)
        let text = String(decoding: volume.encoded(), as: UTF8.self)
        #expect(text.contains("\"blockSize\" : 4096") && text.contains(volume.uuidText))
    }

    @Test(
        "what is no identity is refused",
        arguments: [
            "", "{}", "[1]",
            #"{"format":"s3backer-volume-2","uuid":"0","blockSize":1,"size":1}"#,
            #"{"format":"s3backer-volume-1","uuid":"0","blockSize":4096,"size":4096}"#,
            #"{"format":"s3backer-volume-1","uuid":"00112233-4455-4677-8899-aabbccddeeff","blockSize":4096,"size":4097}"#,
            #"{"format":"s3backer-volume-1","uuid":"00112233-4455-4677-8899-aabbccddeeff","blockSize":4096,"size":4096,"features":["x"]}"#,
        ])
    func badIdentity(text: String) {
        #expect(throws: VolumeObject.Invalid.self) { try VolumeObject(Array(text.utf8)) }
    }
}
