/// Reads pieces of a file in a thread of its own, before they are asked for.
///
/// `@unchecked Sendable`: everything below `condition` is only touched under it.
package final class ReadAhead: @unchecked Sendable {
    private let file: any FileIO
    private let condition = Condition()
    private var queue: Fifo<Range<Int>> = Fifo()
    /// Wanted and not yet taken, by first byte; nil while it is read or waits for it.
    private var pieces: [Int: AlignedBuffer?] = [:]
    private var isClosed = false
    private var worker: Worker?

    /// - Parameter file: is read past the page cache.
    package init(_ file: any FileIO) {
        self.file = file
        worker = Worker(name: "read-ahead") { [self] in
            while let range = next() { read(range) }
        }
    }

    /// Ends the thread. Blocks: for the read under way.
    package func close() {
        condition.withLock {
            isClosed = true
            condition.broadcast()
        }
        worker?.join()
        worker = nil
    }

    /// What is wanted from now on; what else there is, is forgotten.
    package func want(_ ranges: [Range<Int>]) {
        condition.withLock {
            let starts = ranges.map(\.lowerBound)
            pieces = pieces.filter { starts.contains($0.key) }
            for range in ranges where pieces[range.lowerBound] == nil {
                pieces[range.lowerBound] = .some(nil)
                queue.append(range)
            }
            condition.broadcast()
        }
    }

    /// The piece that begins at a byte; nil when it is not wanted or cannot be read. Blocks: until
    /// it is read.
    package func take(_ start: Int) -> AlignedBuffer? {
        condition.withLock {
            while let piece = pieces[start] {
                if let piece {
                    pieces[start] = nil
                    return piece
                }
                condition.wait()
            }
            return nil
        }
    }

    private func next() -> Range<Int>? {
        condition.withLock {
            while !isClosed {
                guard let range = queue.popFirst() else {
                    condition.wait()
                    continue
                }
                if pieces[range.lowerBound] != nil { return range }
            }
            return nil
        }
    }

    private func read(_ range: Range<Int>) {
        let buffer = AlignedBuffer(range.count)
        let isRead =
            (try? file.read(into: buffer.mutableBytes, at: range.lowerBound, .direct)) != nil
        condition.withLock {
            // Whoever asks for what cannot be read does so again, and learns why.
            if pieces[range.lowerBound] != nil {
                if isRead {
                    pieces[range.lowerBound] = .some(buffer)
                } else {
                    pieces[range.lowerBound] = nil
                }
            }
            condition.broadcast()
        }
    }
}
