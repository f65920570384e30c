import CacheFile
import FileIO
import Simulation
import TestSupport
import Testing

/// The error that opening throws, or nil.
func refusal(_ body: () throws(CacheFileError) -> Void) -> CacheFileError? {
    do {
        try body()
        return nil
    } catch { return error }
}

extension MemoryFile {
    func superblock(_ copy: Int) -> Superblock? {
        let at = SmallWorld.superblockOffset(copy)
        return bytes[at..<at + 4096].withUnsafeBytes { Superblock.decode($0, copy: UInt32(copy)) }
    }

    func put(_ sb: Superblock, copies: [Int]) {
        for copy in copies {
            let at = SmallWorld.superblockOffset(copy)
            let buffer = sb.encode(copy: UInt32(copy))
            bytes.replaceSubrange(at..<at + 4096, with: Array(buffer.bytes))
        }
    }
}

extension SmallWorld {
    static func superblockOffset(_ copy: Int) -> Int {
        [0, 64 << 10, 352 << 10, 416 << 10][copy]
    }
}

@Suite("Superblock")
struct SuperblockTests {
    static func random(_ random: inout SeededRandom) -> Superblock {
        let buffer = AlignedBuffer.zeroed(Superblock.size)
        let bytes = buffer.mutableBytes
        bytes.setBytes(0, Superblock.magic)
        bytes.setBytes(24, random.bytes(296))
        bytes.setField(28, Superblock.headerLength)
        bytes.setBytes(512, random.bytes(32))
        bytes.setField(16, Checksum.crc32c(buffer.bytes))
        guard var sb = Superblock.decode(buffer.bytes, copy: 0) else {
            preconditionFailure("a superblock with a right checksum")
        }
        sb.creator = "creator \(random.below(1000))"
        sb.mounter = "pid \(random.below(1000)), /mnt"
        sb.host = "host"
        return sb
    }

    @Test("no byte of the fields is forgotten")
    func allBytes() throws {
        var random = SeededRandom(seed: 5)
        let buffer = AlignedBuffer.zeroed(Superblock.size)
        buffer.mutableBytes.setBytes(0, Superblock.magic)
        buffer.mutableBytes.setBytes(24, random.bytes(296))
        buffer.mutableBytes.setField(28, Superblock.headerLength)
        buffer.mutableBytes.setBytes(512, random.bytes(32))
        buffer.mutableBytes.setField(16, Checksum.crc32c(buffer.bytes))
        let sb = try #require(Superblock.decode(buffer.bytes, copy: 0))
        let again = sb.encode(copy: 0)
        #expect(Array(again.bytes) == Array(buffer.bytes))
    }

    @Test("every field comes back")
    func roundTrip() {
        var random = SeededRandom(seed: 1)
        for _ in 0..<200 {
            let sb = Self.random(&random)
            for copy in UInt32(0)..<4 {
                let buffer = sb.encode(copy: copy)
                let bytes = buffer.bytes
                #expect(Superblock.decode(bytes, copy: copy) == sb)
                #expect(Superblock.decode(bytes, copy: copy ^ 1) == nil)
                #expect(buffer.bytes[544...].allSatisfy { $0 == 0 })
            }
            let (first, last) = (sb.encode(copy: 0), sb.encode(copy: 3))
            #expect(first.bytes.field(16, UInt32.self) == sb.crc)
            #expect(last.bytes.field(16, UInt32.self) == sb.crc)
        }
    }

    @Test("every bit of a copy counts")
    func bitFlips() {
        var random = SeededRandom(seed: 2)
        let buffer = Self.random(&random).encode(copy: 2)
        var missed = 0
        for bit in 0..<4096 * 8 {
            buffer.mutableBytes[bit >> 3] ^= 1 << UInt8(bit & 7)
            if Superblock.decode(buffer.bytes, copy: 2) != nil { missed += 1 }
            buffer.mutableBytes[bit >> 3] ^= 1 << UInt8(bit & 7)
        }
        #expect(missed == 0)
    }

    @Test("long texts are cut between characters, control characters of a file are not passed on")
    func texts() {
        var random = SeededRandom(seed: 3)
        var sb = Self.random(&random)
        sb.mounter = String(repeating: "\u{e9}", count: 40)
        sb.host = "a\u{1b}[2Jb"
        let buffer = sb.encode(copy: 0)
        let read = Superblock.decode(buffer.bytes, copy: 0)
        #expect(read?.mounter == String(repeating: "\u{e9}", count: 31))
        #expect(read?.host == "a?[2Jb")
    }

    /// A file in its first session: generation 3 on copies 2 and 3, generation 2 on copies 0 and 1.
    static func mountedFile() throws -> MemoryFile {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        try session.map(1, version: 1)
        try session.commit()
        return file
    }

