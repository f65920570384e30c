// The survey: which blocks the store has, and in which versions, is learnt from lists of it, a
// thousand at a time, in the background. It verifies what an earlier mount left in the cache
// without a request for each block, shows which blocks are absent, so that they are neither asked
// for nor deleted, and so says of blocks that are written for the first time what they replace.

import BlockStore
import CacheFile
import FileIO

extension Engine {
    func beginSurvey() {
        guard configuration.survey != .none else { return }
        let all = 0..<geometry.volumeBlocks
        if configuration.storeListsInOrder {
            survey.stage = .beginning
            survey.walks = [SurveyWalk(all)]
        } else if configuration.survey == .all || isWholeWorthIt {
            beginWhole()
        }
    }

    /// Whether listing everything takes no more requests than asking about each cached block.
    private var isWholeWorthIt: Bool {
        UInt64(state.cleanSlots) > geometry.volumeBlocks / Self.listedTogether
    }

    private static var listedTogether: UInt64 { 1000 }

    func pumpSurvey() {
        takeInAnswers()
        guard !isStopping, finalStage == .running else { return }
        askAboutDifferent()
        guard survey.restsUntilMs <= now else { return }
        survey.restsUntilMs = 0
        switch survey.stage {
        case .none, .over: return
        case .beginning: survey.walks.forEach(ask)
        case .walking:
            walk()
            survey.walks.removeAll { $0.isOver }
            if survey.walks.isEmpty, survey.answers.isEmpty { endSurvey() }
        case .whole(let whole):
            if whole.partsLeft == 0 { beginWhole() }
        }
    }

    private func endSurvey() {
        survey.stage = .over
        log(.info, "listed the blocks in the store; \(statistics.verified) of the cache verified")
    }

    // MARK: Walks

    private func walk() {
        var steps = configuration.surveyStepsMax
        for walk in survey.walks where !walk.isAsking && walk.next < walk.end {
            if configuration.survey == .cached {
                walk.next = nextUnverified(in: walk.next..<walk.end, &steps)
                guard walk.next < walk.end, steps > 0 else { continue }
            }
            ask(walk)
        }
    }

    /// The first block of a range that waits to be compared with the store, or where the steps end.
    private func nextUnverified(in range: Range<UInt64>, _ steps: inout Int) -> UInt64 {
        var block = range.lowerBound
        while block < range.upperBound, steps > 0 {
            steps -= 1
            if state.isRegionEmpty(of: block) {
                let region = block / CacheState.regionBlocks + 1
                block = min(region * CacheState.regionBlocks, range.upperBound)
            } else if let slot = state.slot(of: block), needsVerification(slot) {
                return block
            } else {
                block += 1
            }
        }
        return block
    }

    private func ask(_ walk: SurveyWalk) {
        guard !walk.isAsking else { return }
        walk.isAsking = true
        ask(.page(walk.next..<walk.end), .walk(walk), SurveyChanges())
    }

    private func ask(
        _ scope: SurveyTask.Scope, _ purpose: SurveyTask.Purpose, _ changes: SurveyChanges
    ) {
        if !survey.changes.contains(where: { $0 === changes }) { survey.changes.append(changes) }
        work.append(.survey(SurveyTask(scope, purpose, changes)))
    }

    /// The store has told of a range.
    package func surveyed(_ task: SurveyTask, _ result: Result<ListedRange, StoreError>) {
        guard case .page(let asked) = task.scope else {
            preconditionFailure("a part is not told of in pages")
        }
        statistics.storeLists += 1
        switch result {
        case .failure(let error):
            drop(task.changes)
            surveyFailed(error)
        case .success(let answer):
            survey.failures = 0
            isStoreFailing = false
            precondition(answer.end > asked.lowerBound && answer.end <= asked.upperBound)
            survey.answers.append(
                SurveyAnswer(
                    listed: .page(answer.blocks, next: 0), left: asked.lowerBound..<answer.end,
                    changes: task.changes))
            if case .walk(let walk) = task.purpose { listed(walk, answer.end) }
        }
        switch task.purpose {
        case .walk(let walk): walk.isAsking = false
        case .zeros: survey.isListingZeros = false
        case .whole: break
        }
        pump()
    }

