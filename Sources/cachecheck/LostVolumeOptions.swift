import ArgumentParser
import CacheFile
import VolumeOptions

/// The volume of a file that has no superblock left to name it, in the words of the mount.
struct LostVolumeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The bucket, or with --test the directory, that the file was made for.",
            valueName: "BUCKET[/PREFIX]"))
    var volume: String?

    @Flag(help: "Blocks are files in a directory.")
    var test = false

    @Option(help: ArgumentHelp("Begins the name of every block.", valueName: "text"))
    var prefix = ""

    @Option(help: ArgumentHelp("Size of the volume: 100g.", valueName: "S"))
    var size: String?

    @Option(
        name: .customLong("blockSize"),
        help: ArgumentHelp("Size of its blocks: 64k.", valueName: "S"))
    var blockSize: String?

    @Flag(name: .customLong("blockHashPrefix"), help: "Names of blocks have a hash.")
    var blockHashPrefix = false

    /// nil: nothing was said.
    func identity() throws(StartupError) -> VolumeIdentity? {
        guard let volume else {
            if test || blockHashPrefix || !prefix.isEmpty || size != nil || blockSize != nil {
                throw StartupError("--volume is missing: give the bucket too, as the mount has it")
            }
            return nil
        }
        let block = try bytes(blockSize, "--blockSize", max: 1 << 26)
        guard block >= 4096, block & (block - 1) == 0 else {
            throw StartupError("--blockSize=\(block): must be a power of two from 4k to 64m")
        }
        let bytes = try bytes(size, "--size", max: 1 << 58)
        guard bytes % block == 0, bytes / block <= 1 << 32 else {
            throw StartupError(
                "--size=\(bytes): must be a multiple of the block size, of at most 2^32 blocks")
        }
        let name = try VolumeName(
            volume, isTest: test, prefix: prefix, isHashed: blockHashPrefix)
        return VolumeIdentity(
            binding: name.binding(blockSize: Int(block)),
            volumeUUID: [UInt8](repeating: 0, count: 16), blockSize: Int(block),
            volumeBlocks: bytes / block)
    }

    private func bytes(
        _ text: String?, _ name: String, max: UInt64
    ) throws(StartupError) -> UInt64 {
        guard let text else {
            throw StartupError("\(name) is missing: give what the mount has, with --volume")
        }
        guard let value = try? SizeGrammar.parse(text, max: max), value > 0 else {
            throw StartupError("\(name)=\(text): must be a number of bytes, such as 64k or 100g")
        }
        return value
    }
}
