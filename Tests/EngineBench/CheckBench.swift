import CacheFile
import FileIO
import Glibc
import Journal

/// The program cachecheck, as built beside this one, against reading what it has to read.
enum CheckBench {
    private static let slots = 1_000_000
    private static let blockSize = 64 << 10
    private static let dataSlots = 24_576

    static func run(_ directory: String) throws {
        let path = directory + "/enginebench-\(getpid()).cache"
        defer { unlink(path) }
        let metadata = try metadata(path)
        unlink(path)
        let data = try data(path)
        print(
            "CHECK slots=\(slots) metadata_ms=\(metadata.ms)"
                + " metadata_ratio=\(short(metadata.ratio))"
                + " data_mib_per_s=\(data.rate) data_ratio=\(short(data.ratio))")
    }

    /// Time of the check over that of the read.
    private static func metadata(_ path: String) throws -> (ms: Int, ratio: Double) {
        let identity = BenchVolume.identity(blockSize: 4096, blocks: slots)
        try CacheFiles.create(
            path, identity: identity, slots: slots, info: BenchVolume.info, ringBytes: 64 << 20)
        try OpenBench.fill(path, identity, slots: slots)
        var ratios: [Double] = []
        var times: [Double] = []
        for _ in 0..<5 {
            let read = try OpenBench.readMetadata(path)
            let took = try check([path])
            times.append(took)
            ratios.append(took / read)
        }
        return (Int(median(times) * 1000), median(ratios))
    }

    /// Speed of the check over that of the read.
    private static func data(_ path: String) throws -> (rate: Int, ratio: Double) {
        try fill(path)
        var ratios: [Double] = []
        var rates: [Double] = []
        for _ in 0..<5 {
            let read = try readAll(path)
            let took = try check(["--data=all", path])
            rates.append(Double(dataSlots * blockSize) / took / Double(1 << 20))
            ratios.append(read / took)
        }
        return (Int(median(rates)), median(ratios))
    }

    /// A file all of whose slots hold clean blocks with right checksums.
    private static func fill(_ path: String) throws {
        let identity = BenchVolume.identity(blockSize: blockSize, blocks: dataSlots)
        try CacheFiles.create(
            path, identity: identity, slots: dataSlots, info: BenchVolume.info,
            ringBytes: 64 << 20)
        let session = try BenchSession(path, identity)
        let geometry = session.cache.geometry
        let buffer = AlignedBuffer(blockSize)
        for at in 0..<blockSize / 8 {
            buffer.mutableBytes.setField(8 * at, UInt64(at) &* 0x9e37_79b9_7f4a_7c15)
        }
        for slot in 0..<dataSlots {
            buffer.mutableBytes.setField(0, UInt64(slot))
            let crcs = (0..<geometry.granulesPerBlock).map { granule in
                let first = granule * geometry.granuleSize
                let index = geometry.granuleSeedIndex(block: UInt64(slot), granule: granule)
                return Checksum.crc32c(
                    buffer.slice(first..<first + geometry.granuleSize),
                    seed: session.cache.seeds.seed(.granule, index))
            }
            try session.cache.file.write(
                buffer.bytes, at: geometry.slotOffset(slot), .direct)
            if !session.journal.hasRoom(recordBytes: 400, dataBytes: 0, reserved: false) {
                try session.checkpoint()
            }
            try session.append(
                .map(
                    MapRecord(
                        slot: UInt32(slot), block: UInt64(slot), flags: .fill,
                        base: Base(.text, [1, 2, 3]), granules: .all(geometry.granulesPerBlock),
                        crcs: crcs)))
        }
        try session.checkpoint()
    }

    /// Seconds to read the file past the page cache, in order.
    private static func readAll(_ path: String) throws -> Double {
        let file = try PosixFile.open(path, readOnly: true)
        let window = AlignedBuffer(1 << 20)
        let size = try file.size() / 4096 * 4096
        let begun = seconds()
        for at in stride(from: 0, to: size, by: window.count) {
            try file.read(
                into: window.mutableSlice(0..<min(window.count, size - at)), at: at, .direct)
        }
        return seconds() - begun
    }

    /// Seconds of one run of the program, which has to find the file sound.
    private static func check(_ arguments: [String]) throws -> Double {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let own = String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
        let program = String(own.prefix(own.utf8.count - "enginebench".utf8.count)) + "cachecheck"
        var words: [UnsafeMutablePointer<CChar>?] = ([program, "-q"] + arguments).map {
            strdup($0)
        }
        words.append(nil)
        defer { for word in words { free(word) } }
        let begun = seconds()
        var child = pid_t()
        var status: Int32 = -1
        guard posix_spawn(&child, program, nil, nil, words, environ) == 0,
            waitpid(child, &status, 0) == child, status == 0
        else { throw FileError(.io, "\(program) \(arguments) ended with \(status)") }
        return seconds() - begun
    }
}
