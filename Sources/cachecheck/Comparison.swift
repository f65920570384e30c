import BlockCache
import BlockStore
import CacheFile
import FileIO

/// What a cache file has and what the store has, block by block. Asks, and changes nothing.
struct Comparison {
    /// A block that the store has in another version than the one it derives from here.
    struct Difference {
        enum Kind: String {
            /// Another object.
            case changed
            /// There was an object, and there is none now.
            case deleted
            /// There was none, and there is one now.
            case new
            /// There is an object, and nothing says whether the block derives from it. A mount makes
            /// that a conflict where others may have been.
            case unknown
            /// It cannot be decoded.
            case unreadable
        }

        let block: UInt64
        let state: SlotState
        let kind: Kind
        let base: Base
        /// Of the store.
        let version: ObjectVersion
    }

    struct Outcome {
        var differences: [Difference] = []
        var compared = 0
        /// Blocks that had to be read, because versions alone do not tell.
        var read = 0
        /// Objects of another version with the same content.
        var rewritten = 0
    }

    private let state: CacheState
    private let seeds: SeedSpace
    private let store: any BlockStore
    private let mayHaveChanged: Bool

    private static let readersMax = 16
    private static let blocksPerPart = 10_000

    /// - Parameter mayHaveChanged: Others may have mounted the volume since the file was last used,
    ///   as far as the mount token tells.
    init(_ subject: Subject, _ store: any BlockStore, mayHaveChanged: Bool) {
        self.mayHaveChanged = mayHaveChanged
        state = subject.state
        seeds = subject.recovered.seeds
        self.store = store
    }

    /// Lists the store once, and reads of it what the list does not decide. Blocks.
    func run(_ progress: @escaping @Sendable (Int, Int) -> Void) throws(StoreError) -> Outcome {
        let slots = (0..<state.geometry.slotCount).filter { !state.slots.isFree($0) }
        let listed = try list()
        var outcome = Outcome()
        outcome.compared = slots.count
        var asked: [Question] = []
        for slot in slots where !listed.isSame[slot] {
            // What the list does not name is absent.
            let version = listed.others[slot, default: .absent]
            if let version {
                let isSame = Base(version) == state.slots.base(slot)
                if isSame || isBlind(slot, version) { continue }
            }
            asked.append(
                Question(
                    slot: slot, block: state.slots.block(slot), base: state.slots.base(slot),
                    version: version))
        }
        let answers = try ask(asked, progress)
        for answer in answers {
            outcome.read += answer.isRead ? 1 : 0
            switch answer.verdict {
            case .same: break
            case .rewritten: outcome.rewritten += 1
            case .differs(let difference): outcome.differences.append(difference)
            }
        }
        outcome.differences.sort { $0.block < $1.block }
        return outcome
    }

    // MARK: Listing

    /// What the list says of the blocks of the file, by slot.
    private struct Listed {
        /// The object is the one that the block derives from.
        var isSame: [Bool]
        /// nil: there is an object, and the list does not say which.
        var others: [Int: ObjectVersion?] = [:]
    }

    private func list() throws(StoreError) -> Listed {
        let count = state.geometry.slotCount
        let listed = Locked(Listed(isSame: Array(repeating: false, count: count)))
        let blockCount = state.geometry.volumeBlocks
        let parts = min(Self.readersMax, Int(blockCount) / Self.blocksPerPart + 1)
        let known = Shared(self)
        try store.listAll(parts: parts) { blocks in
            let state = known.comparison.state
            listed.withLock { listed in
                for found in blocks where found.block < blockCount {
                    guard let slot = state.slot(of: found.block) else { continue }
                    if let version = found.version, Base(version) == state.slots.base(slot) {
                        listed.isSame[slot] = true
                    } else {
                        listed.others.updateValue(found.version, forKey: slot)
                    }
                }
            }
            return true
        }
        return listed.withLock { $0 }
    }

    /// For several threads: the file does not change while it is compared.
    private final class Shared: @unchecked Sendable {
        let comparison: Comparison
        init(_ comparison: Comparison) { self.comparison = comparison }
    }

    // MARK: Blocks that the list does not decide

    private struct Question: Sendable {
        let slot: Int
        let block: UInt64
        let base: Base
        let version: ObjectVersion?
    }

    private struct Answer {
        enum Verdict {
            case same
            case rewritten
            case differs(Difference)
        }

        let verdict: Verdict
        let isRead: Bool
    }

