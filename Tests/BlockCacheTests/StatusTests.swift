import BlockCache
import Testing

/// What the log and the statistics say of blocks that are not in the store.
@Suite("StatusTests")
struct StatusTests {
    private func lines(_ world: EngineWorld) -> [String] {
        world.lines.filter { $0.contains("dirty blocks") }
    }

    @Test("one line a minute while anything is dirty, with speed, age and what the store says")
    func everyMinute() throws {
        let world = try EngineWorld { $0.policy.statusIntervalMs = 60_000 }
        world.pass(ms: 120_000)
        #expect(lines(world) == [])
        world.isStoreDown = true
        for block in 0..<UInt64(4) { #expect(world.write(block, 1).isThere) }
        world.pass(ms: 59_000)
        #expect(lines(world) == [])
        world.pass(ms: 2000)
        #expect(
            lines(world) == [
                "4 dirty blocks (32 KiB) to upload, oldest 60 s, 0 bytes/s, "
                    + "the store has failed for 59 s: the store is down"
            ])
        world.pass(ms: 60_000)
        #expect(lines(world).count == 2)
        world.isStoreDown = false
        world.pass(ms: 40_000)
        #expect(world.objects.count == 4 && world.dirty.isNothing && world.dirty.failingMs == nil)
        world.pass(ms: 300_000)
        #expect(lines(world).count == 2)
    }

    @Test("the speed is that of the last half minute, and the time left follows from it")
    func speed() throws {
        let world = try EngineWorld {
            $0.policy.statusIntervalMs = 60_000
            $0.uploadsMax = 1
        }
        world.holdsUploads = true
        for block in 0..<UInt64(6) { _ = world.write(block, 1) }
        // A block of 8 KiB every two seconds.
        for _ in 0..<4 {
            world.pass(ms: 2000)
            world.answerUploads(1)
        }
        let report = world.dirty
        #expect(report.blocks == 2 && report.bytes == 16384)
        #expect((3900...4200).contains(report.bytesPerSecond), "\(report)")
        #expect(report.secondsLeft == 4 && report.oldestMs == 8000)
        world.pass(ms: 40_000)
        #expect(world.dirty.bytesPerSecond == 0 && world.dirty.secondsLeft == nil)
        #expect(world.dirty.oldestMs == 48_000)
    }

    @Test("of a store that takes nothing a few blocks are named, and again when it has taken one")
    func named() throws {
        let world = try EngineWorld { $0.failuresNamedMax = 3 }
        func named() -> [String] { world.lines.filter { $0.contains("not uploaded yet") } }
        world.isStoreDown = true
        for block in 0..<UInt64(6) { #expect(world.write(block, 1).isThere) }
        world.pass(ms: 60_000)
        #expect(world.dirty.blocks == 6 && named().count == 3)
        #expect(named().last?.hasSuffix("the store is down; \(Self.rest)") == true)
        #expect(named().count { $0.contains(Self.rest) } == 1)
        world.isStoreDown = false
        world.pass(ms: 60_000)
        #expect(world.dirty.isNothing && world.objects.count == 6)
        world.isStoreDown = true
        for block in 0..<UInt64(2) { #expect(world.write(block, 2).isThere) }
        world.pass(ms: 10_000)
        #expect(named().count == 5)
        world.isStoreDown = false
        world.pass(ms: 60_000)
        #expect(world.dirty.isNothing)
    }

    private static let rest = "further blocks are not named until the store takes one"

    @Test("a block keeps its age while it is tried again")
    func age() throws {
        let world = try EngineWorld()
        world.isStoreDown = true
        _ = world.write(1, 1)
        world.pass(ms: 100_000)
        _ = world.write(2, 1)
        world.pass(ms: 5000)
        #expect(world.dirty.oldestMs == 105_000)
    }

    @Test("while stopping a line comes every two seconds; a stop without uploads sends nothing")
    func stopping() throws {
        let world = try EngineWorld { $0.policy.statusIntervalMs = 60_000 }
        world.isStoreDown = true
        _ = world.write(1, 1)
        world.pass(ms: 1000)
        world.engine.beginStop()
        world.pass(ms: 6100)
        #expect(lines(world).count == 3)

        let other = try EngineWorld()
        _ = other.write(1, 1)
        other.engine.beginStop(uploads: false)
        other.pass(ms: 60_000)
        #expect(other.objects.isEmpty && other.engine.isAtRest && other.dirty.blocks == 1)
    }

    @Test(
        "amounts and times are short",
        arguments: [
            (0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"),
            (12_800, "12.5 KiB"), (204_800, "200 KiB"), (1 << 30, "1 GiB"), (3 << 39, "1.5 TiB"),
            (5 << 50, "5120 TiB"),
        ])
    func amounts(bytes: Int, text: String) {
        #expect(DirtyReport.text(bytes: bytes) == text)
    }

    @Test(
        "times are in the largest unit that says enough",
        arguments: [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h")])
    func times(seconds: Int, text: String) { #expect(DirtyReport.text(seconds: seconds) == text) }
}
