import ArgumentParser
import BlockStore
import FileIO
import Glibc
import VolumeOptions

/// The part of the command line for services that show changes late. Names and meaning are those of
/// the real s3backer.
struct ConsistencyOptions: ParsableArguments {
    @Option(
        name: .customLong("md5CacheSize"),
        help: ArgumentHelp(
            "For services that show changes late: how many blocks written are remembered.",
            valueName: "blocks"))
    var md5CacheSize = "0"

    @Option(
        name: .customLong("md5CacheTime"),
        help: ArgumentHelp("How long a block written is remembered; 0: always.", valueName: "ms"))
    var md5CacheTime = "0"

    @Option(
        name: .customLong("minWriteDelay"),
        help: ArgumentHelp("Least time between two uploads of a block.", valueName: "ms"))
    var minWriteDelay = "0"
}

extension ConsistencyOptions {
    private static let blocksMax: UInt64 = 1 << 32
    private static let timeMaxMs: UInt64 = 24 * 3600 * 1000

    /// - Returns: nil when nothing is to be remembered.
    func limits(
        isReadOnly: Bool, retryPauseMs: Int, retrySumMs: Int
    ) throws(StartupError) -> ConsistencyGuard.Limits? {
        let size = try OptionValue.number("md5CacheSize", md5CacheSize, 0...Self.blocksMax)
        let time = try OptionValue.number("md5CacheTime", md5CacheTime, 0...Self.timeMaxMs)
        let delay = try OptionValue.number("minWriteDelay", minWriteDelay, 0...Self.timeMaxMs)
        if size == 0 {
            for (name, value) in [("md5CacheTime", time), ("minWriteDelay", delay)]
            where value > 0 {
                throw StartupError("--\(name)=\(value) is of no use without --md5CacheSize")
            }
            return nil
        }
        if time > 0 && time < delay {
            throw StartupError(
                "--md5CacheTime=\(time): must be 0 or at least --minWriteDelay=\(delay)")
        }
        // What is never written is never remembered.
        if isReadOnly { return nil }
        var limits = ConsistencyGuard.Limits(
            blocks: size, rememberMs: UInt64(time), writeDelayMs: UInt64(delay))
        limits.retryPauseMs = UInt64(retryPauseMs)
        limits.retrySumMs = UInt64(retrySumMs)
        return limits
    }
}

extension ConsistencyGuard.Limits {
    /// Blocks that are remembered for ever must all have room.
    func check(blockCount: UInt64) throws(StartupError) {
        if rememberMs == 0 && UInt64(blocks) < blockCount {
            throw StartupError(
                "--md5CacheSize=\(blocks): must be at least the \(blockCount) blocks of the disk "
                    + "without --md5CacheTime")
        }
    }
}
