/// Reads that follow each other, and how far ahead of each it is worth reading.
///
/// A few at a time: those that have just begun and those that go on have places of their own, so
/// that random reads beside a long one do not make it forgotten.
package struct ReadAheadStreams {
    package struct Stream {
        /// The last block read.
        package fileprivate(set) var last: UInt64
        /// The first block that has not been looked at: those between are here, or on their way.
        package fileprivate(set) var ahead: UInt64
        /// How many blocks after the last one read are wanted; 0: it has only just begun.
        package fileprivate(set) var window = 0
        /// Blocks read one after the other.
        fileprivate var run = 1
        fileprivate var usedAt: UInt64
        /// A block was lost: nothing is wanted until its reader goes on.
        fileprivate var isResting = false

        fileprivate var isGoing: Bool { window > 0 }
    }

    private let volumeBlocks: UInt64
    private let trigger: Int
    /// Largest window; 0: nothing is read ahead.
    package let windowMax: Int
    package private(set) var streams: [Stream] = []
    /// Counts what streams read.
    private var clock: UInt64 = 0

    private static let firstWindow = 4
    private static let beginningMax = 4
    private static let goingMax = 12
    /// A stream is given up when others have read so much meanwhile.
    private static let idleMax = 1024

    package init(volumeBlocks: UInt64, windowMax: Int, trigger: Int) {
        self.volumeBlocks = volumeBlocks
        self.trigger = trigger
        self.windowMax = trigger > 0 ? windowMax : 0
    }

    /// What a read means to its stream.
    package struct Step {
        /// The block that the stream has left behind.
        package fileprivate(set) var left: UInt64?
        /// The stream may want more ahead than before.
        package fileprivate(set) var isGoing = false
    }

    /// A block is read by the user.
    package mutating func read(_ block: UInt64) -> Step {
        guard windowMax > 0 else { return Step() }
        guard let index = streams.firstIndex(where: { $0.isContinued(by: block) }) else {
            return Step(isGoing: begin(at: block))
        }
        streams[index].usedAt = clock
        let last = streams[index].last
        // Again, or a little late: reads that are under way together come in any order.
        guard block > last else { return Step() }
        clock += 1
        let step = Int(block - last)
        streams[index].run += 1
        streams[index].last = block
        streams[index].isResting = false
        if streams[index].isGoing {
            let isSuccess = block < streams[index].ahead
            streams[index].ahead = max(streams[index].ahead, block + 1)
            if isSuccess {
                streams[index].window = min(windowMax, streams[index].window + 2 * step)
            }
            return Step(left: last, isGoing: true)
        }
        streams[index].ahead = block + 1
        return Step(left: last, isGoing: startIfLong(index))
    }

    private mutating func begin(at block: UInt64) -> Bool {
        clock += 1
        let stream = Stream(last: block, ahead: block + 1, usedAt: clock)
        makeRoom(atMost: Self.beginningMax - 1) { !$0.isGoing }
        streams.append(stream)
        return startIfLong(streams.count - 1)
    }

    private mutating func startIfLong(_ index: Int) -> Bool {
        guard streams[index].run >= trigger else { return false }
        streams[index].window = min(Self.firstWindow, windowMax)
        makeRoom(atMost: Self.goingMax) { $0.isGoing }
        return true
    }

    /// Forgets those of a kind that were not used for the longest time.
    private mutating func makeRoom(atMost most: Int, _ isOfKind: (Stream) -> Bool) {
        let now = clock
        streams.removeAll { $0.isGoing && now - $0.usedAt > Self.idleMax }
        while streams.count(where: isOfKind) > most {
            var oldest: Int?
            for (index, stream) in streams.enumerated() where isOfKind(stream) {
                if oldest.map({ stream.usedAt < streams[$0].usedAt }) ?? true { oldest = index }
            }
            if let oldest { streams.remove(at: oldest) }
        }
    }

    /// The stream that needs its next block soonest.
    /// - Parameter share: Most blocks that all streams together may be ahead.
    private func hungriest(_ share: Int) -> Int? {
        let going = streams.count { $0.isGoing }
        guard going > 0 else { return nil }
        let most = max(1, share / going)
        var best: (index: Int, distance: UInt64)?
        for (index, stream) in streams.enumerated() where stream.isGoing && !stream.isResting {
            let end = min(volumeBlocks, stream.last + 1 + UInt64(min(stream.window, most)))
            let distance = stream.ahead - stream.last
            if stream.ahead < end, distance < best?.distance ?? .max { best = (index, distance) }
        }
        return best?.index
    }

    /// The block to be read ahead next, if any.
    package func next(share: Int) -> UInt64? { hungriest(share).map { streams[$0].ahead } }

    /// It is here, on its way, or not wanted.
    package mutating func pass(share: Int) {
        if let index = hungriest(share) { streams[index].ahead += 1 }
    }

    /// A block has gone unread: that was too far ahead.
    package mutating func lost(_ block: UInt64) {
        for index in streams.indices
        where streams[index].last < block && block < streams[index].ahead {
            streams[index].ahead = block
            streams[index].window = max(1, streams[index].window / 2)
            streams[index].isResting = true
        }
    }

    /// A block could not be read: its stream begins anew.
    package mutating func failed(_ block: UInt64) {
        streams.removeAll { $0.last < block && block < $0.ahead }
    }
}

extension ReadAheadStreams.Stream {
    fileprivate func isContinued(by block: UInt64) -> Bool {
        let near = UInt64(window)
        return block <= last + max(1, near) && block + near >= last
    }
}
