import Foundation
import MountSupport
import TestSupport
import Testing

/// Sequential reads of a mount whose cache is empty.
@Suite("ReadAheadMountTests", .serialized, .enabled(if: canMount, mountReason))
struct ReadAheadMountTests {
    @Test("the blocks after a sequential read are fetched ahead, unless that is turned off")
    func ahead() throws {
        let daemon = try MountedDaemon("ahead")
        defer { daemon.remove() }
        let options = [
            "--size=8m", "--blockSize=64k", "--blockCacheSize=128",
            "--blockCacheFile=\(daemon.cache)",
        ]
        try daemon.start(options)
        let bytes = (0..<8 << 20).map { UInt8(truncatingIfNeeded: $0 / 4096 * 7 + 1) }
        try daemon.write(bytes, at: 0)
        #expect(try daemon.unmount() == 0)
        for (words, isAhead) in [([], true), (["--readAhead=3"], true), (["--readAhead=0"], false)]
        {
            try FileManager.default.removeItem(atPath: daemon.cache)
            try daemon.start(options + words)
            #expect(try daemon.read() == bytes)
            #expect((daemon.statistic("cache_file_read_ahead") ?? -1 > 0) == isAhead)
            // Each block once, and nothing beyond the end.
            #expect(daemon.statistic("http_normal_blocks_read") == 128)
            #expect(daemon.statistic("http_other_error") == 0)
            #expect(try daemon.unmount() == 0)
        }
    }
}
