// Trims: bytes of the volume become zeros. docs/format.md, "ZERO". A trim is a write (R6) that
// needs no data: parts of blocks are writes of zeros (Engine+Write); whole blocks in slots take a
// ZERO each; those in no slot become zero extents, however many they are.

import CacheFile
import FileIO
import Journal

/// The whole blocks of a trim; a part of its request until all of them have been looked at.
package final class Trim: @unchecked Sendable {
    package let request: WriteRequest
    /// Not looked at yet.
    package internal(set) var left: Range<UInt64>

    package init(blocks: Range<UInt64>, request: WriteRequest) {
        left = blocks
        self.request = request
    }
}

/// Who waits for zero extents to become fewer.
package enum ExtentWaiter {
    case trim(Trim)
    case part(WriteOp)
}

extension Engine {
    /// Begins a trim of whole blocks.
    package func trim(_ trim: Trim) {
        if let poison { return finishPart(of: trim.request, poison) }
        if isStopping {
            return finishPart(of: trim.request, VolumeError(.stopped, "the volume is stopping"))
        }
        trims.append(trim)
        goOn(trim)
    }

    /// Looks at the next blocks of a trim: one event, bounded whatever its length.
    package func goOn(_ trim: Trim) {
        walk(trim)
        pump()
    }

    private func walk(_ trim: Trim, isResumed: Bool = false) {
        guard poison == nil, trims.contains(where: { $0 === trim }) else { return }
        let piece = nextPiece(trim.left)
        if let range = piece.range {
            let record = Record.zeroRange(ZeroRangeRecord(blocks: range))
            guard hasExtentRoom(range) else {
                return waitingForExtents.append(.trim(trim))
            }
            guard hasUserRoom(record, dataBytes: 0, isResumed: isResumed) else {
                reclaimTarget = journal.end
                return waitingForRoom.append { [unowned self] in walk(trim, isResumed: true) }
            }
            append(record)
            noteTrimmed(range)
        }
        trim.left = piece.end..<trim.left.upperBound
        for block in piece.cached {
            trim.request.partsLeft += 1
            beginPart(WriteOp(trimmed: block, request: trim.request, geometry))
        }
        if !trim.left.isEmpty { return work.append(.goOn(trim)) }
        trims.removeAll { $0 === trim }
        // What was zeros before has to be as sure as what has become so now.
        trim.request.lsn = max(trim.request.lsn, journal.lastRecordLSN)
        finishPart(of: trim.request, nil)
    }

    // MARK: Walk

    private struct Piece {
        /// Blocks in no slot that are not known to be zeros, from the first to the last.
        var range: Range<UInt64>?
        /// Blocks that are in slots or about to be.
        var cached: [UInt64] = []
        var end: UInt64
    }

    /// As many blocks as one event may look at. Ends before a block in no slot that has a writer: it
    /// may have merged what the block was before, so the trim takes its turn behind it.
    private func nextPiece(_ blocks: Range<UInt64>) -> Piece {
        var piece = Piece(end: blocks.lowerBound)
        let written = blocksBeingWritten(blocks)
        var nextWritten = written.startIndex
        var steps = configuration.trimStepsMax
        while piece.end < blocks.upperBound, steps > 0 {
            steps -= 1
            let block = piece.end
            if nextWritten < written.endIndex, written[nextWritten] == block {
                nextWritten += 1
                let isCached = state.slot(of: block) != nil
                if !isCached, piece.range != nil { return piece }
                piece.cached.append(block)
                piece.end += 1
                if isCached { continue }
                return piece
            }
            let limit = nextWritten < written.endIndex ? written[nextWritten] : blocks.upperBound
            let passed = absent.passed(from: block)
            if passed > block {
                piece.end = min(passed, limit)
            } else if state.isRegionEmpty(of: block) {
                let region = block / CacheState.regionBlocks + 1
                piece.end = min(region * CacheState.regionBlocks, limit)
                add(block..<piece.end, to: &piece)
            } else {
                piece.end += 1
                if state.slot(of: block) != nil {
                    piece.cached.append(block)
                } else if !absent.contains(block) {
                    add(block..<piece.end, to: &piece)
                }
            }
        }
        return piece
    }

