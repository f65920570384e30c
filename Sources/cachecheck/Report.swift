import CacheFile
import FileIO
import Journal

/// What a check found out about one file.
struct Report {
    enum Outcome {
        case inspected(Inspection)
        /// A mount may still refuse it for its directory.
        case fast(FastLook)
        /// A mount refuses the file. The superblock, where one could be read.
        case refused(Finding, Superblock?)
        case failed(Failure)
    }

    let path: String
    let outcome: Outcome

    var findings: [Finding] {
        switch outcome {
        case .inspected(let inspection): inspection.findings
        case .fast(let look): look.findings
        case .refused(let finding, _): [finding]
        case .failed: []
        }
    }

    var status: Int32 {
        switch outcome {
        case .inspected, .fast: isSound ? ExitStatus.sound : ExitStatus.problems
        case .refused: ExitStatus.problems
        case .failed: ExitStatus.operational
        }
    }

    /// A mount accepts the file, and no dirty byte that was read is damaged. Warnings are what a
    /// mount repairs or can do without.
    var isSound: Bool {
        if case .fast = outcome { return true }
        guard case .inspected(let inspection) = outcome else { return false }
        return inspection.worst != .error && inspection.worst != .fatal
    }

    /// One line.
    var verdict: String {
        switch outcome {
        case .failed(let failure):
            return "not checked: \(failure.line)"
        case .refused(let finding, _):
            let kind = finding.severity == .fatal ? "not usable" : "damaged"
            return "\(kind): \(finding.code) (\(Text.safe(finding.message))): a mount refuses it"
        case .inspected(let inspection):
            return verdict(of: inspection)
        case .fast(let look):
            let isClean = look.superblock.state == Superblock.State.clean.rawValue
            return "sound as far as read (superblocks, root, journal); "
                + "\(isClean ? "clean" : "needs replay")" + warnings(look.findings)
        }
    }

    private func warnings(_ findings: [Finding]) -> String {
        let codes = findings.filter { $0.severity != .info }.map(\.code)
        if codes.isEmpty { return "" }
        let names = Set(codes).sorted().joined(separator: ", ")
        return "; \(Text.count(codes.count, "warning")): \(names)"
    }

    private func verdict(of inspection: Inspection) -> String {
        if let data = inspection.data, data.damagedDirtyBlocks > 0 {
            return "damaged: \(Text.count(data.damagedDirtyBlocks, "dirty block")) with bytes that "
                + "cannot be trusted: a mount gives EIO for these bytes and keeps the rest"
        }
        var parts = ["sound", inspection.needsReplay ? "needs replay" : "clean"]
        if inspection.needsReplay || inspection.dirtyBlocks > 0 {
            parts.append(
                "\(Text.count(inspection.dirtyBlocks, "dirty block")), "
                    + Text.count(inspection.dirtyBytes, "byte"))
        }
        if inspection.zeroBlocks > 0 {
            parts.append("\(Text.count(Int(inspection.zeroBlocks), "trimmed block")) to delete")
        }
        return parts.joined(separator: "; ") + warnings(inspection.findings)
    }

    // MARK: Making

    /// - Parameter progress: called while data is read: blocks done, blocks in all.
    static func make(
        _ path: String, _ depth: CheckDepth, progress: @escaping (Int, Int) -> Void
    ) -> Report {
        let opened: OpenFile
        do throws(Failure) {
            opened = try OpenFile(path)
            if opened.isBundle, case .data(let data) = depth, data != .none {
                throw Failure.bundle(path)
            }
        } catch {
            return Report(path: path, outcome: .failed(error))
        }
        do throws(CacheFileError) {
            guard case .data(let data) = depth else {
                let look = try Recovery.fast(opened.file, judged: opened.judged)
                return Report(path: path, outcome: .fast(look))
            }
            let inspection = try CacheFiles.inspect(
                opened.file, data: data, judged: opened.judged, progress: progress)
            return Report(path: path, outcome: .inspected(inspection))
        } catch {
            if let failure = Failure(error, path) {
                return Report(path: path, outcome: .failed(failure))
            }
            let superblock = (try? SuperblockSet.read(opened.file))?.current
            return Report(path: path, outcome: .refused(error.finding, superblock))
        }
    }
}
