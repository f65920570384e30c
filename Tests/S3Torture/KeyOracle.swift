import BlockStore
import Simulation

/// One block, what it may hold, and what the store says of it.
///
/// Not for several threads: the store is never asked for one block by two of them.
struct KeyOracle {
    /// Seed of a content; nil: no object.
    typealias Content = UInt32?

    let block: UInt64
    private(set) var known: Known
    /// All that was ever sent, `known` included.
    private var sent: Set<UInt32> = []

    enum Known: Equatable {
        /// A change was reported as done, and this is what it made.
        case exactly(Content)
        /// A change failed, and may have happened.
        case unsure
    }

    init(block: UInt64) {
        self.block = block
        known = .exactly(nil)
    }

    static func bytes(_ seed: UInt32, _ block: UInt64, count: Int) -> [UInt8] {
        var random = SeededRandom(seed: UInt64(seed) << 32 | block)
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { raw in
            for offset in stride(from: 0, to: count, by: 8) {
                raw.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
            }
            // What it is can be told from the content alone.
            raw.storeBytes(of: seed, toByteOffset: 0, as: UInt32.self)
        }
        return bytes
    }

    mutating func willSend(_ content: Content) {
        if let content { sent.insert(content) }
    }

    mutating func changed(_ content: Content, isDone: Bool) {
        known = isDone ? .exactly(content) : .unsure
    }

    /// - Parameter bytes: What was read; nil: no object.
    /// - Returns: What is wrong with that; nil: nothing.
    func problem(_ bytes: [UInt8]?) -> String? {
        guard let bytes else {
            if case .exactly(.some(let seed)) = known { return "no object instead of \(seed)" }
            return nil
        }
        let seed = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
        guard sent.contains(seed), bytes == Self.bytes(seed, block, count: bytes.count) else {
            return "bytes that were never written"
        }
        if case .exactly(let content) = known, content != seed {
            return "\(seed) instead of \(content.map(String.init) ?? "no object")"
        }
        return nil
    }
}
