import CacheFile
import FileIO
import Glibc

/// Why a file was not checked.
struct Failure {
    let kind: String
    let message: String
    let remedy: String

    var line: String { "\(message): \(remedy)" }
}

/// What a check found out about one file.
struct Report {
    enum Outcome {
        case inspected(Inspection)
        /// A mount refuses the file. The superblock, where one could be read.
        case refused(Finding, Superblock?)
        case failed(Failure)
    }

    let path: String
    let outcome: Outcome

    var findings: [Finding] {
        switch outcome {
        case .inspected(let inspection): inspection.findings
        case .refused(let finding, _): [finding]
        case .failed: []
        }
    }

    var status: Int32 {
        switch outcome {
        case .inspected: isSound ? ExitStatus.sound : ExitStatus.problems
        case .refused: ExitStatus.problems
        case .failed: ExitStatus.operational
        }
    }

    /// A mount accepts the file, and no dirty byte that was read is damaged. Warnings are what a
    /// mount repairs or can do without.
    var isSound: Bool {
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
        }
    }

    private func verdict(of inspection: Inspection) -> String {
        let codes = inspection.findings.filter { $0.severity != .info }.map(\.code)
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
        if !codes.isEmpty {
            parts.append(
                "\(Text.count(codes.count, "warning")): \(Set(codes).sorted().joined(separator: ", "))"
            )
        }
        return parts.joined(separator: "; ")
    }

    // MARK: Making

    /// - Parameter progress: called while data is read: blocks done, blocks in all.
    static func make(
        _ path: String, data: DataDepth = .none,
        progress: @escaping (Int, Int) -> Void = { _, _ in }
    ) -> Report {
        if let failure = oddKind(path) { return Report(path: path, outcome: .failed(failure)) }
        do {
            let inspection = try CacheFiles.inspect(path, data: data, progress: progress)
            return Report(path: path, outcome: .inspected(inspection))
        } catch {
            return Report(path: path, outcome: outcome(of: error, path))
        }
    }

    /// What is no regular file is not even opened: that could block, or move a tape.
    private static func oddKind(_ path: String) -> Failure? {
        var info = stat()
        guard stat(path, &info) == 0 else { return nil }
        let kind: String
        switch info.st_mode & S_IFMT {
        case S_IFREG: return nil
        case S_IFDIR: kind = "a directory"
        case S_IFIFO: kind = "a named pipe"
        case S_IFSOCK: kind = "a socket"
        case S_IFBLK: kind = "a block device"
        default: kind = "a device"
        }
        return Failure(
            kind: "notRegular", message: "\(Text.safe(path)) is \(kind), not a regular file",
            remedy: "give the file that --blockCacheFile names")
    }

    private static func outcome(of error: CacheFileError, _ path: String) -> Outcome {
        let name = Text.safe(path)
        let message = Text.safe(error.message)
        switch error.kind {
        case .needsCheck, .otherVolume, .otherBlockSize, .otherSize, .invalid:
            return .refused(finding(error, .error), superblock(path))
        case .unsupported:
            return .refused(finding(error, .fatal), superblock(path))
        case .shortFile:
            let cut = Finding("SIZE_SHORT", .error, error.message)
            return .refused(cut, superblock(path))
        case .missing:
            return failed("missing", message, "check the name")
        case .denied:
            return failed("denied", message, "run as the owner of the file or as root")
        case .locked:
            return failed("locked", lockedMessage(path), "unmount it first")
        case .garbage:
            return failed("garbage", "\(name): \(message)", garbageRemedy(path))
        case .foreign:
            return failed(
                "foreign", "\(name) is \(message)",
                "it is used by that program only; choose another file for this one")
        case .io, .noSpace, .exists:
            return failed("io", message, "check the disk that the file is on")
        }
    }

    private static func failed(_ kind: String, _ message: String, _ remedy: String) -> Outcome {
        .failed(Failure(kind: kind, message: message, remedy: remedy))
    }

    private static func garbageRemedy(_ path: String) -> String {
        var info = stat()
        if stat(path, &info) == 0, info.st_size == 0 {
            return "the file is empty; remove it and let a mount create it"
        }
        return "check the name; s3backer never overwrites such a file"
    }

    private static func lockedMessage(_ path: String) -> String {
        let name = Text.safe(path)
        guard let holder = CacheFiles.holder(path), !holder.mounter.isEmpty else {
            return "\(name) is in use by another process"
        }
        let what = holder.isServing ? "serves a mount" : "is starting or stopping"
        let host = holder.host.isEmpty ? "" : " on \(Text.safe(holder.host))"
        return "\(name) is in use by s3backer (\(Text.safe(holder.mounter)))\(host), which \(what)"
    }

    /// Codes stand before the first colon of a message.
    private static func finding(_ error: CacheFileError, _ severity: Finding.Severity) -> Finding {
        let parts = error.message.split(separator: ":", maxSplits: 1)
        let isCode =
            parts.count == 2
            && parts[0].utf8.allSatisfy { $0 == 0x5f || (0x41...0x5a).contains($0) }
        guard isCode else { return Finding("NEEDS_CHECK", severity, error.message) }
        return Finding(String(parts[0]), severity, String(parts[1].drop { $0 == " " }))
    }

    private static func superblock(_ path: String) -> Superblock? {
        guard let file = try? PosixFile.open(path, readOnly: true) else { return nil }
        return (try? SuperblockSet.read(file))?.current
    }
}
