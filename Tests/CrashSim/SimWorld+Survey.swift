import BlockCache
import BlockStore
import CacheFile
import Journal
import Simulation

// Worlds whose store is listed: what lists say, when they are asked, and when they are heard.

extension WorldPlan {
    /// Makes the store one that is listed; drawn apart, so that other worlds stay as they are.
    mutating func addSurvey(_ random: inout SeededRandom) {
        engine.storeListsInOrder = random.chance(70)
        engine.survey = random.pick([.cached, .all])
        engine.surveysMax = random.within(1...3)
        engine.surveyStepsMax = random.pick([1, 3, 65536])
        engine.listedToDelete = UInt64(random.pick([0, 2]))
        listedTogether = random.pick([1, 2, 1000])
        trimPercent = random.pick([10, 30])
        // A survey is of a start: many of these, with something in the cache.
        storedPercent = random.pick([30, 60])
    }
}

extension SimWorld {
    func advance(_ item: PendingItem, _ task: SurveyTask) {
        if !item.isPerformed {
            item.isPerformed = true
            item.listing = list(task)
            if random.chance(50) { return }
        }
        guard let listing = item.listing else { return }
        let before = engine.statistics.verified
        switch task.scope {
        case .page: tellPage(item, task, listing)
        case .part: tellPart(item, task, listing)
        }
        coverage.hit(.verifiedByList, engine.statistics.verified - before)
    }

    private func tellPage(
        _ item: PendingItem, _ task: SurveyTask, _ listing: Result<ListedRange, StoreError>
    ) {
        note("told of the blocks of \(task.scope): \(listing)")
        end(item) { engine.surveyed(task, listing) }
    }

    /// A page in each step.
    private func tellPart(
        _ item: PendingItem, _ task: SurveyTask, _ listing: Result<ListedRange, StoreError>
    ) {
        switch listing {
        case .failure(let error): end(item) { engine.surveyedPart(task, error) }
        case .success(let range):
            let page = range.blocks.prefix(plan.listedTogether)
            note("told of blocks \(page.map(\.block)) of \(task.scope)")
            if page.isEmpty { return end(item) { engine.surveyedPart(task, nil) } }
            item.listing = .success(
                ListedRange(Array(range.blocks.dropFirst(page.count)), end: range.end))
            if !engine.surveyedSome(task, Array(page)) {
                end(item) { engine.surveyedPart(task, nil) }
            }
        }
    }

    func list(_ task: SurveyTask) -> Result<ListedRange, StoreError> {
        if isStoreDown || random.chance(plan.storeFailPercent) {
            coverage.hit(.listFailures)
            return .failure(
                StoreError(random.chance(5) ? .permanent : .temporary, "simulated failure"))
        }
        coverage.hit(.lists)
        switch task.scope {
        case .page(let range):
            let all = listed { range.contains($0) }
            let page = Array(all.prefix(plan.listedTogether))
            let isComplete = page.count == all.count
            return .success(
                ListedRange(
                    page, end: isComplete ? range.upperBound : page[page.count - 1].block + 1))
        case .part(let part):
            let all = listed { $0 % UInt64(part.count) == UInt64(part.index) }
            return .success(ListedRange(all, end: UInt64(plan.volumeBlocks)))
        }
    }

    private func listed(_ isWanted: (UInt64) -> Bool) -> [ListedBlock] {
        store.objects.filter { isWanted($0.key) }.sorted { $0.key < $1.key }.map { block, object in
            ListedBlock(
                block: block, version: object.version, byteCount: UInt64(object.bytes.count))
        }
    }
}