    @Test("any damaged copies: the highest generation left is used, or none is", arguments: 1...15)
    func damagedCopies(damaged: Int) throws {
        let file = try Self.mountedFile()
        for copy in 0..<4 where damaged >> copy & 1 == 1 {
            file.flip((SmallWorld.superblockOffset(copy) + 300) * 8)
        }
        let left = (0..<4).filter { damaged >> $0 & 1 == 0 }
        var set: SuperblockSet?
        let error = refusal { () throws(CacheFileError) in set = try SuperblockSet.read(file) }
        if left.isEmpty {
            #expect(error?.kind == .needsCheck)
            #expect(error?.message.hasPrefix("SB_NONE") == true)
            return
        }
        #expect(error == nil)
        let expected: UInt64 = left.contains(2) || left.contains(3) ? 3 : 2
        #expect(set?.current.generation == expected)
        let pair = expected == 3 ? [2, 3] : [0, 1]
        #expect(set?.badCopies == pair.filter { !left.contains($0) })
        // With the newest generation lost, the journal knows of a session that nobody else knows.
        let refused = refusal { () throws(CacheFileError) in _ = try CacheFiles.inspect(file) }
        #expect((refused != nil) == (expected == 2))
        if expected == 2 { #expect(refused?.message.hasPrefix("SB_STALE") == true) }
    }

    @Test("opening rewrites a damaged copy before it writes the next generation")
    func repair() throws {
        let file = try Self.mountedFile()
        file.flip((SmallWorld.superblockOffset(3) + 300) * 8)
        _ = try TestSession(file)
        #expect(file.superblock(3)?.generation == 3)
        #expect(file.superblock(0)?.generation == 4)
        #expect(file.superblock(1)?.parentCRC == file.superblock(2)?.crc)
        #expect(try SuperblockSet.read(file).badCopies.isEmpty)
    }

    @Test("a generation that does not follow from the one before is a fork")
    func fork() throws {
        let file = try Self.mountedFile()
        var sb = try #require(file.superblock(2))
        sb.parentCRC ^= 1
        file.put(sb, copies: [2, 3])
        let error = refusal { () throws(CacheFileError) in _ = try SuperblockSet.read(file) }
        #expect(error?.kind == .needsCheck)
        #expect(error?.message.hasPrefix("SB_FORK") == true)
    }

    @Test(
        "of two intact superblocks of one generation the later session counts, then the lower copy")
    func twoOfOneGeneration() throws {
        let file = try Self.mountedFile()
        let first = try #require(file.superblock(2))
        var second = first
        second.host = "elsewhere"
        file.put(second, copies: [3])
        #expect(try SuperblockSet.read(file).current == first)
        #expect(try SuperblockSet.read(file).badCopies == [3])
        second.session += 1
        file.put(second, copies: [3])
        #expect(try SuperblockSet.read(file).current == second)
        #expect(try SuperblockSet.read(file).badCopies == [2])
    }

    @Test("unknown features: compatible ones are ignored, incompatible ones refused")
    func features() throws {
        let file = try Self.mountedFile()
        var sb = try #require(file.superblock(2))
        sb.featCompat = 1 << 63
        file.put(sb, copies: [2, 3])
        #expect(try SuperblockSet.read(file).current == sb)
        sb.featIncompat = 1 << 40
        file.put(sb, copies: [2, 3])
        let error = refusal { () throws(CacheFileError) in _ = try SuperblockSet.read(file) }
        #expect(error?.kind == .unsupported)
        #expect(error?.message.hasPrefix("FEAT_UNKNOWN") == true)
        sb.featIncompat = 0
        sb.formatMajor = 2
        file.put(sb, copies: [2, 3])
        let newer = refusal { () throws(CacheFileError) in _ = try SuperblockSet.read(file) }
        #expect(newer?.kind == .unsupported)
        #expect(newer?.message.hasPrefix("VER_NEWER") == true)
    }

    @Test("counters beyond any file are refused, not added to")
    func counters() throws {
        for field in 0..<6 {
            let file = try Self.mountedFile()
            var sb = try #require(file.superblock(2))
            switch field {
            case 0: sb.generation = .max
            case 1: sb.session = .max
            case 2: sb.openEpoch = .max
            case 3: sb.checkpointSeq = 0x7fff_fffe
            case 4: sb.checkpointLSN = .max
            default: (sb.ringOffset, sb.ringLength) = (UInt64(Int.max) - 4096, 4000)
            }
            file.put(sb, copies: [0, 1, 2, 3])
            #expect(
                refusal { () throws(CacheFileError) in _ = try CacheFiles.inspect(file) } != nil)
            #expect(throws: CacheFileError.self) { _ = try TestSession(file) }
        }
    }

    @Test("what is no cache file is called so")
    func garbage() throws {
        func kind(_ bytes: [UInt8]) -> CacheFileError.Kind? {
            refusal { () throws(CacheFileError) in
                _ = try CacheFiles.inspect(MemoryFile(bytes))
            }?.kind
        }
        var random = SeededRandom(seed: 4)
        for size in [0, 1, 100, 4095, 4096, 70_000, 1 << 20] {
            #expect(kind(random.bytes(size)) == .garbage)
            #expect(kind([UInt8](repeating: 0, count: size)) == .garbage)
        }
        for name in ["cachefile-1.5.4-clean.bin", "cachefile-1.5.4-dirty-after-sigkill.bin"] {
            let bytes = readFile(SourceTree.golden(name))
            #expect(bytes.count == 16_384)
            #expect(kind(bytes) == .foreign)
        }
        // Cut anywhere, a file is refused.
        let whole = try Self.mountedFile().bytes
        for size in stride(from: 0, to: whole.count, by: 4000) {
            #expect(kind(Array(whole[..<size])) != nil, "\(size)")
        }
    }
}