    private func add(_ range: Range<UInt64>, to piece: inout Piece) {
        if let known = state.zeros.extent(at: range.lowerBound),
            known.blocks.upperBound >= range.upperBound
        {
            return
        }
        piece.range = (piece.range?.lowerBound ?? range.lowerBound)..<range.upperBound
    }

    private func blocksBeingWritten(_ blocks: Range<UInt64>) -> [UInt64] {
        active.compactMap { block, activity in
            activity.writer != nil && blocks.contains(block) ? block : nil
        }.sorted()
    }

    // MARK: Parts

    /// The one record of a whole block's trim.
    func trimStep(_ op: WriteOp) -> Step {
        if op.isPlaced { return .done }
        if let slot = state.slot(of: op.block) {
            return .record(.zero(ZeroRecord(slot: UInt32(slot), block: op.block)), [])
        }
        let range = op.block..<op.block + 1
        guard hasExtentRoom(range) else { return .waitForExtents }
        return .record(.zeroRange(ZeroRangeRecord(blocks: range)), [])
    }

    /// A trim of what is zeros already is done when the records that made it so are written.
    func completeBlank(_ op: WriteOp) {
        op.request.lsn = max(op.request.lsn, journal.lastRecordLSN)
        complete(op, nil)
    }

    // MARK: State

    /// Whether a block in no slot is known to be zeros.
    func isZeroWithoutSlot(_ block: UInt64) -> Bool {
        absent.contains(block) || state.zeros.contains(block)
    }

    /// Whether a trim of a block would change nothing.
    func isBlank(_ block: UInt64, _ slot: Int?) -> Bool {
        guard let slot else { return isZeroWithoutSlot(block) }
        return state.slots.isZeroBase(slot) && state.present(slot: slot).isEmpty
            && state.patched(block).isEmpty && !needsVerification(slot)
    }

    /// Blocks of this range in no slot have become zeros: answers and fills under way are older.
    func noteTrimmed(_ range: Range<UInt64>) {
        for block in active.keys where range.contains(block) && state.slot(of: block) == nil {
            noteTouched(block, .all(geometry.granulesPerBlock))
        }
        let isOnlyOne = state.zeros.count == 1 && state.zeros.items[0].blocks == range
        if isOnlyOne { zeroDueMs = now + configuration.writeDelayMs }
    }

    // MARK: Bounds (I9)

    var extentsMax: Int { min(geometry.ring.extentsMax, configuration.extentsMax) }

    /// Whether a trim may add a range: half of those that can be carried are for trims, the other
    /// half for blocks that leave their slots in the middle of a range.
    func hasExtentRoom(_ range: Range<UInt64>) -> Bool {
        state.zeros.count < extentsMax / 2 || state.zeros.touches(range)
    }

    /// Whether a block may leave its slot.
    func canCarveOut(_ block: UInt64) -> Bool {
        state.zeros.count < extentsMax || !state.zeros.splits(at: block)
    }

    func waitForExtents(_ op: WriteOp) {
        if finalStage == .running { return waitingForExtents.append(.part(op)) }
        complete(op, VolumeError(.stopped, "the volume is stopping"))
    }

    /// Lets those go on who wait for extents to become fewer.
    func pumpExtents() {
        for _ in 0..<waitingForExtents.count where state.zeros.count < extentsMax / 2 {
            switch waitingForExtents.popFirst() {
            case .trim(let trim): walk(trim)
            case .part(let op): resumeTrim(op)
            case nil: break
            }
        }
    }

    /// The volume stops or has failed: no trim is looked at any further.
    func abandonTrims(_ error: VolumeError) {
        for trim in trims { finishPart(of: trim.request, error) }
        trims = []
        while let waiter = waitingForExtents.popFirst() {
            // Of a failed volume all writers are abandoned together.
            if case .part(let op) = waiter, poison == nil { complete(op, error) }
        }
    }

    // MARK: Carrying

    /// Logs a zero extent again; false when there is no room for that.
    func carry(_ extent: ZeroExtents.Extent) -> Bool {
        let record = Record.zeroRange(
            ZeroRangeRecord(blocks: extent.blocks, carriedLSN: extent.lsn))
        let size = record.encodedSize(geometry)
        guard journal.hasRoomToCarry(recordBytes: size, dataBytes: 0) else { return false }
        append(record)
        statistics.carried += 1
        return true
    }
}
