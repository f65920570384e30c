import CacheFile
import Journal

/// Inputs that the fuzzer begins with, besides those that once were finds: Tests/Fuzz/NAME.seeds.
package enum FuzzSeeds {
    package struct Seed {
        package let target: String
        package let name: String
        package let bytes: [UInt8]
    }

    package static func make() throws -> [Seed] {
        try records() + images() + texts()
    }

    /// One record of each kind and flags, as it lies in a journal; the first byte says for which
    /// block size it is read.
    private static func records() throws -> [Seed] {
        let recovered = try Recovery.run(MemoryFile(GoldenImages.make("full")))
        var found: [String: Seed] = [:]
        for raw in recovered.scan.accepted.flatMap(\.records) {
            var bytes: [UInt8] = [1]
            raw.append(to: &bytes)
            let name = "type\(raw.type)-flags\(raw.flags)"
            found[name] = Seed(target: "Records", name: name, bytes: bytes)
        }
        return found.values.sorted { $0.name < $1.name }
    }

    /// Each base image as it is and with the checksums made anew, and one change of a field of each
    /// size in the first place and in the last.
    private static func images() -> [Seed] {
        var seeds: [Seed] = []
        for choice in UInt8(0)..<8 {
            for (name, change) in [
                ("plain", []), ("first", [0, 64, 0, 7, 1, 0, 0, 0, 0, 0, 0, 0]),
                ("last", [255, 0, 16, 3, 1, 2, 3, 4]),
            ] as [(String, [UInt8])] {
                for target in ["CacheImage", "Directory", "Ring"] {
                    seeds.append(
                        Seed(
                            target: target, name: "\(choice)-\(name)", bytes: [choice] + change))
                }
                let size: [UInt8] = [0, 0, 0, 16, 0, 0]
                seeds.append(
                    Seed(
                        target: "Superblock", name: "\(choice)-\(name)",
                        bytes: [choice] + size + change))
            }
        }
        return seeds
    }

    private static func texts() -> [Seed] {
        let xml =
            "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>a &lt;b</Message>"
            + "<Region>eu-west-1</Region></Error>"
        let token =
            "host\n20260101T000000Z\nhost: host\npid: 4711\nboot: b\nsession: s\n"
            + "start: 1\nspace: p\nmachine: m\n"
        let identity =
            "{\"blockSize\":4096,\"features\":[],\"format\":\"s3backer-volume-1\","
            + "\"size\":8192,\"uuid\":\"00112233-4455-4677-8899-aabbccddeeff\"}"
        let digest = String(repeating: "0123456789abcdef", count: 2)
        let list =
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/00000001</Key>"
            + "<ETag>&quot;t&quot;</ETag><Size>1</Size></Contents></ListBucketResult>"
        let replies: [(String, UInt8, String)] = [
            ("list", 4, list), ("name", 0x25, "p/p/00000001"),
            ("name-hash", 5, "d211cad9-00000001"),
            ("range", 5, "bytes 0-511/4096"), ("encoded", 5, "a%20b+c"),
            ("xml", 0, xml), ("token", 1, token), ("token-value", 0x81, "0000002a" + token),
            ("identity", 2, identity), ("tag-md5", 3, digest), ("tag-parts", 3, digest + "-17"),
            ("tag-text", 3, "W/abc"), ("tag-long", 3, digest + digest),
        ]
        return replies.map {
            Seed(target: "Replies", name: $0.0, bytes: [$0.1] + Array($0.2.utf8))
        }
            + [("block", 0), ("leftover", 64), ("old-leftover", 192)].map {
                Seed(
                    target: "DirectoryStore", name: $0.0,
                    bytes: [$0.1] + Array((0..<38).map { UInt8(97 + $0 % 26) }))
            }
    }
}
