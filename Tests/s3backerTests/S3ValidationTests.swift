import Glibc
import S3IO
import Testing

@testable import s3backer

@Suite struct S3ValidationTests {
    let place: Playground

    init() throws { place = try Playground() }

    func plan(_ words: String..., source: String = "bkt") throws -> MountPlan {
        let access = "--accessFile=\(place.file)"
        let line = [access] + words + [source, place.target]
        return try Validation.plan(Options.read(Arguments.normalise(line)))
    }

    func bucket(_ words: String..., source: String = "bkt") throws -> S3Configuration {
        let access = "--accessFile=\(place.file)"
        let line = [access] + words + [source, place.target]
        let plan = try Validation.plan(Options.read(Arguments.normalise(line)))
        guard case .bucket(let configuration) = plan.source else {
            throw StartupError("no bucket")
        }
        return configuration
    }

    func message(_ words: String..., source: String = "bkt") throws -> String {
        let access = "--accessFile=\(place.file)"
        let line = [access] + words + [source, place.target]
        return try #require(throws: StartupError.self) {
            try Validation.plan(Options.read(Arguments.normalise(line)))
        }.message
    }

    @Test("defaults are those of the real s3backer, but with https")
    func defaults() throws {
        let plan = try plan()
        #expect(plan.description == "https://s3.amazonaws.com/bkt/" && plan.prefix == "")
        let configuration = try bucket()
        #expect(configuration.credentials == nil && configuration.accessType == "private")
        #expect(configuration.timeoutMs == 30_000 && configuration.initialRetryPauseMs == 200)
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
        #expect(CacheOpening.bindingText(old) == CacheOpening.bindingText(plan))
        #expect(try self.plan("--prefix=raw").prefix == "raw")
    }

    @Test("the binding does not depend on the way to the bucket")
    func binding() throws {
        let text = CacheOpening.bindingText(try plan("--prefix=x"))
        #expect(text.contains("\nbucket=bkt\nprefix=x\n"))
        let other = try plan("--prefix=x", "--vhost", "--baseURL=http://localhost:9/")
        #expect(CacheOpening.bindingText(other) == text)
        #expect(CacheOpening.bindingText(try plan("--prefix=y")) != text)
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
            ("--authVersion=aws2", "--authVersion=aws2: only aws4 "),
            ("--timeout=0", "--timeout=0: must be a number from 1 to "),
            ("--maxRetryPause=100", "--initialRetryPause=200: must not be more than "),
            ("--accessFile=/nowhere/x", "--accessFile=/nowhere/x: "),
            ("--region=", "--region=: must be the name"),
        ])
    func wrongValue(word: String, start: String) throws {
        let message = try message(word)
        #expect(message.hasPrefix(start), "\(message)")
    }

    @Test("contradictions are errors")
    func contradictions() throws {
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
