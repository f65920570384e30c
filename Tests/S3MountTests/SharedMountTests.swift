import Foundation
import MountSupport
import S3TestServers
import TestSupport
import Testing

/// Several mounts of one volume at a time (`--sharedDiskMode`).
@Suite("S3SharedMountTests", .serialized, .enabled(if: canMount, mountReason))
struct SharedMountTests {
    private static let sizes = ["--blockSize=16k", "--size=256k"]

    @Test("what one mount writes the other reads at once; nobody else may mount meanwhile")
    func shared() throws {
        let server = try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let hosts = [try MountedDaemon("one"), try MountedDaemon("two")]
        defer { for host in hosts { host.remove() } }
        let options = server.options + ["--sharedDiskMode"]
        try hosts[0].start(options + Self.sizes, "bkt")
        try hosts[1].start(options, "bkt")
        var image = [UInt8](repeating: 0, count: 256 << 10)
        for number in 0..<24 {
            let value = UInt8(number + 1)
            // Some in part of a block, some across blocks.
            let range = number * 7000..<number * 7000 + 9000
            let bytes = [UInt8](repeating: value, count: range.count)
            try hosts[number % 2].write(bytes, at: range.lowerBound)
            image.replaceSubrange(range, with: bytes)
            #expect(try hosts[1 - number % 2].read() == image, "write \(number)")
        }
        let token = try server.request("HEAD", "bkt/s3backer-mounted")
        #expect(token.status == 200)
        #expect(token.headers["x-amz-meta-s3backer-mount-token"] == "7fffffff")
        let other = try MountedDaemon("other")
        defer { other.remove() }
        let refusal = try other.refused(server.options, "bkt")
        #expect(refusal.contains("in shared disk mode") && refusal.contains("--reset-mounted-flag"))
        #expect(try hosts[0].unmount() == 0)
        // The other one goes on, and keeps those away who want it for themselves.
        try hosts[1].write([9, 9], at: 5)
        image.replaceSubrange(5..<7, with: [9, 9])
        #expect(try other.refused(server.options, "bkt").contains("in shared disk mode"))
        #expect(try hosts[1].unmount() == 0)
        #expect(hosts[0].log.contains("stays marked as mounted in shared disk mode"))
        try other.start(server.options + ["--force"], "bkt")
        #expect(try other.read() == image)
        // And the other way round.
        #expect(try hosts[0].refused(options, "bkt").contains("appears to be mounted already"))
        #expect(try other.unmount() == 0)
    }
}
