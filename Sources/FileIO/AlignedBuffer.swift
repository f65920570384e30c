import CSys
import Glibc

/// Page-aligned memory for transfers, given back to a pool when the last owner lets go.
///
/// Whoever fills it must be its only user until it is handed on; from then on it is read-only.
/// That hand-over, not the type, is what makes sharing between threads safe.
public final class AlignedBuffer: @unchecked Sendable {
    public static let alignment = 4096

    public let base: UnsafeMutableRawPointer
    /// Bytes asked for. The memory behind it is rounded up to whole pages.
    public let count: Int
    private let capacity: Int

    /// Contents are undefined.
    public init(_ count: Int) {
        self.count = count
        capacity = BufferPool.roundUp(max(count, 1))
        base = BufferPool.shared.take(capacity)
    }

    /// A buffer of zeros.
    public static func zeroed(_ count: Int) -> AlignedBuffer {
        let buffer = AlignedBuffer(count)
        memset(buffer.base, 0, count)
        return buffer
    }

    deinit { BufferPool.shared.give(base, capacity) }

    /// Valid while the buffer lives, which this does not prolong: never take it from a temporary,
    /// as in `makeBuffer().bytes`.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }
    public var mutableBytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: base, count: count)
    }

    public func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        return UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count)
    }

    public func mutableSlice(_ range: Range<Int>) -> UnsafeMutableRawBufferPointer {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        return UnsafeMutableRawBufferPointer(start: base + range.lowerBound, count: range.count)
    }
}

/// Keeps freed buffers of each power-of-two size, so that large transfers do not fault pages anew.
final class BufferPool: Sendable {
    static let shared = BufferPool()

    #if SANITIZED
        /// Nothing is kept, so that the sanitizer sees who uses a buffer after its end.
        private static let keptBytesMax = 0
    #else
        private static let keptBytesMax = 64 << 20
    #endif
    private static let largestKept = 8 << 20

    private struct Shelves {
        var free: [[UInt]] = Array(repeating: [], count: 64)
        var keptBytes = 0
    }
    private let shelves = Locked(Shelves())

    static func roundUp(_ count: Int) -> Int {
        var size = AlignedBuffer.alignment
        while size < count { size <<= 1 }
        return size
    }

    func take(_ capacity: Int) -> UnsafeMutableRawPointer {
        let kept = shelves.withLock { shelves -> UInt? in
            guard let address = shelves.free[capacity.trailingZeroBitCount].popLast() else {
                return nil
            }
            shelves.keptBytes -= capacity
            return address
        }
        if let kept, let pointer = UnsafeMutableRawPointer(bitPattern: kept) { return pointer }
        var fresh: UnsafeMutableRawPointer?
        let result = posix_memalign(&fresh, AlignedBuffer.alignment, capacity)
        guard result == 0, let fresh else { fatalError("out of memory (\(capacity) bytes)") }
        return fresh
    }

    func give(_ pointer: UnsafeMutableRawPointer, _ capacity: Int) {
        let address = UInt(bitPattern: pointer)
        let kept = shelves.withLock { shelves -> Bool in
            if capacity > Self.largestKept || shelves.keptBytes + capacity > Self.keptBytesMax {
                return false
            }
            shelves.free[capacity.trailingZeroBitCount].append(address)
            shelves.keptBytes += capacity
            return true
        }
        if !kept { free(pointer) }
    }
}
