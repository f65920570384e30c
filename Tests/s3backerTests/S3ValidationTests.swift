import Foundation
import Glibc
import S3IO
import Testing
import VolumeOptions

@testable import s3backer

@Suite struct S3ValidationTests {
    let place: Playground

    init() throws { place = try Playground() }

    private func plan(
        _ words: [String], _ source: String, _ variables: [String: String]
    ) throws -> MountPlan {
        let line = words + [source, place.target]
        return try Validation.plan(
            Options.read(Arguments.normalise(line)), Environment(variables))
    }

    func plan(_ words: String..., source: String = "bkt") throws -> MountPlan {
        try plan(["--accessFile=\(place.file)"] + words, source, [:])
    }

    func bucket(_ words: String..., source: String = "bkt") throws -> S3Configuration {
        try bucket(["--accessFile=\(place.file)"] + words, source)
    }

    /// The environment decides where no option does.
    func bucket(
        _ words: [String], _ source: String = "bkt", variables: [String: String] = [:]
    ) throws -> S3Configuration {
        let plan = try plan(words, source, variables)
        guard case .bucket(let configuration) = plan.source else {
            throw StartupError("no bucket")
        }
        return configuration
    }

    func message(_ words: String..., source: String = "bkt") throws -> String {
        try #require(throws: StartupError.self) {
            try plan(["--accessFile=\(place.file)"] + words, source, [:])
        }.message
    }

    @Test("defaults are those of the real s3backer, but with https")
    func defaults() throws {
        let plan = try plan()
        #expect(plan.description == "https://s3.amazonaws.com/bkt/" && plan.prefix == "")
        let configuration = try bucket()
        #expect(configuration.credentials == nil && configuration.storage.accessType == "private")
        #expect(
            configuration.transport.timeoutMs == 30_000 && configuration.initialRetryPauseMs == 200)
        #expect(configuration.maxRetryPauseMs == 30_000)
        #expect(configuration.endpoint.region == "us-east-1")
    }

    @Test("the region chooses server and style")
    func region() throws {
        #expect(
            try plan("--region=eu-west-1").description == "https://bkt.s3.eu-west-1.amazonaws.com/")
        #expect(
            try plan("--region=eu-west-1", "--no-vhost").description
                == "https://s3.eu-west-1.amazonaws.com/bkt/")
        #expect(
            try plan("--region=us-east-1", "--ssl").description
                == "https://bkt.s3.amazonaws.com/")
        #expect(
            try plan("--vhost", "--baseURL=http://localhost:9/").description
                == "http://bkt.localhost:9/")
        #expect(try bucket("--region=eu-west-1").endpoint.region == "eu-west-1")
    }

    @Test("bucket/a/b is the prefix a/b/")
    func prefix() throws {
        let plan = try plan(source: "bkt/a/b")
        #expect(plan.prefix == "a/b/")
        let old = try self.plan("--prefix=a/b/")
        #expect(old.prefix == plan.prefix && old.source == plan.source)
        #expect(old.address.name == plan.address.name)
        #expect(try self.plan("--prefix=raw").prefix == "raw")
    }

    @Test("the binding does not depend on the way to the bucket")
    func binding() throws {
        let text = try plan("--prefix=x").address.name.text(blockSize: 4096)
        #expect(text.contains("\nbucket=bkt\nprefix=x\n"))
        let other = try plan("--prefix=x", "--vhost", "--baseURL=http://localhost:9/")
        #expect(other.address.name.text(blockSize: 4096) == text)
        #expect(try plan("--prefix=y").address.name.text(blockSize: 4096) != text)
    }

    @Test("the key comes from the options or from the access file")
    func credentials() throws {
        let fd = open(place.file, O_WRONLY | O_TRUNC)
        let text = Array("# x:y\nfirst:one\nsecond:two\n".utf8)
        #expect(write(fd, text, text.count) == text.count)
        close(fd)
        #expect(try bucket().credentials == Credentials(accessID: "first", accessKey: "one"))
        #expect(try bucket("--accessId=second").credentials?.accessKey == "two")
        #expect(try bucket("--accessId=second", "--accessKey=k").credentials?.accessKey == "k")
        #expect(try bucket("--accessId=").credentials == nil)
        #expect(try message("--accessId=third").hasPrefix("no \"accessKey\" for --accessId=third"))
    }

    @Test(
        "a wrong value is an error that names the option",
        arguments: [
            ("--baseURL=h/", "--baseURL=h/: must begin with http:// or https://"),
            ("--baseURL=http:///", "--baseURL=http:///: has no host"),
            ("--accessKey=k", "--accessKey is given without --accessId"),
            ("--accessType=x", "--accessType=x: must be one of private, "),
            ("--authVersion=aws3", "--authVersion=aws3: must be aws4 or aws2"),
            ("--accessKeyEnv=NO_SUCH", "--accessKeyEnv=NO_SUCH: the variable is not set"),
            ("--accessEC2IAM=", "--accessEC2IAM= needs the name of a role"),
            ("--accessEC2IAM-IMDSv2", "--accessEC2IAM-IMDSv2 needs a role"),
            ("--accessContainer", "--accessContainer: neither AWS_CONTAINER_CREDENTIALS_"),
            ("--cacert=/nowhere/x", "--cacert=/nowhere/x: No such file"),
            ("--ipTOS=256", "--ipTOS=256: must be a number from 0 to 255, or one of lowcost, "),
            ("--maxUploadSpeed=7", "--maxUploadSpeed=7: must be at least 8 bits"),
            ("--maxDownloadSpeed=1mb", "--maxDownloadSpeed=1mb: invalid size"),
            ("--timeout=0", "--timeout=0: must be a number from 1 to "),
            ("--maxRetryPause=100", "--initialRetryPause=200: must not be more than "),
            ("--accessFile=/nowhere/x", "--accessFile=/nowhere/x: "),
            ("--region=", "--region=: must be the name"),
        ])
    func wrongValue(word: String, start: String) throws {
        let message = try message(word)
        #expect(message.hasPrefix(start), "\(message)")
    }

    @Test("the key comes from the environment and its files, in this order, if no option gives it")
    func environment() throws {
        let home = place.path + "/home"
        defer { try? FileManager.default.removeItem(atPath: home) }
        try FileManager.default.createDirectory(
            atPath: home + "/.aws", withIntermediateDirectories: true)
        func write(_ name: String, _ text: String) throws {
            try text.write(toFile: home + "/" + name, atomically: true, encoding: .utf8)
        }
        var variables = ["HOME": home]
        func id(_ words: String...) throws -> String? {
            try bucket(words, variables: variables).credentials?.accessID
        }
        #expect(try id() == nil)
        try write(
            ".aws/credentials",
            "[default]\naws_access_key_id=shared\naws_secret_access_key=k\n"
                + "[two]\naws_access_key_id=other\naws_secret_access_key=k\n")
        #expect(try id() == "shared")
        variables["AWS_PROFILE"] = "two"
        #expect(try id() == "other")
        variables["AWS_ACCESS_KEY_ID"] = "variable"
        #expect(try id() == "other")
        variables["AWS_SECRET_ACCESS_KEY"] = "k"
        variables["AWS_SESSION_TOKEN"] = "t"
        #expect(try id() == "variable")
        #expect(try bucket([], variables: variables).credentials?.sessionToken == "t")
        variables["MY_KEY"] = "k"
        #expect(try id("--accessId=me", "--accessKeyEnv=MY_KEY") == "me")
        try write(".s3backer_passwd", "file:k\n")
        #expect(try id() == "file")
        #expect(try id("--accessId=variable") == "variable")
        #expect(try id("--accessId=other") == "other")
        #expect(throws: StartupError.self) { try id("--accessId=nobody") }
        #expect(try id("--accessId=me", "--accessKey=k") == "me")
        #expect(try id("--accessId=") == nil)
        variables["AWS_SECRET_ACCESS_KEY"] = "with blank"
        #expect(throws: StartupError.self) { try id("--accessId=variable") }
        variables["AWS_ACCESS_KEY_ID"] = nil
        variables["AWS_PROFILE"] = "none"
        #expect(throws: StartupError.self) { try id("--accessId=x") }
    }

    @Test("services give the key only if an option asks for it")
    func services() throws {
        let variables = [
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "t",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9/",
        ]
        #expect(try bucket([], variables: variables).credentialsService == nil)
        let container = try bucket(["--accessContainer"], variables: variables)
        #expect(
            container.credentialsService
                == .container(
                    url: "http://169.254.170.2/v2/x", authorization: "t", authorizationFile: nil))
        let instance = try bucket(
            ["--accessEC2IAM=r", "--accessEC2IAM-IMDSv2"], variables: variables)
        #expect(
            instance.credentialsService
                == .instance(role: "r", endpoint: "http://127.0.0.1:9", usesSession: true))
        #expect(
            try bucket(["--accessEC2IAM=r"]).credentialsService
                == .instance(role: "r", endpoint: "http://169.254.169.254", usesSession: false))
        for words in [
            ["--accessEC2IAM=r", "--accessContainer"], ["--accessEC2IAM=r", "--accessId=i"],
        ] {
            #expect(throws: StartupError.self) { try bucket(words, variables: variables) }
        }
    }

    @Test(
        "a container's service is asked with TLS, or where nobody else can listen",
        arguments: [
            ("https://anywhere.test/x", true), ("http://127.0.0.1:80/x", true),
            ("http://127.9.9.9", true), ("http://localhost/x", true), ("http://[::1]:80/x", true),
            ("http://169.254.170.2/x", true), ("http://169.254.170.23/v1/x", true),
            ("http://[fd00:ec2::23]/v1/x", true), ("http://anywhere.test/x", false),
            ("http://127.0.0.1.test/x", false), ("http://127.0.0.1:x@anywhere.test/", false),
            ("http://localhost:80@anywhere.test/", false), ("http://128.0.0.1/", false),
            ("http://[::2]/", false), ("http://[::1]x/", false), ("http:///", false),
            ("http://anywhere.test?@127.0.0.1/", false), ("ftp://127.0.0.1/", false),
        ])
    func containerURL(url: String, isFine: Bool) throws {
        let name = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
        func service() throws -> CredentialsService? {
            try bucket(["--accessContainer"], variables: [name: url]).credentialsService
        }
        if isFine {
            #expect(
                try service()
                    == .container(url: url, authorization: nil, authorizationFile: nil))
        } else {
            let error = try #require(throws: StartupError.self) { try service() }
            #expect(error.message.hasPrefix("\(name)=\(url): "))
            #expect(error.message.contains("https://"))
        }
    }

    @Test("a relative URI of a container is a path, and cannot name another host")
    func containerPath() throws {
        let name = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
        for path in ["@anywhere.test/", ".test/", "v2/x"] {
            let error = try #require(throws: StartupError.self) {
                try bucket(["--accessContainer"], variables: [name: path])
            }
            #expect(error.message == "\(name)=\(path): must be a path, /...")
        }
    }

    @Test("how connections are made")
    func transport() throws {
        let plain = try bucket().transport
        #expect(plain == TransportOptions())
        let all = try bucket(
            "--insecure", "--http11", "--noCurlCache", "--ipTOS=LowDelay", "--maxUploadSpeed=8m",
            "--maxDownloadSpeed=800", "--timeout=7", "--cacert=\(place.file)"
        ).transport
        #expect(all.isInsecure && !all.keepsConnections && all.typeOfService == 0x10)
        #expect(all.uploadSpeedMax == 1 << 20 && all.downloadSpeedMax == 100)
        #expect(all.timeoutMs == 7000 && all.authoritiesFile == place.file)
        #expect(try bucket("--ipTOS=0xb8").transport.typeOfService == 0xb8)
    }

    @Test("contradictions are errors")
    func contradictions() throws {
        #expect(
            try message("--accessId=a", "--accessKey=k", "--accessKeyEnv=E").contains("not both"))
        #expect(try message("--accessId=", "--accessKey=k").contains("anonymous"))
        #expect(try message("--vhost", "--no-vhost").contains("contradict"))
        #expect(try message("--ssl", "--baseURL=http://h/").contains("leave out --ssl"))
        #expect(try message("--prefix=x", source: "bkt/a").contains("give one of the two"))
        for source in ["bkt/", "/bkt", "bkt//a", "bkt/a/"] {
            #expect(try message(source: source).hasPrefix("invalid S3 bucket/prefix "))
        }
    }

    @Test("sizes come from the bucket, must agree with those given, or are overridden")
    func sizes() throws {
        let known = SizeRequest.Known(blockSize: 8192, size: 81920, source: "S")
        let plain = try plan().sizes.settle(known)
        #expect(plain.blockSize == 8192 && plain.blockCount == 10 && plain.cacheSlots == 10)
        #expect(throws: StartupError.self) { try plan().sizes.settle(nil) }
        #expect(try plan("--size=1m").sizes.settle(nil).blockSize == 4096)
        let other = try plan("--size=1m")
        let error = try #require(throws: StartupError.self) { try other.sizes.settle(known) }
        #expect(error.message.hasPrefix("--size=1m: S has 80k; "))
        let forced = try plan("--size=1m", "--force").sizes.settle(known)
        #expect(forced.blockCount == 128 && forced.notices.count == 1)
        #expect(throws: StartupError.self) { try plan("--blockSize=4k").sizes.settle(known) }
        let odd = SizeRequest.Known(blockSize: 512, size: 1 << 20, source: "S")
        #expect(throws: StartupError.self) { try plan().sizes.settle(odd) }
    }
}
