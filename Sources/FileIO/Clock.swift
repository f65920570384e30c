import CSys

/// Time that only moves forward, for delays and statistics. Nothing on disk depends on it.
public enum Monotonic {
    public static var nowMs: UInt64 { csys_monotonic_ms() }
    public static var nowNs: UInt64 { csys_monotonic_ns() }
}

/// Random bytes of the operating system.
public enum SystemRandom {
    public static func bytes(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = bytes.withUnsafeMutableBytes { csys_getrandom($0.baseAddress, $0.count) }
        precondition(result == 0, "getrandom failed")
        return bytes
    }
}
