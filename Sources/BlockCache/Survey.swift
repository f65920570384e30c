// What a survey of the store consists of: see Engine+Survey.swift.

import BlockStore

/// How much of the store is listed after the start.
public enum SurveyExtent: Sendable {
    /// Nothing.
    case none
    /// The first page, which is all of a small volume, and then where blocks of an earlier mount wait
    /// to be compared.
    case cached
    /// Everything.
    case all
}

/// A question to the store which blocks it has.
package final class SurveyTask {
    package enum Scope {
        /// From the beginning of the range on, as far as one request tells: `surveyed`.
        case page(Range<UInt64>)
        /// All of a part of a store that has no order: `surveyedSome`, then `surveyedPart`.
        case part(ListPart)
    }

    enum Purpose {
        case walk(SurveyWalk)
        /// A trim wants to know what there is to be deleted.
        case zeros
        case whole
    }

    package let scope: Scope
    let purpose: Purpose
    let changes: SurveyChanges

    init(_ scope: Scope, _ purpose: Purpose, _ changes: SurveyChanges) {
        self.scope = scope
        self.purpose = purpose
        self.changes = changes
    }
}

/// Blocks of which an answer may tell less than is known: since it was asked for they have left
/// their slots, or the store was seen to have another version.
final class SurveyChanges {
    private(set) var blocks: Set<UInt64> = []

    func insert(_ block: UInt64) { blocks.insert(block) }
}

/// Blocks that are listed one page after the other.
final class SurveyWalk {
    /// The first one that has not been listed or passed over.
    var next: UInt64
    let end: UInt64
    var isAsking = false

    init(_ range: Range<UInt64>) {
        next = range.lowerBound
        end = range.upperBound
    }

    var isOver: Bool { next == end && !isAsking }
}

/// An answer on its way into the engine, a bounded part in one event.
struct SurveyAnswer {
    enum Listed {
        case page([ListedBlock], next: Int)
        /// Versions have been looked at before.
        case set(BlockSet)
    }

    var listed: Listed
    /// What of the range has not been looked at.
    var left: Range<UInt64>
    let changes: SurveyChanges

    /// The next block that the store had.
    mutating func nextListed() -> (block: UInt64, version: ObjectVersion?)? {
        switch listed {
        case .page(let blocks, var next):
            while next < blocks.count, blocks[next].block < left.lowerBound { next += 1 }
            listed = .page(blocks, next: next)
            guard next < blocks.count, blocks[next].block < left.upperBound else { return nil }
            return (blocks[next].block, blocks[next].version)
        case .set(let set):
            return set.first(in: left).map { ($0, nil) }
        }
    }
}

/// A store without an order, of which all has to be known before anything is known to be absent.
final class WholeSurvey {
    var present: BlockSet
    var partsLeft: Int
    var error: StoreError?
    let changes = SurveyChanges()

    init(blockCount: UInt64, parts: Int) {
        present = BlockSet(count: blockCount)
        partsLeft = parts
    }
}

/// The survey of one mount.
struct Survey {
    enum Stage {
        case none
        /// The first page is being asked for: of a small volume it is all.
        case beginning
        case walking
        case whole(WholeSurvey)
        case over
    }

    var stage = Stage.none
    var walks: [SurveyWalk] = []
    /// The store has failed; it is asked again then.
    var restsUntilMs: UInt64 = 0
    var failures = 0
    /// Answers that have not been taken in.
    var answers: [SurveyAnswer] = []
    /// Of questions and answers under way.
    var changes: [SurveyChanges] = []
    /// Cached blocks of which the list has shown another version: each is asked about before it is
    /// given up.
    var different: [UInt64] = []
    var asking: Set<UInt64> = []
    /// Blocks that have been listed: one of them that is in no slot and not known to be absent has
    /// an object.
    var covered = RangeSet<UInt64>()
    var isListingZeros = false
    /// Ranges are not to be had: the server refuses.
    var isRefused = false

    /// Whether time passing gets it on.
    var isBusy: Bool {
        if !answers.isEmpty || !different.isEmpty { return true }
        if case .walking = stage { return true }
        return restsUntilMs > 0
    }
}
