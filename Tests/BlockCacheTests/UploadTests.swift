import BlockCache
import BlockStore
import CacheFile
import Foundation
import Synchronization
import TestSupport
import Testing

/// What becomes of uploads, with a real store and a real cache file.
@Suite("UploadTests", .serialized)
struct UploadTests {
    private static let size = TestVolume.blockSize

    private func block(_ byte: UInt8) -> [UInt8] { [UInt8](repeating: byte, count: Self.size) }

    private func overwrite(_ volume: TestVolume, _ bytes: [UInt8]) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: volume.root + "/store/00000003"))
    }

    private func uploaded(_ volume: TestVolume) throws {
        try waitFor("the upload") { volume.statistics.dirtyBlocks == 0 }
    }

    @Test("a block that somebody else changed too is kept, read, and never uploaded")
    func conflict() throws {
        let volume = try TestVolume("conflict")
        try volume.start()
        var access = try volume.access()
        let at = 3 * Self.size
        try access.write(block(1), at: at)
        try uploaded(volume)
        volume.store.set { $0.failsWrites = true }
        try access.write(Array(block(2)[..<5000]), at: at)
        try overwrite(volume, block(7))
        volume.store.set { $0.failsWrites = false }
        try waitFor("the conflict") { volume.statistics.conflictBlocks == 1 }
        let local = block(2)[..<5000] + block(1)[5000...]
        #expect(try access.read(at: at, count: Self.size) == Array(local))
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        #expect(volume.stored(3) == block(7))

        try volume.start()
        access = try volume.access()
        #expect(volume.statistics.conflictBlocks == 1)
        #expect(try access.read(at: at, count: Self.size) == Array(local))
        try access.write(block(5), at: at)
        try access.sync()
        #expect(try access.read(at: at, count: Self.size) == block(5))
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        #expect(volume.stored(3) == block(7))
        let found = try CacheFiles.inspect(volume.root + "/cache")
        #expect(found.conflictBlocks == 1)
        #expect(found.findings.contains { $0.code == "S3_CONFLICT" })

        // Who is told that a write is in the store must not be told so of this one.
        try volume.start { $0.policy.isSynchronous = true }
        access = try volume.access()
        #expect(throws: VolumeError.self) { try access.write(block(6), at: at) }
        try access.write(block(6), at: 0)
        #expect(volume.stored(0) == block(6) && volume.stored(3) == block(7))
        _ = try volume.stop()
    }

    @Test("a conflict that is resolved is no success for an fsync, and outlives a failing store")
    func resolved() throws {
        let volume = try TestVolume("resolved")
        try volume.start {
            $0.policy.fsync = .remote
            $0.conflictPolicy = .local
        }
        let access = try volume.access()
        let at = 3 * Self.size
        try access.write(block(1), at: at)
        try uploaded(volume)
        volume.store.set { $0.failsWrites = true }
        try access.write(block(2), at: at)
        try overwrite(volume, block(7))
        let synced = access.beginSync()
        // The one who looks at what is there now is failed, and asks again.
        volume.store.set {
            $0.failsWrites = false
            $0.failsReads = true
        }
        let failures = volume.store.failures.load(ordering: .relaxed)
        try waitFor("failures") { volume.store.failures.load(ordering: .relaxed) > failures + 1 }
        volume.store.set { $0.failsReads = false }
        #expect(try synced() != nil)
        try waitFor("the resolution") { volume.stored(3) == block(2) }
        try waitFor("the end of the conflict") { volume.statistics.conflictBlocks == 0 }
        try access.sync()
        #expect(volume.stored(3) == block(2))
        _ = try volume.stop()
    }

    @Test("a block changed elsewhere since the last mount, and then written here, is a conflict")
    func changedBetweenMounts() throws {
        let volume = try TestVolume("between")
        try volume.start()
        let at = 3 * Self.size
        try volume.access().write(block(1), at: at)
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        try overwrite(volume, block(7))
        try volume.start()
        // Nobody has read it, so it was not compared.
        try volume.access().write(block(2), at: at)
        try waitFor("the conflict") { volume.statistics.conflictBlocks == 1 }
        #expect(try volume.stop().dirtyBlocksLeft == 0)
        #expect(volume.stored(3) == block(7))
    }

    @Test("an upload whose answer was lost is known again, in this session and in the next")
    func lostAnswer() throws {
        let volume = try TestVolume("lost")
        for isRestarted in [false, true] {
            try volume.start()
            let before = volume.store.puts.load(ordering: .relaxed)
            volume.store.set { $0.losesAnswers = true }
            let content = block(isRestarted ? 9 : 8)
            try volume.access().write(content, at: 3 * Self.size)
            try waitFor("the lost answer") {
                volume.store.puts.load(ordering: .relaxed) > before
            }
            if isRestarted {
                #expect(try volume.stop(timeoutMs: 0).dirtyBlocksLeft == 1)
                volume.store.set { $0.losesAnswers = false }
                try volume.start()
            }
            volume.store.set { $0.losesAnswers = false }
            try uploaded(volume)
            #expect(volume.statistics.conflictBlocks == 0)
            #expect(volume.store.puts.load(ordering: .relaxed) == before + 1)
            #expect(try volume.stop().dirtyBlocksLeft == 0)
            #expect(volume.stored(3) == content)
        }
    }

    @Test("a version survives as a base, whatever its tag looks like")
    func versions() {
        let digest = "0123456789abcdef0123456789abcdef"
        let kept: [(String, Base.Kind)] = [
            (digest, .md5), (digest + "-17", .multipart), (digest.uppercased(), .hashed),
            (digest + "-017", .hashed), (digest + "-", .hashed), ("tag", .text), ("", .text),
            ("twenty-four-characters-xx", .hashed), ("twenty-four-characters-x", .text),
        ]
        for (text, kind) in kept {
            let base = Base(.tag(text))
            #expect(base.kind == kind, "\(text)")
            if kind != .hashed { #expect(ObjectVersion(base) == .tag(text)) }
        }
        #expect(ObjectVersion(Base(.absent)) == .absent)
        #expect(ObjectVersion(.unknown) == nil)
    }
}
