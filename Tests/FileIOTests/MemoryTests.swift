import FileIO
import Simulation
import Testing

@Suite("Memory helpers")
struct MemoryTests {
    @Test("Fifo does what an array does")
    func fifoModel() {
        for seed in UInt64(0)..<20 {
            var random = SeededRandom(seed: seed)
            var fifo = Fifo<Int>()
            var model: [Int] = []
            for step in 0..<2000 {
                switch random.below(10) {
                case 0..<(seed % 2 == 0 ? 6 : 4):
                    fifo.append(step)
                    model.append(step)
                case 9 where random.chance(2):
                    fifo.removeAll()
                    model.removeAll()
                default:
                    #expect(fifo.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
                }
                #expect(fifo.count == model.count)
                #expect(fifo.isEmpty == model.isEmpty)
                #expect(fifo.first == model.first)
                #expect(fifo.last == model.last)
                #expect(fifo.first { $0 % 7 == 3 } == model.first { $0 % 7 == 3 })
            }
        }
    }

    @Test("aligned memory is aligned, of the asked size, and its slices are places in it")
    func alignment() {
        for count in [0, 1, 511, 4096, 4097, 1 << 20, (8 << 20) + 1] {
            let buffer = AlignedBuffer.zeroed(count)
            #expect(UInt(bitPattern: buffer.base) % UInt(AlignedBuffer.alignment) == 0)
            #expect(buffer.bytes.count == count)
            #expect(buffer.bytes.allSatisfy { $0 == 0 })
            if count > 100 {
                buffer.mutableSlice(50..<60).setField(2, UInt32(0x0102_0304))
                #expect(buffer.slice(50..<60).field(2, UInt32.self) == 0x0102_0304)
                #expect(buffer.bytes[52] == 4)
            }
        }
    }

    @Test("memory that was used before comes back zeroed where zeros are asked for")
    func reuse() {
        for _ in 0..<10 {
            let dirty = AlignedBuffer(8192)
            for index in 0..<8192 { dirty.mutableBytes[index] = 0xee }
        }
        let zeros = AlignedBuffer.zeroed(8192)
        #expect(zeros.bytes.allSatisfy { $0 == 0 })
    }

    @Test("fields are little-endian at any offset")
    func fields() {
        let bytes: [UInt8] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        bytes.withUnsafeBytes {
            #expect($0.field(1, UInt64.self) == 0x0807_0605_0403_0201)
            #expect($0.field(3, UInt16.self) == 0x0403)
            #expect($0.copy(4, 3) == [4, 5, 6])
        }
    }
}
