import Testing
import VolumeOptions

@testable import s3backer

@Suite struct SizeGrammarTests {
    @Test(
        "numbers, suffixes in either case, zero",
        arguments: [
            ("0", 0), ("1", 1), ("1048576", 1_048_576), ("4k", 4096), ("4K", 4096),
            ("64m", 64 << 20), ("1G", 1 << 30), ("2t", 2 << 40), ("3p", 3 << 50),
            ("7e", 7 << 60), ("007k", 7168), ("0y", 0),
        ] as [(String, UInt64)])
    func valid(text: String, bytes: UInt64) throws {
        #expect(try SizeGrammar.parse(text) == bytes)
    }

    @Test(
        "no number, two letters, signs, blanks, fractions and others are malformed",
        arguments: ["", "k", "1mb", "1kk", "-1", "+1", " 1", "1 ", "1.5g", "0x10", "1x", "k1"])
    func malformed(text: String) {
        #expect(throws: SizeGrammar.Failure.malformed) { try SizeGrammar.parse(text) }
    }

    @Test(
        "what does not fit is too big, not truncated",
        arguments: [
            "8e", "9223372036854775808", "18446744073709551616", "9007199254740992k", "1z", "1y",
            "99999999999999999999999999k",
        ])
    func tooBig(text: String) {
        #expect(throws: SizeGrammar.Failure.tooBig) { try SizeGrammar.parse(text) }
    }

    @Test("the largest size is read")
    func largest() throws {
        #expect(try SizeGrammar.parse("9223372036854775807") == UInt64(Int64.max))
    }

    @Test(
        "sizes are written with the largest suffix that divides them",
        arguments: [
            (0, "0"), (1, "1"), (1000, "1000"), (1024, "1k"), (1 << 20, "1m"),
            (65536, "64k"), (3 << 30, "3g"), ((1 << 30) + 1024, "1048577k"), (1 << 60, "1e"),
        ] as [(UInt64, String)])
    func written(bytes: UInt64, text: String) throws {
        #expect(SizeGrammar.text(bytes) == text)
        #expect(try SizeGrammar.parse(text) == bytes)
    }
}
