import BlockCache
import BlockStore
import FileIO
import Simulation
import Testing

/// Blocks in memory, with conditions that hold for everybody who has the store.
private final class CommonStore: BlockStore {
    let blockSize = 8192
    let honorsConditions: Bool
    let lateMs: UInt64 = 0
    let listsInOrder = true
    let deletedTogether = 10

    struct State {
        var objects: [UInt64: (version: Int, bytes: [UInt8])] = [:]
        var next = 0
        var conflicts = 0
        var deletes = 0
        var lists = 0
        var isDown = false
        /// Of so many conditional changes one is preceded by one that somebody else makes; 0: none.
        var othersEach = 0
        var conditional = 0
    }
    let state = Locked(State())

    init(honorsConditions: Bool = true) { self.honorsConditions = honorsConditions }

    private func version(_ number: Int?) -> ObjectVersion {
        number.map { .tag("v\($0)") } ?? .absent
    }

    func get(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(StoreError) -> ObjectVersion {
        try state.withLock { state throws(StoreError) in
            if state.isDown { throw StoreError(.temporary, "down", block: block) }
            guard let found = state.objects[block] else { return .absent }
            target.copyBytes(from: found.bytes)
            return version(found.version)
        }
    }

    func head(_ block: UInt64) throws(StoreError) -> ObjectVersion {
        state.withLock { version($0.objects[block]?.version) }
    }

    func put(
        _ block: UInt64, _ source: UnsafeRawBufferPointer, replacing: ObjectVersion?,
        _ hints: PutHints
    ) throws(StoreError) -> StoreOutcome {
        try change(block, Array(source), replacing)
    }

    func delete(_ block: UInt64, replacing: ObjectVersion?) throws(StoreError) -> StoreOutcome {
        state.withLock { $0.deletes += 1 }
        return try change(block, nil, replacing)
    }

    private func change(
        _ block: UInt64, _ bytes: [UInt8]?, _ replacing: ObjectVersion?
    ) throws(StoreError) -> StoreOutcome {
        try state.withLock { state throws(StoreError) in
            if replacing != nil, state.othersEach > 0 {
                state.conditional += 1
                if state.conditional % state.othersEach == 0, let found = state.objects[block] {
                    state.next += 1
                    state.objects[block] = (state.next, found.bytes)
                }
            }
            if let replacing, replacing != version(state.objects[block]?.version) {
                state.conflicts += 1
                throw StoreError(.conflict, "another version", block: block)
            }
            state.next += 1
            state.objects[block] = bytes.map { (state.next, $0) }
            return StoreOutcome(version(bytes == nil ? nil : state.next))
        }
    }

    func list(_ part: ListPart, _ page: ([ListedBlock]) -> Bool) throws(StoreError) {}

    func listed(_ range: Range<UInt64>) throws(StoreError) -> ListedRange {
        state.withLock { state in
            state.lists += 1
            let found = state.objects.keys.filter(range.contains).sorted().map {
                ListedBlock(block: $0, version: nil, byteCount: 8192)
            }
            return ListedRange(found, end: range.upperBound)
        }
    }
}

/// Disks that several hosts have at a time: here, two volumes on one store.
@Suite("SharedVolumeTests")
struct SharedVolumeTests {
    private func volume(_ store: CommonStore, blocks: UInt64 = 8) -> VolumeAccess {
        let volume = SharedVolume(store: store, blockCount: blocks)
        volume.start(threads: 4)
        return VolumeAccess(volume)
    }

    private func end(_ volumes: [VolumeAccess]) {
        for volume in volumes {
            (volume.volume as? SharedVolume)?.stop()
            volume.end()
        }
    }

    @Test("what one host has written, another reads; across blocks, in part and whole")
    func visible() throws {
        let store = CommonStore()
        let hosts = [volume(store), volume(store)]
        var random = SeededRandom(seed: 4)
        var model = [UInt8](repeating: 0, count: 8 * 8192)
        for number in 0..<300 {
            let from = random.below(model.count)
            let count = 1 + random.below(min(20_000, model.count - from))
            let value = UInt8(number % 250)
            if random.below(4) == 0 {
                try hosts[number % 2].trim(at: from, count: count)
                model.replaceSubrange(
                    from..<from + count, with: [UInt8](repeating: 0, count: count))
            } else {
                let bytes = [UInt8](repeating: value, count: count)
                try hosts[number % 2].write(bytes, at: from)
                model.replaceSubrange(from..<from + count, with: bytes)
            }
            #expect(try hosts[1 - number % 2].read(at: 0, count: model.count) == model)
        }
        // A block that is written as zeros has no object.
        try hosts[0].write([UInt8](repeating: 0, count: 8192), at: 8192)
        try hosts[1].trim(at: 3 * 8192, count: 8192)
        #expect(store.state.withLock { $0.objects[1] == nil && $0.objects[3] == nil })
        end(hosts)
    }

    @Test("parts of one block that several write at a time are all there, if the store can tell")
    func parts() throws {
        let store = CommonStore()
        store.state.withLock { $0.othersEach = 3 }
        let hosts = (0..<4).map { _ in volume(store, blocks: 2) }
        for round in 0..<30 {
            let value = UInt8(round + 1)
            let writes = (0..<64).map { part in
                hosts[part % 4].beginWrite([UInt8](repeating: value, count: 256), at: part * 256)
            }
            for write in writes { #expect(try write() == nil) }
            let found = try hosts[round % 4].read(at: 0, count: 64 * 256)
            #expect(found.allSatisfy { $0 == value }, "round \(round)")
        }
        // One of three, and some that come by themselves.
        #expect(store.state.withLock { $0.conflicts } > 500)
        end(hosts)
    }

    @Test("of many blocks that become zeros only those are deleted that there are, many at a time")
    func trim() throws {
        let store = CommonStore()
        let host = volume(store, blocks: 1 << 20)
        for block in [5, 6, 900_000] {
            try host.write([UInt8](repeating: 1, count: 8192), at: block * 8192)
        }
        try host.trim(at: 100, count: (1 << 20) * 8192 - 100)
        #expect(store.state.withLock { $0.objects.isEmpty && $0.lists == 1 && $0.deletes == 3 })
        end([host])
    }

    @Test("a store that fails is an error of the request, and of no other")
    func failure() throws {
        let store = CommonStore()
        let host = volume(store)
        try host.write([1, 2, 3], at: 10)
        store.state.withLock { $0.isDown = true }
        #expect(throws: VolumeError.self) { try host.read(at: 0, count: 10) }
        #expect(throws: VolumeError.self) { try host.write([4], at: 10) }
        store.state.withLock { $0.isDown = false }
        #expect(try host.read(at: 9, count: 5) == [0, 1, 2, 3, 0])
        try host.sync()
        end([host])
    }
}
