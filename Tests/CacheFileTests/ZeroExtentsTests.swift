import CacheFile
import FileIO
import Journal
import Simulation
import TestSupport
import Testing

/// Zero extents against a dictionary of blocks, through the records that change them.
@Suite("Zero extents")
struct ZeroExtentsTests {
    private static let blocks: UInt64 = 32

    @Test("trims, carries, deletions and evictions do to ranges what they do to each block")
    func model() throws {
        var random = SeededRandom(seed: 11)
        for _ in 0..<200 {
            let session = try TestSession(try SmallWorld.make())
            var model: [UInt64: LSN] = [:]
            for _ in 0..<60 {
                let low = UInt64(random.below(Int(Self.blocks)))
                let range = low..<low + 1 + UInt64(random.below(Int(Self.blocks - low)))
                let zeros = session.state.zeros
                switch random.below(4) {
                case 0, 1:
                    session.append(.zeroRange(ZeroRangeRecord(blocks: range)))
                    let lsn = session.journal.assigned
                    for block in range { model[block] = lsn }
                    // What it overlaps or touches has become one with it.
                    for block in Self.neighbours(range, model) { model[block] = lsn }
                case 2:
                    let assigned = session.journal.assigned
                    let asOf = assigned - min(assigned, UInt64(random.below(3)))
                    session.append(.cleanRange(CleanRangeRecord(blocks: range, asOf: asOf)))
                    for block in range where model[block] ?? .max <= asOf { model[block] = nil }
                default:
                    guard let old = zeros.items.randomElement(using: &random) else { break }
                    session.append(
                        .zeroRange(
                            ZeroRangeRecord(blocks: old.blocks, carriedLSN: old.lsn)))
                    let now = session.state.zeros.extent(at: old.blocks.lowerBound)
                    #expect(now?.blocks == old.blocks && now?.lsn == old.lsn)
                    #expect(now?.position ?? 0 >= old.position)
                }
                session.state.zeros.checkInvariants()
                for block in 0..<Self.blocks {
                    #expect(session.state.zeros.extent(at: block)?.lsn == model[block])
                }
                #expect(session.state.zeros.blockCount == UInt64(model.count))
            }
        }
    }

    /// Blocks that lie in one run with `range`.
    private static func neighbours(_ range: Range<UInt64>, _ model: [UInt64: LSN]) -> [UInt64] {
        var found: [UInt64] = []
        var below = range.lowerBound
        while below > 0, model[below - 1] != nil {
            below -= 1
            found.append(below)
        }
        var above = range.upperBound
        while model[above] != nil {
            found.append(above)
            above += 1
        }
        return found
    }

    @Test("a block that leaves its slot leaves its extent; one that joins a slot does not")
    func carve() throws {
        let session = try TestSession(try SmallWorld.make())
        session.append(.zeroRange(ZeroRangeRecord(blocks: 0..<10)))
        try session.map(4, version: 1)
        #expect(session.state.zeros.contains(4))
        session.clean(4)
        #expect(session.state.zeros.splits(at: 4) && !session.state.zeros.splits(at: 0))
        session.evict(4)
        #expect(session.state.zeros.items.map(\.blocks) == [0..<4, 5..<10])
        #expect(session.state.zeros.overlaps(3..<5) && !session.state.zeros.overlaps(4..<5))
        #expect(session.state.zeros.touches(4..<5) && !session.state.zeros.touches(11..<12))
    }

    @Test("ZERO ends everything of a block but its base, and its slot bytes wait for a seal")
    func zeroBlock() throws {
        let session = try TestSession(try SmallWorld.make())
        try session.map(4, version: 1)
        session.clean(4)
        session.overwrite(4, granule: 1, version: 2)
        let state = session.state
        let slot = try #require(state.slot(of: 4))
        let base = state.slots.base(slot)
        session.append(.zero(ZeroRecord(slot: UInt32(slot), block: 4)))
        let lsn = session.journal.assigned
        #expect(state.slots.isZeroBase(slot) && state.present(slot: slot).isEmpty)
        #expect(state.slots.state(slot) == .dirty && state.slots.dataLSN(slot) == lsn)
        #expect(state.slots.base(slot) == base && state.reuseLSN(slot) == lsn)
        guard case .zeros = state.source(slot: slot, block: 4, granule: 1) else {
            Issue.record("not zeros")
            return
        }
    }
}
