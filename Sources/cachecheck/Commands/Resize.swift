import ArgumentParser
import BlockCache
import CacheFile
import FileIO
import Glibc
import Logging
import VolumeOptions

struct Resize: Command {
    static let configuration = CommandConfiguration(
        abstract: "Gives the file room for more blocks, or for fewer.",
        discussion: """
            Dirty blocks are never dropped: where they do not fit, the file is left as it is. Clean \
            blocks in the part that goes are dropped, the store has them. Needs no store. \
            Interrupted at any time, the file has the old size or the new one, and can be mounted.
            """)

    @Option(help: ArgumentHelp("How many blocks it is to hold.", valueName: "N"))
    var slots: UInt64?

    @Option(
        help: ArgumentHelp(
            "How many bytes of blocks, as --blockCacheSize has it: 100g.", valueName: "S"))
    var size: String?

    @Flag(help: "Say what would be done.")
    var dryRun = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (slots == nil) != (size == nil) else {
            throw ValidationError("Give either --slots or --size.")
        }
        _ = try bytes()
    }

    private func bytes() throws -> UInt64? {
        guard let size else { return nil }
        guard let bytes = try? SizeGrammar.parse(size), bytes > 0, SizeGrammar.hasSuffix(size)
        else {
            throw ValidationError("--size needs a number of bytes with a suffix, such as 100g.")
        }
        return bytes
    }

    func execute() -> Int32 {
        do throws(Subject.Obstacle) {
            let plan = try makePlan()
            if dryRun || plan.isNothing { return report(plan, nil) }
            return report(plan, try carryOut(plan))
        } catch {
            return fail("resize", common, error)
        }
    }

    // MARK: Plan

    private struct Plan {
        let old: Geometry
        let new: Geometry
        let dirty: Int
        /// Dirty blocks that get another slot.
        let moves: Int
        /// Clean blocks in what goes, or in the place of those that move.
        let drops: Int

        var isNothing: Bool { old.slotCount == new.slotCount }
    }

    private func makePlan() throws(Subject.Obstacle) -> Plan {
        let subject = try Subject(mending: common.file)
        let state = subject.state
        let old = subject.geometry
        let wanted = (try? bytes()).flatMap { $0 }.map {
            let blocks = min($0 / UInt64(old.blockSize), old.volumeBlocks)
            return Geometry.slots(
                holding: Int(blocks), of: old.volumeBlocks, blockSize: old.blockSize)
        }
        let new: Geometry
        do throws(CacheFileError) {
            new = try old.resized(to: wanted ?? Int(min(slots ?? 0, UInt64(UInt32.max))))
        } catch {
            throw .failed(Failure(kind: "size", message: error.message, remedy: "another size"))
        }
        let dirty = state.dirtySlots + state.conflictSlots
        guard dirty <= new.slotCount else { throw .failed(tooMany(dirty, new.slotCount)) }
        var (moves, cleanBehind, free) = (0, 0, 0)
        for slot in 0..<old.slotCount {
            if slot < new.slotCount {
                if state.slots.isFree(slot) { free += 1 }
            } else if state.slots.rawState(slot) == SlotState.clean.rawValue {
                cleanBehind += 1
            } else if !state.slots.isFree(slot) {
                moves += 1
            }
        }
        return Plan(
            old: old, new: new, dirty: dirty, moves: moves,
            drops: cleanBehind + max(0, moves - free))
    }

    private func tooMany(_ dirty: Int, _ slots: Int) -> Failure {
        Failure(
            kind: "dirty",
            message: "\(Text.safe(common.file)): \(Text.count(dirty, "dirty block")) "
                + "\(dirty == 1 ? "does" : "do") not fit into \(slots), nothing was changed",
            remedy: "upload them first, with s3backer --flush")
    }

    // MARK: Work

    private func carryOut(_ plan: Plan) throws(Subject.Obstacle) -> OfflineResize.Outcome {
        let cache = try Self.begin(common.file)
        let progress = Progress("resizing", common)
        let outcome = OfflineResize.run(
            cache, slots: plan.new.slotCount,
            logger: Logger(label: "cachecheck") { _ in SwiftLogNoOpLogHandler() }
        ) { done in
            progress.show(min(done, plan.moves + plan.drops), plan.moves + plan.drops)
        }
        progress.clear()
        guard let obstacle = outcome.obstacle else { return outcome }
        throw .failed(
            Failure(
                kind: "size",
                message: "\(Text.safe(common.file)) keeps \(outcome.slots) slots: "
                    + Text.safe(obstacle),
                remedy: "see what cachecheck check --data=dirty says, and whether its disk is full")
        )
    }

    /// Locks the file and begins a session, which is nobody's: the mount token stays as it is.
    private static func begin(_ path: String) throws(Subject.Obstacle) -> OpenedCache {
        let info = SessionInfo(
            creator: "cachecheck \(Cachecheck.version)", mounter: "pid \(getpid()), cachecheck",
            host: ThisHost.name, bootID: ThisHost.bootIDBytes,
            mountedAt: UInt64(max(0, time(nil))))
        do throws(CacheFileError) {
            return try CacheFiles.open(CacheFiles.lock(path), identity: nil, info: info)
        } catch {
            throw Subject.Obstacle(error, path, isMending: true)
        }
    }

    // MARK: Report

    private func report(_ plan: Plan, _ outcome: OfflineResize.Outcome?) -> Int32 {
        let moved = outcome?.moved ?? plan.moves
        let dropped = outcome?.dropped ?? plan.drops
        let slots = outcome?.slots ?? plan.old.slotCount
        if common.json {
            let object = JSON.object([
                ("cachecheck", .number(JSON.version)), ("command", .string("resize")),
                ("file", .string(common.file)), ("status", .number(0)), ("findings", .array([])),
                ("dryRun", .bool(dryRun)), ("slotsBefore", .number(plan.old.slotCount)),
                ("slotsWanted", .number(plan.new.slotCount)), ("slots", .number(slots)),
                ("bytesBefore", .number(plan.old.fileSize)),
                ("bytesWanted", .number(plan.new.fileSize)), ("dirtyBlocks", .number(plan.dirty)),
                ("movedBlocks", .number(moved)), ("droppedBlocks", .number(dropped)),
            ])
            return Output.finish(object.text + "\n", ExitStatus.sound)
        }
        let name = Text.safe(common.file)
        if plan.isNothing {
            return Output.finish(
                "\(name) has \(Text.count(slots, "slot")) already\n", ExitStatus.sound)
        }
        var lines = common.quiet ? [] : Self.details(plan)
        let now = outcome == nil ? "would have" : "has"
        lines.append(
            "\(name) \(now) \(plan.new.slotCount) slots instead of \(plan.old.slotCount); "
                + "\(Text.count(moved, "dirty block")) moved, "
                + "\(Text.count(dropped, "clean block")) dropped")
        return Output.finish(lines.map { $0 + "\n" }.joined(), ExitStatus.sound)
    }

    private static func details(_ plan: Plan) -> [String] {
        [
            "size before: \(Text.size(UInt64(plan.old.fileSize)))",
            "size after:  \(Text.size(UInt64(plan.new.fileSize)))",
            "dirty:       \(Text.count(plan.dirty, "block"))",
        ]
    }
}
