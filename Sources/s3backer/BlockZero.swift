import BlockCache
import FileIO

/// Block 0 carries the size of the disk for the original s3backer, which does not read the identity.
enum BlockZero {
    /// Bytes that are written again.
    private static let count = 4096

    private final class Outcome: @unchecked Sendable {
        private let condition = Condition()
        private var result: VolumeError??

        func set(_ error: VolumeError?) {
            condition.withLock {
                result = .some(error)
                condition.broadcast()
            }
        }

        func wait() -> VolumeError? {
            condition.withLock {
                while true {
                    if let result { return result }
                    condition.wait()
                }
            }
        }
    }

    /// Makes block 0 dirty without changing it, so that it is uploaded as any other, with the size
    /// of now. Blocks; call while nobody else writes.
    static func rewrite(_ volume: VolumeCache) -> VolumeError? {
        let outcome = Outcome()
        volume.read(at: 0, count: count) { result in
            switch result {
            case .failure(let error): outcome.set(error)
            case .success(let reply): volume.write(at: 0, from: reply.bytes) { outcome.set($0) }
            }
        }
        return outcome.wait()
    }
}
