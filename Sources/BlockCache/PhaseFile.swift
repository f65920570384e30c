import FileIO
import Glibc

/// Tells a test what is under way, through a page of memory that outlives a `kill -9`.
///
/// Words of 32 bits: 0 magic, then one count for each `Phase`. Written under the engine lock.
final class PhaseFile: @unchecked Sendable {
    enum Phase: Int { case commit = 1, flush, destage, checkpoint, wrap, upload }
    static let magic: UInt32 = 0x5048_3353
    private let words: UnsafeMutablePointer<UInt32>

    init?(_ path: String) {
        let fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard fd >= 0 else { return nil }
        defer { close(fd) }
        guard ftruncate(fd, 4096) == 0 else { return nil }
        let memory = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        guard let memory, memory != MAP_FAILED else { return nil }
        words = memory.assumingMemoryBound(to: UInt32.self)
        words[0] = Self.magic
    }

    func set(_ phase: Phase, _ value: Bool) { words[phase.rawValue] = value ? 1 : 0 }
}
