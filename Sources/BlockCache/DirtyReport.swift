/// What the store does not have yet, and how fast it gets it.
public struct DirtyReport: Sendable, Equatable {
    public var blocks = 0
    public var bytes = 0
    /// Trimmed blocks that are still to be deleted.
    public var deletions = 0
    /// How long the oldest of the blocks has waited.
    public var oldestMs: UInt64 = 0
    /// Of blocks that became clean lately.
    public var bytesPerSecond = 0
    /// How long the store has failed, and what it said last.
    public var failingMs: UInt64?
    public var failure = ""

    public init() {}

    public var isNothing: Bool { blocks == 0 && deletions == 0 }

    /// At the present speed; nil: nothing moves.
    public var secondsLeft: Int? {
        guard bytesPerSecond > 0 else { return nil }
        return (bytes + bytesPerSecond - 1) / bytesPerSecond
    }

    /// One line for people.
    public var text: String {
        var parts = ["\(blocks) dirty blocks (\(Self.text(bytes: bytes))) to upload"]
        if deletions > 0 { parts.append("\(deletions) trimmed blocks to delete") }
        if blocks > 0 {
            parts.append("oldest \(Self.text(seconds: Int(oldestMs / 1000)))")
            parts.append("\(Self.text(bytes: bytesPerSecond))/s")
            if let secondsLeft { parts.append("about \(Self.text(seconds: secondsLeft)) left") }
        }
        if let failingMs {
            let time = Self.text(seconds: Int(failingMs / 1000))
            parts.append("the store has failed for \(time): \(failure)")
        }
        return parts.joined(separator: ", ")
    }

    /// Three digits at most, such as `1.5 GiB`.
    package static func text(bytes: Int) -> String {
        let units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
        var unit = 0
        var tenths = bytes * 10
        while tenths >= 10240, unit < units.count - 1 {
            tenths = (tenths + 512) / 1024
            unit += 1
        }
        let isWhole = tenths >= 1000 || tenths % 10 == 0 || unit == 0
        return isWhole
            ? "\((tenths + 5) / 10) \(units[unit])"
            : "\(tenths / 10).\(tenths % 10) \(units[unit])"
    }

    package static func text(seconds: Int) -> String {
        switch seconds {
        case ..<120: "\(seconds) s"
        case ..<7200: "\(seconds / 60) min"
        default: "\(seconds / 3600) h"
        }
    }
}

/// How many bytes lately became clean, second by second.
struct UploadMeter {
    private static let seconds = 32
    private var bytes = [Int](repeating: 0, count: Self.seconds)
    /// The second of the newest entry.
    private var newest: UInt64 = 0
    /// Since when something is dirty.
    private var sinceMs: UInt64 = 0

    /// Forgets all: what was slow or idle before does not count.
    mutating func restart(_ now: UInt64) {
        self = UploadMeter()
        newest = now / 1000
        sinceMs = now
    }

    mutating func add(_ count: Int, _ now: UInt64) {
        advance(now)
        bytes[Int(newest) % Self.seconds] += count
    }

    mutating func bytesPerSecond(_ now: UInt64) -> Int {
        advance(now)
        let seconds = UInt64(Self.seconds - 1)
        let spanMs = min(now - min(now, sinceMs), seconds * 1000 + now % 1000)
        return bytes.reduce(0, +) * 1000 / Int(max(1000, spanMs))
    }

    private mutating func advance(_ now: UInt64) {
        let second = now / 1000
        guard second > newest else { return }
        for passed in 1...min(second - newest, UInt64(Self.seconds)) {
            bytes[Int(newest + passed) % Self.seconds] = 0
        }
        newest = second
    }
}
