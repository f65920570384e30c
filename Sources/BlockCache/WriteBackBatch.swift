import FileIO

/// Parts of slots that lie in the page cache, until there are enough of them to start their
/// write-back together: neighbours then go to the disk in one request, and the kernel is called once.
///
/// What is in here when a flush comes is little, and the flush writes it.
final class WriteBackBatch: Sendable {
    private let bytesMax: Int

    private struct Waiting {
        var ranges: [Range<Int>] = []
        var bytes = 0
    }

    private let waiting = Locked(Waiting())

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    /// Adds byte ranges of the file that were just written.
    ///
    /// - Returns: What to start now, in ascending order; mostly nothing.
    func add(_ ranges: [Range<Int>]) -> [Range<Int>] {
        let due = waiting.withLock { waiting -> [Range<Int>] in
            waiting.ranges += ranges
            waiting.bytes += ranges.reduce(0) { $0 + $1.count }
            guard waiting.bytes >= bytesMax else { return [] }
            defer { waiting = Waiting() }
            return waiting.ranges
        }
        return Self.merged(due)
    }

    private static func merged(_ ranges: [Range<Int>]) -> [Range<Int>] {
        var result: [Range<Int>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = result.last, last.upperBound >= range.lowerBound {
                result[result.count - 1] =
                    last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        return result
    }
}
