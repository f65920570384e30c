import Simulation
import Testing

@Suite struct DiskImageTests {
    @Test("a new image reads as zeros and equals a written image of zeros")
    func zeros() {
        let untouched = DiskImage(size: 20_000)
        var written = untouched
        written.write([UInt8](repeating: 7, count: 9000), at: 100)
        #expect(written != untouched)
        #expect(written.contentHash != untouched.contentHash)
        written.write([UInt8](repeating: 0, count: 9000), at: 100)
        #expect(written == untouched)
        #expect(written.contentHash == untouched.contentHash)
        #expect(untouched.read(0..<20_000) == [UInt8](repeating: 0, count: 20_000))
    }

    @Test("a copy does not see later writes, nor the original those of the copy")
    func valueSemantics() {
        var one = DiskImage(size: 16_384)
        one.write([1, 1], at: 4095)
        var other = one
        other.write([2], at: 4095)
        one.write([3], at: 4096)
        #expect(one.read(4095..<4097) == [1, 3])
        #expect(other.read(4095..<4097) == [2, 1])
        #expect(one != other)
    }

    @Test("the hash does not depend on the order or the pieces of the writes")
    func hashOrder() {
        var random = SeededRandom(seed: 5)
        let bytes = random.bytes(40_000)
        let whole = DiskImage(bytes)
        var cuts = [0, 40_000] + (0..<50).map { _ in random.below(40_000) }
        cuts.sort()
        var parts = zip(cuts, cuts.dropFirst()).map { $0..<$1 }
        random.shuffle(&parts)
        var pieced = DiskImage(size: 40_000)
        for part in parts { pieced.write(Array(bytes[part]), at: part.lowerBound) }
        #expect(pieced.contentHash == whole.contentHash)
        #expect(pieced == whole)
        #expect(Set([pieced, whole]).count == 1)
    }

    @Test("every single bit, and the place of equal content, changes the hash")
    func hashInequality() {
        let zeros = DiskImage(size: 8192)
        var seen: Set<UInt64> = [zeros.contentHash]
        var repeated: [Int] = []
        for bit in stride(from: 0, to: 8192 * 8, by: 11) {
            var image = zeros
            image.write([UInt8(1 << (bit % 8))], at: bit / 8)
            if !seen.insert(image.contentHash).inserted { repeated.append(bit) }
        }
        #expect(repeated.isEmpty)
    }

    @Test("swapping two sectors or two pages changes the hash", arguments: [512, 4096])
    func hashPosition(unit: Int) {
        var random = SeededRandom(seed: 6)
        let (first, second) = (random.bytes(unit), random.bytes(unit))
        #expect(DiskImage(first + second).contentHash != DiskImage(second + first).contentHash)
    }

    @Test("images of different size differ, growing appends zeros, and shrinking takes away")
    func growth() {
        var image = DiskImage([1, 2, 3])
        let small = image
        image.grow(to: 5000)
        #expect(image.read(0..<5) == [1, 2, 3, 0, 0])
        #expect(image != small)
        #expect(image.contentHash != small.contentHash)
        image.write([9], at: 4999)
        #expect(image.read(4998..<5000) == [0, 9])
        #expect(image.size == 5000)
        image.shrink(to: 3)
        #expect(image == small && image.contentHash == small.contentHash)
        image.grow(to: 5000)
        #expect(image.read(4998..<5000) == [0, 0])
    }

    @Test("random writes to several copies agree with byte arrays", arguments: 1...20)
    func model(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let size = random.within(1...30_000)
        var images = [DiskImage(size: size)]
        var models = [[UInt8](repeating: 0, count: size)]
        for step in 0..<60 {
            let index = random.below(images.count)
            if images.count < 5, random.chance(5) {
                images.append(images[index])
                models.append(models[index])
            }
            let count = random.within(0...min(size, 6000))
            let offset = random.within(0...size - count)
            var bytes = random.bytes(count)
            if random.chance(30) { bytes = [UInt8](repeating: 0, count: count) }
            images[index].write(bytes, at: offset)
            models[index].replaceSubrange(offset..<offset + count, with: bytes)
            let matches = zip(images, models).allSatisfy { $0.read(0..<size) == $1 }
            #expect(matches, "seed \(seed) step \(step)")
            #expect(images[index] == DiskImage(models[index]), "seed \(seed) step \(step)")
            if !matches { return }
        }
    }
}
