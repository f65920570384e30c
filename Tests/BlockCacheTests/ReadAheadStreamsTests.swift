import BlockCache
import Testing

/// Which blocks are wanted ahead of which reads.
@Suite struct ReadAheadStreamsTests {
    private static let share = 1000

    private func make(
        blocks: UInt64 = 10_000, most: Int = 64, trigger: Int = 2
    ) -> ReadAheadStreams {
        ReadAheadStreams(volumeBlocks: blocks, windowMax: most, trigger: trigger)
    }

    /// Everything wanted now.
    private func wanted(_ streams: inout ReadAheadStreams, share: Int = Self.share) -> [UInt64] {
        var found: [UInt64] = []
        while let next = streams.next(share: share), found.count < 10_000 {
            found.append(next)
            streams.pass(share: share)
        }
        return found
    }

    @Test("so many blocks in a row as the trigger says start a stream", arguments: 1...5)
    func trigger(_ trigger: Int) {
        var streams = make(trigger: trigger)
        for block in 0..<UInt64(trigger) {
            #expect(wanted(&streams) == [])
            _ = streams.read(100 + block)
        }
        let end = 100 + UInt64(trigger)
        #expect(wanted(&streams) == Array(end..<end + 4))
    }

    @Test("nothing is wanted with a window or a trigger of 0")
    func off() {
        for (most, trigger) in [(0, 2), (64, 0)] {
            var streams = make(most: most, trigger: trigger)
            for block in 0..<UInt64(20) { #expect(streams.read(block).left == nil) }
            #expect(wanted(&streams) == [])
        }
    }

    @Test("each block that is used makes the window larger, up to the most", arguments: [1, 4, 9])
    func growth(_ most: Int) {
        var streams = make(most: most)
        var seen: Set<UInt64> = []
        for block in 0..<UInt64(200) {
            _ = streams.read(block)
            for ahead in wanted(&streams) {
                #expect(seen.insert(ahead).inserted, "no block twice")
                #expect(ahead > block && ahead <= block + UInt64(most))
            }
        }
        #expect(streams.streams.map(\.window) == [most])
        #expect(seen == Set(2..<200 + UInt64(most)))
    }

    @Test("the end of the device ends a stream")
    func end() {
        var streams = make(blocks: 102)
        for block in UInt64(90)..<102 {
            _ = streams.read(block)
            #expect(wanted(&streams).allSatisfy { $0 < 102 })
        }
        #expect(streams.next(share: Self.share) == nil)
    }

    @Test("several streams, between random reads, in any order within their windows")
    func several() {
        var streams = make(blocks: 1 << 40)
        var seen: Set<UInt64> = []
        for step in stride(from: UInt64(0), to: 300, by: 2) {
            for stream in 0..<UInt64(8) {
                let at = stream << 20 + step
                // A pair that is read together comes the wrong way round once they are known.
                for block in step < 10 ? [at, at + 1] : [at + 1, at] { _ = streams.read(block) }
                _ = streams.read(1 << 30 + (step * 8 + stream) * 1000)
                seen.formUnion(wanted(&streams))
            }
        }
        for stream in 0..<UInt64(8) {
            #expect(seen.isSuperset(of: (stream << 20 + 2)..<(stream << 20 + 300)))
        }
        #expect(seen.allSatisfy { $0 < 1 << 24 }, "nothing ahead of random reads")
        #expect(streams.streams.count <= 16)
    }

    @Test("a lost block halves the window, and the stream rests until its reader goes on")
    func lost() {
        var streams = make()
        for block in 0..<UInt64(100) {
            _ = streams.read(block)
            _ = wanted(&streams)
        }
        streams.lost(120)
        #expect(streams.streams.map(\.window) == [32])
        streams.lost(130)
        #expect(streams.streams.map(\.window) == [32], "what lies behind a lost one is no news")
        #expect(wanted(&streams) == [])
        _ = streams.read(100)
        #expect(wanted(&streams).first == 120)
    }

    @Test("all streams together are ahead by their share, and the hungriest goes first")
    func sharing() {
        var streams = make()
        for block in 0..<UInt64(100) {
            for stream in 0..<UInt64(4) { _ = streams.read(stream << 11 + block) }
            _ = wanted(&streams, share: 40)
        }
        for stream in streams.streams { #expect(stream.ahead - stream.last - 1 == 10) }
        _ = streams.read(3 << 11 + 105)
        #expect(streams.next(share: 40) == 3 << 11 + 110)
    }
}
