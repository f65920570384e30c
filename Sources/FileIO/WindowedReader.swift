/// Reads a file past the page cache, in large aligned pieces that neighbouring reads share.
///
/// Recovery uses it: what the page cache holds may be what a failed flush never brought to the
/// medium, and only the medium counts. What is read in order is read ahead. Not thread-safe.
public final class WindowedReader {
    public static let windowBytes = 1 << 20
    /// Directory copies, their mates, the root and the ring are read side by side.
    private static let windowsMax = 6

    private struct Window {
        let start: Int
        let buffer: AlignedBuffer
        var lastUse: Int
        var range: Range<Int> { start..<start + buffer.count }
    }

    private let file: any FileIO
    private let size: Int
    private var windows: [Window] = []
    private var uses = 0
    /// Windows asked for one after the other so far; a thread is worth it only for many.
    private var windowsInOrder = 0
    private static let windowsBeforeAhead = 4
    private static let windowsAhead = 3
    private var ahead: ReadAhead?

    public init(_ file: any FileIO) throws(FileError) {
        self.file = file
        size = try file.size()
    }

    deinit { ahead?.close() }

    /// Fills `target` from `offset`. Throws `.shortFile` beyond the end. Blocks: disk reads.
    public func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(FileError) {
        guard offset >= 0, target.count <= size, offset <= size - target.count else {
            throw FileError(.shortFile, "the file ends before byte \(offset + target.count)")
        }
        var done = 0
        while done < target.count {
            let at = offset + done
            let window = try window(holding: at)
            let from = at - window.start
            let count = min(target.count - done, window.buffer.count - from)
            UnsafeMutableRawBufferPointer(rebasing: target[done..<done + count])
                .copyMemory(from: window.buffer.slice(from..<from + count))
            done += count
        }
    }

    private func window(holding offset: Int) throws(FileError) -> Window {
        uses += 1
        if let known = windows.firstIndex(where: { $0.range.contains(offset) }) {
            windows[known].lastUse = uses
            return windows[known]
        }
        let start = offset / 4096 * 4096
        let whole = size / 4096 * 4096
        // The last bytes of a file that is no multiple of 4 KiB can only be read cached.
        let isTail = start >= whole
        let end = isTail ? size : min(start + Self.windowBytes, whole)
        if windows.contains(where: { $0.range.upperBound == start }) { windowsInOrder += 1 }
        let buffer: AlignedBuffer
        if let early = ahead?.take(start) {
            buffer = early
        } else {
            buffer = try load(start, end, isTail ? .cached : .direct)
        }
        readAhead(from: end, to: whole)
        if windows.count == Self.windowsMax,
            let oldest = windows.indices.min(by: { windows[$0].lastUse < windows[$1].lastUse })
        {
            windows.remove(at: oldest)
        }
        let fresh = Window(start: start, buffer: buffer, lastUse: uses)
        windows.append(fresh)
        return fresh
    }

    private func readAhead(from start: Int, to end: Int) {
        guard windowsInOrder >= Self.windowsBeforeAhead else { return }
        if ahead == nil { ahead = ReadAhead(file) }
        let starts = stride(from: start, to: end, by: Self.windowBytes).prefix(Self.windowsAhead)
        ahead?.want(starts.map { $0..<min($0 + Self.windowBytes, end) })
    }

    /// One unreadable place must not hide its neighbours: then only the page asked for is read.
    private func load(_ start: Int, _ end: Int, _ path: IOPath) throws(FileError) -> AlignedBuffer {
        let buffer = AlignedBuffer(end - start)
        do {
            try file.read(into: buffer.mutableBytes, at: start, path)
            return buffer
        } catch {
            guard end - start > 4096 else { throw error }
            return try load(start, start + 4096, path)
        }
    }
}
