// Answers of a survey: what a list says of the blocks of a range, brought together with what the
// engine knows. A list is as old as its question. It says nothing about blocks in use, nor about those
// that have left their slots since (`SurveyChanges`): these may be in the store by now.

import BlockStore
import CacheFile

extension Engine {
    /// Takes in answers, as much as one event may.
    func takeInAnswers() {
        var steps = configuration.surveyStepsMax
        while steps > 0, var answer = survey.answers.first {
            let from = answer.left.lowerBound
            takeIn(&answer, &steps)
            survey.covered.insert(contentsOf: from..<answer.left.lowerBound)
            if answer.left.isEmpty {
                drop(answer.changes)
                survey.answers.removeFirst()
            } else {
                survey.answers[0] = answer
            }
        }
    }

    private func takeIn(_ answer: inout SurveyAnswer, _ steps: inout Int) {
        let unsure = unsureBlocks(answer)
        var nextUnsure = unsure.startIndex
        var listed = answer.nextListed()
        while !answer.left.isEmpty, steps > 0 {
            steps -= 1
            let block = answer.left.lowerBound
            while nextUnsure < unsure.endIndex, unsure[nextUnsure] < block { nextUnsure += 1 }
            if nextUnsure < unsure.endIndex, unsure[nextUnsure] == block {
                answer.left = block + 1..<answer.left.upperBound
                if listed?.block == block { listed = answer.nextListed() }
                continue
            }
            if let found = listed, found.block == block {
                compare(block, found.version)
                answer.left = block + 1..<answer.left.upperBound
                listed = answer.nextListed()
                continue
            }
            var end = min(answer.left.upperBound, listed?.block ?? .max)
            if nextUnsure < unsure.endIndex { end = min(end, unsure[nextUnsure]) }
            end = noteAbsent(block..<end)
            answer.left = end..<answer.left.upperBound
        }
    }

    /// Blocks of which the answer may be too old, in order.
    private func unsureBlocks(_ answer: SurveyAnswer) -> [UInt64] {
        let left = answer.left
        var unsure = answer.changes.blocks.filter { left.contains($0) }
        for block in active.keys where left.contains(block) { unsure.insert(block) }
        for (block, until) in suspects where until > now && left.contains(block) {
            unsure.insert(block)
        }
        return unsure.sorted()
    }

    /// The store had this version of a block.
    func compare(_ block: UInt64, _ version: ObjectVersion?) {
        guard let slot = state.slot(of: block) else { return absent.remove(block) }
        guard needsVerification(slot), let version else { return }
        if state.slots.base(slot) == Base(version) {
            isVerified[slot] = true
            statistics.verified += 1
        } else {
            survey.different.append(block)
        }
    }

    /// The store had none of these blocks. Returns how far that was looked at.
    private func noteAbsent(_ range: Range<UInt64>) -> UInt64 {
        let block = range.lowerBound
        if state.isRegionEmpty(of: block) {
            let region = block / CacheState.regionBlocks + 1
            let end = min(region * CacheState.regionBlocks, range.upperBound)
            absent.insert(block..<end)
            return end
        }
        if let slot = state.slot(of: block) {
            if needsVerification(slot) { compare(block, .absent) }
        } else {
            absent.insert(block)
        }
        return block + 1
    }

    // MARK: Differences

    private static var askedAtOnce: Int { 4 }

    /// Before a cached block is given up because of a list, it is asked about: some servers list other
    /// tags than they answer with. Readers that come meanwhile wait for the same answer.
    func askAboutDifferent() {
        survey.asking = survey.asking.filter { active[$0]?.fetch != nil }
        while survey.asking.count < Self.askedAtOnce, let block = survey.different.popLast() {
            guard let slot = state.slot(of: block), needsVerification(slot) else { continue }
            survey.asking.insert(block)
            fetch(block, for: .patch)
        }
    }
}