    private func listed(_ walk: SurveyWalk, _ end: UInt64) {
        walk.next = end
        guard case .beginning = survey.stage else { return }
        survey.stage = .walking
        survey.walks = []
        let count = UInt64(configuration.surveysMax)
        let left = walk.end - end
        for part in 0..<count {
            let range = end + left * part / count..<end + left * (part + 1) / count
            if !range.isEmpty { survey.walks.append(SurveyWalk(range)) }
        }
    }

    private func surveyFailed(_ error: StoreError) {
        statistics.storeErrors += 1
        if error.kind == .temporary {
            if configuration.servesUnverified { storeFails(error) }
            let delay = configuration.retryDelayMs << UInt64(min(survey.failures, 8))
            survey.failures += 1
            survey.restsUntilMs = now + min(delay, configuration.retryDelayMaxMs)
            return
        }
        if !survey.isRefused {
            log(
                .warning,
                "cannot list the blocks in the store, so each is asked for alone: \(error.message)")
        }
        survey.isRefused = true
        survey.walks = []
        survey.stage = .over
    }

    // MARK: Stores without an order

    private func beginWhole() {
        let parts = configuration.surveysMax
        let whole = WholeSurvey(blockCount: geometry.volumeBlocks, parts: parts)
        survey.stage = .whole(whole)
        for part in 0..<parts { ask(.part(ListPart(part, of: parts)), .whole, whole.changes) }
    }

    /// The store tells of some blocks of a part. Returns whether it should go on.
    package func surveyedSome(_ task: SurveyTask, _ blocks: [ListedBlock]) -> Bool {
        guard case .whole(let whole) = survey.stage, !isStopping else { return false }
        statistics.storeLists += 1
        for listed in blocks where listed.block < geometry.volumeBlocks {
            whole.present.insert(listed.block)
            if whole.changes.blocks.contains(listed.block) { continue }
            compare(listed.block, listed.version)
        }
        pump()
        return true
    }

    /// The store has told all of a part, or failed.
    package func surveyedPart(_ task: SurveyTask, _ error: StoreError?) {
        defer { pump() }
        guard case .whole(let whole) = survey.stage else { return }
        whole.partsLeft -= 1
        if let error { whole.error = error }
        if isStopping { whole.error = StoreError(.temporary, "the volume is stopping") }
        guard whole.partsLeft == 0 else { return }
        if let error = whole.error {
            drop(whole.changes)
            return surveyFailed(error)
        }
        survey.answers.append(
            SurveyAnswer(
                listed: .set(whole.present), left: 0..<geometry.volumeBlocks,
                changes: whole.changes))
        survey.stage = .walking
    }

    // MARK: Trims

    /// How far a trim from this block on knows what there is to be deleted. Nil: that has been
    /// asked for.
    func knownToDelete(_ blocks: Range<UInt64>) -> UInt64? {
        let first = absent.passed(from: blocks.lowerBound)
        if first >= blocks.upperBound { return blocks.upperBound }
        if let range = survey.covered.ranges.first(where: { $0.contains(blocks.lowerBound) }) {
            return min(range.upperBound, blocks.upperBound)
        }
        guard configuration.storeListsInOrder, !survey.isRefused,
            UInt64(blocks.count) > configuration.listedToDelete
        else { return blocks.upperBound }
        if !survey.isListingZeros, survey.restsUntilMs <= now {
            survey.isListingZeros = true
            ask(.page(blocks), .zeros, SurveyChanges())
        }
        return nil
    }

    // MARK: Changes

    func drop(_ changes: SurveyChanges) { survey.changes.removeAll { $0 === changes } }

    /// What lists that are under way say of a block is not to be believed.
    func noteSurveyed(_ block: UInt64) {
        for changes in survey.changes { changes.insert(block) }
    }
}
