import Glibc
import Testing

/// What the daemon says it is doing, read from a page that outlives its death.
package final class PhasePage {
    package enum State: String, CaseIterable {
        case idle, commit, destage, checkpoint, wrap, upload
    }

    private let words: UnsafeMutablePointer<UInt32>

    package init(_ path: String) throws {
        let fd = open(path, O_RDONLY)
        try #require(fd >= 0)
        defer { close(fd) }
        let memory = mmap(nil, 4096, PROT_READ, MAP_SHARED, fd, 0)
        try #require(memory != MAP_FAILED)
        words = try #require(memory).assumingMemoryBound(to: UInt32.self)
        try #require(words[0] == 0x5048_3353)
    }

    deinit { munmap(words, 4096) }

    private func isSet(_ word: Int) -> Bool {
        // The other process writes it: no compiler may keep it in a register.
        UnsafeRawPointer(words).loadUnaligned(fromByteOffset: word * 4, as: UInt32.self) != 0
    }

    package func contains(_ state: State) -> Bool {
        switch state {
        case .commit: isSet(1)
        case .destage: isSet(3)
        case .checkpoint: isSet(4)
        case .wrap: isSet(5)
        case .upload: isSet(6)
        case .idle: !isSet(1) && !isSet(3) && !isSet(4) && !isSet(6)
        }
    }

    package var states: Set<State> { Set(State.allCases.filter { contains($0) }) }
}
