/// The pauses between the attempts of one request: doubling, with up to 20 % on top by chance, and
/// limited in sum.
package struct RetryPauses {
    private var nextMs: Int
    private var leftMs: Int

    private static let jitterPercent = 20

    package init(initialMs: Int, sumMs: Int) {
        nextMs = max(1, initialMs)
        leftMs = sumMs
    }

    /// - Parameters:
    ///   - chance: 0...1, how much of the greatest addition to take.
    ///   - atLeast: What the server asks for, in milliseconds.
    /// - Returns: Milliseconds to wait; nil: no more attempts.
    package mutating func next(chance: Double, atLeast: Int = 0) -> Int? {
        guard leftMs > 0 else { return nil }
        let pauseMs = max(nextMs, atLeast)
        let addition = Int(Double(pauseMs) * Double(Self.jitterPercent) / 100 * chance)
        let pause = min(pauseMs + addition, leftMs)
        leftMs -= pause
        nextMs *= 2
        return pause
    }
}