    private func ask(
        _ questions: [Question], _ progress: @escaping @Sendable (Int, Int) -> Void
    ) throws(StoreError) -> [Answer] {
        let work = Locked((next: 0, answers: [Answer](), error: StoreError?.none))
        let shared = Shared(self)
        let workers = (0..<min(Self.readersMax, questions.count)).map { number in
            Worker(name: "compare-\(number)") {
                let buffer = AlignedBuffer(shared.comparison.store.blockSize)
                while true {
                    let index = work.withLock { work -> Int? in
                        guard work.error == nil, work.next < questions.count else { return nil }
                        work.next += 1
                        return work.next - 1
                    }
                    guard let index else { return }
                    do throws(StoreError) {
                        let answer = try shared.comparison.judge(questions[index], buffer)
                        let done = work.withLock { work in
                            work.answers.append(answer)
                            return work.answers.count
                        }
                        progress(done, questions.count)
                    } catch {
                        work.withLock { $0.error = $0.error ?? error }
                    }
                }
            }
        }
        for worker in workers { worker.join() }
        let (answers, error) = work.withLock { ($0.answers, $0.error) }
        if let error { throw error }
        return answers
    }

    private func judge(
        _ question: Question, _ buffer: AlignedBuffer
    ) throws(StoreError) -> Answer {
        let slot = question.slot
        let isClean = state.slots.state(slot) == .clean
        let hasIntents = !state.intents(of: question.block).isEmpty
        if question.version == nil || !isClean && !hasIntents {
            // The list did not say which version it is, or that says it all.
            var version = question.version ?? .absent
            if question.version == nil { version = try store.head(question.block) }
            if Base(version) == question.base || isBlind(slot, version) {
                return Answer(verdict: .same, isRead: false)
            }
            if !isClean, !hasIntents {
                return Answer(verdict: .differs(difference(question, version)), isRead: false)
            }
        }
        var version: ObjectVersion
        do throws(StoreError) {
            version = try store.get(question.block, into: buffer.mutableBytes)
        } catch {
            guard error.kind == .damaged else { throw error }
            version = try store.head(question.block)
            let kind = Difference.Kind.unreadable
            return Answer(verdict: .differs(difference(question, version, kind)), isRead: true)
        }
        if Base(version) == question.base { return Answer(verdict: .same, isRead: true) }
        if version == .absent {
            buffer.mutableBytes.initializeMemory(as: UInt8.self, repeating: 0)
        }
        if isClean ? hasSame(slot, buffer) : isOurs(question.block, version, buffer) {
            return Answer(
                verdict: question.base == .unknown ? .same : .rewritten, isRead: true)
        }
        return Answer(verdict: .differs(difference(question, version)), isRead: true)
    }

    /// Whether it was written without a look at what was there, and replaces whatever that is.
    private func isBlind(_ slot: Int, _ version: ObjectVersion) -> Bool {
        state.slots.state(slot) != .clean && state.slots.base(slot) == .unknown
            && (version == .absent || !mayHaveChanged)
    }

    private func difference(
        _ question: Question, _ version: ObjectVersion, _ known: Difference.Kind? = nil
    ) -> Difference {
        let state = state.slots.state(question.slot)
        let kind: Difference.Kind =
            switch (question.base, version) {
            case (.unknown, _) where state != .clean: .unknown
            case (.absent, _): .new
            case (_, .absent): .deleted
            default: .changed
            }
        return Difference(
            block: question.block, state: state, kind: known ?? kind, base: question.base,
            version: version)
    }

    /// Whether every granule that is here has the checksum of the store's.
    private func hasSame(_ slot: Int, _ buffer: AlignedBuffer) -> Bool {
        let geometry = state.geometry
        let size = geometry.granuleSize
        let block = state.slots.block(slot)
        return (0..<geometry.granulesPerBlock).allSatisfy { granule in
            let bytes = buffer.slice(granule * size..<(granule + 1) * size)
            let known: UInt32?
            switch state.source(slot: slot, block: block, granule: granule) {
            case .missing: return true
            case .slot(let crc): known = crc
            case .overlay(let overlay): known = overlay.crc
            case .zeros: known = nil
            }
            guard let known else { return bytes.allSatisfy { $0 == 0 } }
            let index = geometry.granuleSeedIndex(block: block, granule: granule)
            return Checksum.crc32c(bytes, seed: seeds.seed(.granule, index)) == known
        }
    }

    /// Whether it is what an upload has sent of which nobody knows how it ended.
    private func isOurs(
        _ block: UInt64, _ version: ObjectVersion, _ buffer: AlignedBuffer
    ) -> Bool {
        let intents = state.intents(of: block)
        if intents.isEmpty { return false }
        let digest = Digest.sha256(buffer.bytes)
        return intents.contains {
            version == .absent ? $0.record.isDelete : $0.record.digest == digest
        }
    }
}
