import S3IO
import Testing
import VolumeOptions

@testable import s3backer

@Suite struct StorageValidationTests {
    func storage(_ options: [String]) throws -> S3Storage {
        let arguments = ["bkt", "/tmp"] + options
        let parsed = try Options.read(Arguments.normalise(arguments))
        return try StorageValidation(parsed.storage).storage(accessType: "private")
    }

    func message(_ options: [String]) throws -> String {
        try #require(throws: StartupError.self) { try storage(options) }.message
    }

    @Test("storage class and encryption by the service")
    func good() throws {
        #expect(try storage([]) == S3Storage())
        #expect(try storage(["--storageClass=GLACIER"]).storageClass == "GLACIER")
        #expect(try storage(["-o", "rrs"]).storageClass == "REDUCED_REDUNDANCY")
        #expect(
            try storage(["--rrs", "--storageClass=STANDARD_IA"]).storageClass == "STANDARD_IA")
        #expect(try storage(["--sse=AES256"]).encryption == .aes256)
        let keyed = try storage(["--sse=aws:kms", "--sse-key-id=k"])
        #expect(keyed.encryption == .kms(keyID: "k"))
    }

    @Test("what is refused, with the option's name")
    func bad() throws {
        for name in ["standard", "GLACIER_IR", "", "X"] {
            #expect(try message(["--storageClass=\(name)"]).contains("--storageClass=\(name)"))
        }
        #expect(try message(["--sse=aes256"]).contains("AES256 or aws:kms"))
        #expect(try message(["--sse=aws:kms"]).contains("--sse-key-id"))
        #expect(try message(["--sse-key-id=k"]).contains("--sse-key-id"))
        #expect(try message(["--sse=AES256", "--sse-key-id=k"]).contains("--sse-key-id"))
        #expect(try message(["--sse=aws:kms", "--sse-key-id=a b"]).contains("--sse-key-id"))
    }

    @Test("blocks that cannot be read at once are announced")
    func archives() throws {
        for (name, count) in [("DEEP_ARCHIVE", 1), ("STANDARD", 0)] {
            let arguments = ["--storageClass=\(name)", "bkt", "/tmp"]
            let options = try Options.read(Arguments.normalise(arguments))
            #expect(StorageValidation(options.storage).notices.count == count)
        }
    }

    func job(_ arguments: [String]) throws -> Maintenance? {
        try Maintenance(
            Options.read(Arguments.normalise(arguments + ["--accessId=a", "--accessKey=b"])))
    }

    @Test("erasing and resetting need a bucket and no mount point")
    func maintenance() throws {
        #expect(try job(["bkt", "/tmp"]) == nil)
        let erase = try job(["--erase", "--blockHashPrefix", "bkt/a/b"])
        #expect(erase?.job == .erase(isDryRun: false) && erase?.isForced == false)
        #expect(erase?.prefix == "a/b/" && erase?.isHashed == true)
        let dry = try job(["-o", "erase,dry-run,force", "bkt"])
        #expect(dry?.job == .erase(isDryRun: true) && dry?.isForced == true)
        #expect(try job(["--reset-mounted-flag", "bkt"])?.job == .resetMountedFlag)
        for (arguments, word) in [
            (["--erase", "bkt", "/mnt"], "no mount point"), (["--erase"], "bucket is missing"),
            (["--erase", "--reset-mounted-flag", "bkt"], "give one"),
            (["--dry-run", "bkt", "/tmp"], "--erase"),
            (["--reset-mounted-flag", "--dry-run", "bkt"], "--erase"),
            (["--erase", "--test", "/tmp"], "--test"), (["--erase", "bkt/"], "invalid S3"),
            (["--erase", "--size=1", "--blockSize=4k", "bkt"], "--size=1"),
        ] {
            let error = try #require(throws: StartupError.self) { try job(arguments) }
            #expect(error.message.contains(word), "\(error.message)")
        }
    }
}
