import BlockCache
import BlockStore
import CacheFile
import FileIO
import Journal
import Simulation

extension SimWorld {
    /// Lets one item get on: a write returns, a plan runs, or the engine hears of the end.
    func advance(_ item: PendingItem) {
        if !item.tokens.isEmpty {
            let token = item.tokens.remove(at: random.below(item.tokens.count))
            do { try disk.complete(token) } catch { item.error = item.error ?? error }
            if !item.tokens.isEmpty { return }
        }
        switch item.kind {
        case .group(let group):
            if item.error == nil {
                oracle.groupReturned(first: group.firstLSN, last: group.lastLSN)
            }
            note("group \(group.firstLSN)...\(group.lastLSN) returned")
            end(item) { engine.groupWritten(group, item.error) }
        case .flush:
            guard let token = item.flush else { return end(item) {} }
            do { try disk.endFlush(token) } catch { item.error = error }
            if item.error == nil { oracle.flushReturned() }
            note("flush returned")
            end(item) { engine.flushed(item.error) }
        case .slot(let write):
            note("slot \(write.slot) of block \(write.block) returned")
            end(item) { engine.slotWritten(write, item.error) }
        case .checkpoint:
            note("checkpoint writes returned")
            end(item) { engine.checkpointWritten(item.error) }
        case .markPoisoned: end(item) {}
        case .read(let task): advance(item, task)
        case .hit(let user): advance(item, user)
        case .destage(let task): advance(item, task)
        case .fetch(let task): advance(item, task)
        case .upload(let task): advance(item, task)
        case .settle(let task): advance(item, task)
        case .survey(let task): advance(item, task)
        case .goOn(let trim): end(item) { engine.goOn(trim) }
        case .move(let task): advance(item, task)
        case .reserve(let task):
            task.carryOut(disk)
            note("space reserved: \(task.refusal?.message ?? "done")")
            if task.refusal != nil { coverage.hit(.growthRefused) }
            end(item) { engine.reserved(task) }
        case .truncate(let size):
            do { try disk.truncate(to: size) } catch { item.error = error }
            note("cut off at \(size)")
            end(item) { engine.truncated(item.error) }
        }
    }

    /// Whether bad bytes are what was to be found.
    func foundDamage(_ mark: Mark) -> Bool {
        if isDamaged { coverage.hit(mark) }
        return isDamaged
    }

    func end(_ item: PendingItem, _ tell: () -> Void) {
        pending.removeAll { $0 === item }
        tell()
    }

    private var runner: PlanRunner {
        PlanRunner(file: disk, geometry: geometry, seeds: engine.seeds)
    }

    private func advance(_ item: PendingItem, _ task: PlanTask) {
        if !item.isPerformed {
            runner.run(task.plan)
            item.isPerformed = true
            if !task.plan.badGranules.isEmpty, !foundDamage(.readBad) {
                broken("block \(task.plan.block): granules \(task.plan.badGranules.runs) read bad")
            }
            if random.chance(50) { return }
        }
        end(item) { engine.planDone(task) }
    }

    private func advance(_ item: PendingItem, _ user: UserHit) {
        if !item.isPerformed {
            item.isGood = runner.read(user.hit, into: user.buffer.mutableBytes)
            item.isPerformed = true
            if !item.isGood, !foundDamage(.readBad) {
                broken("block \(user.block): a reader of its slot finds damaged bytes")
            }
            if random.chance(50) { return }
        }
        coverage.hit(.hits)
        if engine.state.slot(of: user.block) != user.hit.slot { coverage.hit(.hitsOutlived) }
        end(item) { engine.endHit(user.hit, isGood: item.isGood) }
        hitDone(user, isGood: item.isGood)
    }

    private func advance(_ item: PendingItem, _ task: MoveTask) {
        if !item.isPerformed {
            runner.run(task.plan)
            item.isPerformed = true
            guard task.isReadable else {
                if foundDamage(.readBad) { return }
                return broken("block \(task.plan.block): a move reads bad granules")
            }
            note("block \(task.plan.block) copied from slot \(task.from) to \(task.to)")
            put(item, task.writes.map { ([$0.bytes], $0.offset) })
            return
        }
        end(item) { engine.moved(task, item.error) }
    }

    private func advance(_ item: PendingItem, _ task: DestageTask) {
        if !item.isPerformed {
            runner.run(task.plan)
            item.isPerformed = true
            if task.plan.error == nil, task.plan.badGranules.isEmpty {
                note("destage of block \(task.plan.block) into slot \(task.slot)")
                put(item, task.writes.map { ([$0.bytes], $0.offset) })
                return
            }
            if !foundDamage(.destagedBad) {
                broken("block \(task.plan.block): destage reads bad granules")
            }
        }
        note("destaged block \(task.plan.block)")
        end(item) { engine.destaged([(task, item.error)]) }
    }
}
