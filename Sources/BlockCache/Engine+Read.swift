// Reads of the user, and the plans that reads, merges, uploads and destages share.

import BlockStore
import CacheFile
import FileIO
import Journal

extension Engine {
    package func read(_ part: ReadPart) {
        _ = noteRead(part.block)
        resolve(part, fetched: nil)
        pump()
    }

    /// Finds every granule, or asks the store for the block.
    /// - Parameter fetched: an answer of the store that is as new as anything missing locally.
    func resolve(_ part: ReadPart, fetched: Fetched?) {
        let slot = state.slot(of: part.block)
        if let slot {
            noteUse(slot)
            if needsVerification(slot), !servesUnverified(part.block) { return miss(part) }
        }
        let fetched = fetched ?? answerBeingFilled(part.block)
        let sources = part.granules.map { source(slot, part.block, $0) }
        let isIncomplete = zip(part.granules, sources).contains { granule, source in
            source.isMissing && !(fetched?.covers(granule) ?? false)
        }
        if isIncomplete { return miss(part) }
        let plan = ReadPlan(block: part.block, slot: slot, target: part.request.buffer)
        for (number, granule) in part.granules.enumerated() {
            let at = part.targetOffset + number * geometry.granuleSize
            add(sources[number], granule, at, to: plan, fetched: fetched)
        }
        if !part.wasMiss { statistics.readHits += 1 }
        begin(plan, .userRead(part))
    }

    private func miss(_ part: ReadPart) {
        if !part.wasMiss {
            part.wasMiss = true
            statistics.readMisses += 1
        }
        fetch(part.block, for: .reader(part))
    }

    /// A clean block from an earlier session is served only once the store confirmed its version.
    func needsVerification(_ slot: Int) -> Bool {
        !isVerified[slot] && state.slots.rawState(slot) == SlotState.clean.rawValue
    }

    /// Ends a part of a read.
    func finish(_ part: ReadPart, _ error: VolumeError?) {
        let request = part.request
        if let error, request.error == nil { request.error = error }
        request.partsLeft -= 1
        guard request.partsLeft == 0 else { return }
        let outcome: Result<ReadReply, VolumeError> =
            request.error.map { .failure($0) }
            ?? .success(ReadReply(buffer: request.buffer, range: request.range))
        reply { request.reply(outcome) }
    }

    // MARK: Plans

    /// Adds one granule to a plan. A missing one comes from `fetched`, which has to cover it.
    func add(
        _ source: CacheState.Source, _ granule: Int, _ targetOffset: Int, to plan: ReadPlan,
        fetched: Fetched?
    ) {
        switch source {
        case .slot(let crc):
            let offset = geometry.slotOffset(plan.slot ?? 0)
            plan.add(.slot(offset: offset), granule: granule, targetOffset: targetOffset, crc: crc)
        case .overlay(let overlay):
            add(overlay, targetOffset, to: plan)
        case .zeros:
            plan.add(.zeros, granule: granule, targetOffset: targetOffset, crc: nil)
        case .missing:
            if let patch = state.patch(plan.block, granule) {
                let image = image(of: patch, over: fetched)
                let piece = DataPiece(image, 0..<geometry.granuleSize)
                plan.add(.memory(piece), granule: granule, targetOffset: targetOffset, crc: nil)
            } else if let buffer = fetched?.buffer {
                let from = granule * geometry.granuleSize
                let piece = DataPiece(buffer, from..<from + geometry.granuleSize)
                plan.add(.memory(piece), granule: granule, targetOffset: targetOffset, crc: nil)
            } else {
                plan.add(.zeros, granule: granule, targetOffset: targetOffset, crc: nil)
            }
        }
    }

    /// The granule that a patch and the store's answer make together.
    func image(of patch: Patch, over fetched: Fetched?) -> AlignedBuffer {
        let image = AlignedBuffer.zeroed(geometry.granuleSize)
        if let buffer = fetched?.buffer {
            let from = patch.granule * geometry.granuleSize
            image.mutableBytes.copyMemory(from: buffer.slice(from..<from + geometry.granuleSize))
        }
        patch.apply(over: image.mutableBytes)
        return image
    }

    /// Adds a granule that lies in the journal; its ring bytes stay until the plan is done.
    func add(_ overlay: Overlay, _ targetOffset: Int, to plan: ReadPlan) {
        switch overlay.place {
        case .memory(let piece):
            plan.add(
                .memory(piece), granule: overlay.granule, targetOffset: targetOffset, crc: nil)
        case .zeros:
            plan.add(.zeros, granule: overlay.granule, targetOffset: targetOffset, crc: nil)
        case .ring(let position, let crc):
            pin(position)
            plan.ringPins.append(position)
            plan.add(
                .ring(offset: journal.fileOffset(position)), granule: overlay.granule,
                targetOffset: targetOffset, crc: crc)
        }
    }

    func begin(_ plan: ReadPlan, _ purpose: PlanTask.Purpose) {
        if let slot = plan.slot { beginIO(slot) }
        plansRunning += 1
        work.append(.read(PlanTask(plan, purpose)))
    }

    /// A plan has run.
    package func planDone(_ task: PlanTask) {
        let plan = task.plan
        plansRunning -= 1
        if let slot = plan.slot { endIO(slot) }
        unpin(plan.ringPins)
        switch task.purpose {
        case .userRead(let part): userReadDone(part, plan)
        case .merge(let op, let granules): merged(op, granules, plan)
        case .snapshot(let upload): snapshotDone(upload, plan)
        }
        pump()
    }

    private func userReadDone(_ part: ReadPart, _ plan: ReadPlan) {
        if let error = plan.error { return finish(part, VolumeError(.io, error.message)) }
        if plan.badGranules.isEmpty { return finish(part, nil) }
        part.roundsLeft -= 1
        if part.roundsLeft > 0, dropRotten(part.block, plan) {
            return resolve(part, fetched: nil)
        }
        finish(part, rot(part.block, plan.badGranules))
    }

    /// Bytes on the medium do not match their checksum, on a second look past the page cache and
    /// with the slot held in place all the while (I15). A clean block is dropped and fetched again.
    /// - Returns: whether another try makes sense.
    func dropRotten(_ block: UInt64, _ plan: ReadPlan) -> Bool {
        guard let slot = plan.slot else { return false }
        // The block has moved or changed since the plan was made: look again.
        guard state.slot(of: block) == slot else { return true }
        guard state.slots.state(slot) == .clean, active[block] == nil, poison == nil,
            canCarveOut(block),
            journal.hasRoom(recordBytes: 64, dataBytes: 0, reserved: true)
        else { return false }
        log(.warning, "block \(block): cached bytes were damaged and are fetched again")
        dropBlock(.evict(EvictRecord(slot: UInt32(slot), block: block)), slot: slot, block: block)
        return true
    }

    func rot(_ block: UInt64, _ granules: GranuleSet) -> VolumeError {
        let size = geometry.granuleSize
        let places = granules.runs.map {
            "\($0.lowerBound * size)-\($0.upperBound * size - 1)"
        }.joined(separator: ", ")
        let text =
            "block \(block): bytes \(places) of the cache file are damaged and not in the store"
        log(.error, text)
        return VolumeError(.damaged, text)
    }
}
