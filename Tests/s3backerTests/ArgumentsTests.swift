import Testing
import VolumeOptions

@testable import s3backer

@Suite struct ArgumentsTests {
    func normalised(_ arguments: String...) throws -> [String] {
        try Arguments.normalise(arguments)
    }

    @Test("-o words become options, in all three spellings")
    func spellings() throws {
        let expected = ["--test", "--size=1m", "--", "dir", "mnt"]
        #expect(try normalised("-o", "test,size=1m", "dir", "mnt") == expected)
        #expect(try normalised("-otest,size=1m", "dir", "mnt") == expected)
        #expect(try normalised("-o", "test", "dir", "-osize=1m", "mnt") == expected)
        #expect(try normalised("dir", "--test", "mnt", "--size=1m") == expected)
    }

    @Test("a value may follow its option as the next argument")
    func separateValue() throws {
        #expect(try normalised("--size", "1m", "dir") == ["--size=1m", "--", "dir"])
    }

    @Test("the last occurrence wins, whichever way it is written")
    func lastWins() throws {
        #expect(
            try normalised("--size=1m", "-o", "size=2m,prefix=a", "--size=3m")
                == ["--prefix=a", "--size=3m", "--"])
        #expect(try normalised("-o", "ro", "-o", "rw") == ["--"])
        #expect(try normalised("-o", "rw,ro") == ["--readOnly", "--"])
    }

    @Test("some options need no value, and take none from what follows")
    func optionalValues() throws {
        #expect(
            try normalised("--compress", "--encrypt", "bkt", "mnt")
                == ["--compress", "", "--encrypt", "", "--", "bkt", "mnt"])
        #expect(
            try normalised("-o", "compress,encrypt=AES-256-CBC", "--compress=zstd", "bkt")
                == ["--encrypt=AES-256-CBC", "--compress=zstd", "--", "bkt"])
        #expect(try normalised("-ocompress-level=-1") == ["--compress-level=-1", "--"])
    }

    @Test("empty values and values with an equals sign are kept")
    func oddValues() throws {
        #expect(
            try normalised("--statsFilename=", "-o", "prefix=a=b")
                == ["--statsFilename", "", "--prefix=a=b", "--"])
    }

    @Test("a backslash keeps a comma inside a word")
    func escapedComma() throws {
        #expect(try normalised("-o", #"prefix=a\,b,ro"#) == ["--prefix=a,b", "--readOnly", "--"])
    }

    @Test("words of fstab that mean nothing here are swallowed")
    func swallowed() throws {
        #expect(
            try normalised(
                "-o",
                "_netdev,auto,noauto,defaults,user,users,nofail,x-systemd.automount,rw,"
                    + "x-systemd.requires=network.target,comment=hello,relatime,kernel_cache,,")
                == ["--"])
    }

    @Test("words that libfuse understands are passed on")
    func forwarded() throws {
        #expect(
            try normalised("-o", "allow_other,noatime,dev,fsname=x")
                == ["--fuse=allow_other", "--fuse=noatime", "--fuse=dev", "--fuse=fsname=x", "--"])
    }

    @Test("the source loses the prefix of old fstab lines, the mount point does not")
    func fstabSource() throws {
        #expect(
            try normalised("s3backer#dir", "s3backer#mnt") == ["--", "dir", "s3backer#mnt"])
    }

    @Test("after -- nothing is an option")
    func terminator() throws {
        #expect(
            try normalised("--test", "--", "-f", "--size=1")
                == ["--test", "--", "-f", "--size=1"])
    }

    @Test("short options may be joined")
    func short() throws {
        #expect(try normalised("-fd") == ["--foreground", "-d", "--"])
        #expect(try normalised("-?") == ["--help", "--"])
        #expect(try normalised("-v") == ["--version", "--"])
    }

    @Test(
        "unknown words are errors that name the word and what comes near",
        arguments: [
            (["--siez=1m"], "unknown option --siez; did you mean --size?"),
            (["--blocksize=1"], "unknown option --blocksize; did you mean --blockSize?"),
            (["-o", "alow_other"], "unknown option -o alow_other; did you mean -o allow_other?"),
            (["-o", "zzzzzzzz"], "unknown option -o zzzzzzzz; see s3backer --help"),
            (["-x"], "unknown option -x; see s3backer --help"),
            (["-o"], "-o needs a value: -o name=value,..."),
            (["--size"], "--size needs a value: --size=VALUE"),
            (["-o", "size"], "-o size needs a value: --size=VALUE"),
            (["--test=1"], "--test=1: --test takes no value"),
            (
                ["--nbd"],
                "option --nbd is not supported yet by this build; leave it out"
            ),
        ] as [([String], String)])
    func unknown(arguments: [String], message: String) {
        #expect(throws: StartupError(message)) { try Arguments.normalise(arguments) }
    }

    @Test("every option of the tables is an option of the parser")
    func tablesAgree() throws {
        let flags = KnownOptions.flags.subtracting(["help", "version"])
        let values = KnownOptions.values.union(KnownOptions.optionalValues)
        let line = flags.map { "--" + $0 } + values.map { "--\($0)=1" }
        _ = try Options.parse(line)
        #expect(KnownOptions.missing.isDisjoint(with: flags))
        #expect(KnownOptions.missing.isDisjoint(with: values))
    }
}
