import Glibc

/// Zeros that cost nothing before they are touched, page-aligned; in large pages where the kernel
/// has them, so that random access over gigabytes finds its way. Fixed size.
///
/// Not thread-safe by itself: belongs to whoever made it.
public final class ZeroedMemory {
    public let base: UnsafeMutableRawPointer
    public let count: Int

    /// Below this the C library's memory is as good, and cheaper to get.
    private static let mappedMin = 2 << 20

    /// Ends the program when there is no such memory.
    public init(_ count: Int) {
        self.count = count
        guard count >= Self.mappedMin else {
            let rounded = (max(count, 1) + 4095) / 4096 * 4096
            guard let memory = aligned_alloc(4096, rounded) else {
                fatalError("out of memory (\(count) bytes)")
            }
            memset(memory, 0, rounded)
            base = memory
            return
        }
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        let memory = mmap(nil, count, PROT_READ | PROT_WRITE, flags, -1, 0)
        guard let memory, memory != MAP_FAILED else {
            fatalError("out of memory (\(count) bytes)")
        }
        madvise(memory, count, MADV_HUGEPAGE)
        base = memory
    }

    deinit {
        if count >= Self.mappedMin { munmap(base, count) } else { free(base) }
    }
}

/// A fixed number of integers, all zero at first, in memory that is only taken when touched.
package struct ZeroedArray<Element: FixedWidthInteger> {
    private let memory: ZeroedMemory
    private let elements: UnsafeMutablePointer<Element>
    package let count: Int

    package init(count: Int) {
        self.count = count
        memory = ZeroedMemory(count * MemoryLayout<Element>.stride)
        elements = memory.base.bindMemory(to: Element.self, capacity: count)
    }

    /// The same with zeros behind.
    package func grown(to count: Int) -> ZeroedArray {
        precondition(count >= self.count)
        let grown = ZeroedArray(count: count)
        grown.elements.update(from: elements, count: self.count)
        return grown
    }

    @inline(__always)
    package subscript(index: Int) -> Element {
        get {
            precondition(index >= 0 && index < count)
            return elements[index]
        }
        nonmutating set {
            precondition(index >= 0 && index < count)
            elements[index] = newValue
        }
    }
}
