/// What a simulation has come across: a test requires a minimum of each, so that a branch which is
/// no longer hit makes it fail.
package enum Mark: Int, CaseIterable, Sendable {
    // What was under way at a crash.
    case crashIdle, crashGroupWrite, crashSealWrite, crashPadWrite, crashFlush, crashUserSlotWrite
    case crashFill, crashDestage, crashCheckpointFrozen, crashCheckpointPages
    case crashCheckpointPagesWritten, crashSuperblockWrite, crashSuperblockWritten
    case crashWrappedRing, crashUploadSent, crashUploadLanded, crashBeforeCheckpoint
    case crashWritesWaiting, crashFinalCheckpoint
    case crashReserving, crashReserved, crashEmptying, crashMove, crashSwitchingUp,
        crashSwitchingDown
    case crashTruncating
    // What recovery said.
    case verdictEndOfLog, verdictDeadGroups, verdictTornTail, droppedFills, slotMismatchCut
    case pageMateUsed, superblockMateRewritten, cutInRecovery, secondRecovery, lostWrites
    // What was replayed.
    case replayedData, replayedMapNew, replayedMapMove, replayedMove, replayedExtend, replayedFill
    case replayedFillExtend, replayedZeroBase, replayedClean, replayedEvict
    case replayedPatch, replayedCarried, replayedMerge
    case replayedSeal, replayedPad, replayedIntent, replayedCarriedIntent
    case replayedZero, replayedZeroRange, replayedCarriedZero, replayedDataZero, replayedCleanRange
    // What the histories did.
    case wroteBlocks, wroteGranules, wroteBytes, wroteAcross, wroteZeros, reads, fsyncs
    case hits, hitsOutlived
    case storeGets, storePartGets, readAhead, storePuts, storeDeletes, storeFailures, storeProbes,
        lostReplies, verifications
    case overtaken, overtakenStored
    case patched, carried, merged, announced, carriedIntent
    case settled, settledByContent, conditionsFailed, lateRequests, conflicts, tookRemote
    case trims, trimmedRanges, trimsWaiting, extentDeletes, extentsCarried, extentsCleaned
    case writtenInExtent, evictedInExtent, evictionsCut, crashLongTrim, crashWithExtents
    case grew, shrank, growthRefused, moved, cutOffByMount
    case checkpoints, continued, cleanStops, stopsWithDirty, poisoned, markedPoisoned
    // What lists of the store were good for.
    case lists, listFailures, verifiedByList
    // What became of a disk that lied.
    case damagedHistories, damageRefused, damageSurvived, damageLivedWith
    case damagedEnd, storeAhead
    case readBad, destagedBad, bytesBad, readRefused, writeRefused
}

/// Ways in which recovery goes on after it has read the log.
package enum Branch: Int, CaseIterable, Sendable {
    case endOfLog, deadGroups, tornTail, slotMismatchCut, droppedFills
}

/// Kinds of records, as they are counted against branches.
package enum RecordKind: Int, CaseIterable, Sendable {
    case data, merge, patch, carried, mapNew, mapMove, move, extend, fill, fillExtend, clean, evict
    case intent, carriedIntent, seal, pad, zero, zeroRange, carriedZero, dataZero, cleanRange
}

/// Counters of one run, and the set of crash images seen.
package struct Coverage: Sendable {
    package var images = 0
    package var recoveries = 0
    package var violations = 0
    package var steps = 0
    package var histories = 0
    package private(set) var distinct: Set<UInt64> = []
    private var counts = [Int](repeating: 0, count: Mark.allCases.count)
    private var matrix = [Int](
        repeating: 0, count: RecordKind.allCases.count * Branch.allCases.count)

    package init() {}

    package subscript(mark: Mark) -> Int { counts[mark.rawValue] }

    package mutating func hit(_ mark: Mark, _ count: Int = 1) { counts[mark.rawValue] += count }

    /// Recoveries in which such a record was replayed and this branch was taken.
    package subscript(kind: RecordKind, branch: Branch) -> Int {
        matrix[kind.rawValue * Branch.allCases.count + branch.rawValue]
    }

    mutating func replayed(_ kinds: Set<RecordKind>, _ branches: [Branch]) {
        for kind in kinds {
            for branch in branches {
                matrix[kind.rawValue * Branch.allCases.count + branch.rawValue] += 1
            }
        }
    }

    /// Cells of the matrix hit less often than `minimum`.
    package func missingCells(_ minimum: Int) -> [String] {
        RecordKind.allCases.flatMap { kind in
            Branch.allCases.filter { self[kind, $0] < minimum }.map { "\(kind) x \($0)" }
        }
    }

    /// Records down, branches across.
    package var matrixTable: String {
        func cell(_ text: String) -> String {
            text + String(repeating: " ", count: max(1, 17 - text.count))
        }
        let head = cell("record") + Branch.allCases.map { cell("\($0)") }.joined()
        let rows = RecordKind.allCases.map { kind in
            cell("\(kind)") + Branch.allCases.map { cell("\(self[kind, $0])") }.joined()
        }
        return ([head] + rows).joined(separator: "\n")
    }

    /// Counts a crash image.
    package mutating func sawImage(_ hash: UInt64) {
        images += 1
        distinct.insert(hash)
    }

    package mutating func add(_ other: Coverage) {
        images += other.images
        recoveries += other.recoveries
        violations += other.violations
        steps += other.steps
        histories += other.histories
        distinct.formUnion(other.distinct)
        for index in counts.indices { counts[index] += other.counts[index] }
        for index in matrix.indices { matrix[index] += other.matrix[index] }
    }

    /// Marks hit less often than `minimum`.
    package func missing(_ minimum: Int, but exceptions: [Mark: Int] = [:]) -> [Mark] {
        Mark.allCases.filter { self[$0] < exceptions[$0, default: minimum] }
    }

    /// Three columns of counters.
    package var table: String {
        var lines: [String] = []
        var line = ""
        for (number, mark) in Mark.allCases.enumerated() {
            let cell = "\(mark) \(self[mark])"
            line += cell + String(repeating: " ", count: max(1, 36 - cell.count))
            if number % 3 == 2 {
                lines.append(line)
                line = ""
            }
        }
        if !line.isEmpty { lines.append(line) }
        return lines.joined(separator: "\n")
    }
}

/// A promise was broken. The message says which.
package struct Violation: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
