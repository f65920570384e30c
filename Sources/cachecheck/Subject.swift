import CacheFile
import FileIO
import Journal

/// The file that a command looks into: a cache file, or a bundle made of one.
struct OpenFile {
    let path: String
    let file: any FileIO
    /// Of a bundle: what is known of the bytes that it leaves out.
    let judged: JudgedPayloads?
    var isBundle: Bool { judged != nil }

    /// Opens it with a shared lock. Blocks: no longer than a read of the disk.
    init(_ path: String) throws(Failure) {
        if let odd = Failure.oddKind(path) { throw odd }
        do throws(FileError) {
            let opened = try PosixFile.open(path, readOnly: true)
            try opened.lock(exclusive: false)
            self.path = path
            if let bundle = try BundleFile(opened) {
                file = bundle
                judged = bundle.judged
            } else {
                file = opened
                judged = nil
            }
        } catch {
            throw Self.failure(CacheFileError(error), path)
        }
    }

    static func failure(_ error: CacheFileError, _ path: String) -> Failure {
        Failure(error, path)
            ?? Failure(
                kind: "io", message: Text.safe(error.message),
                remedy: "check the disk that the file is on")
    }
}

/// Everything a command may want to know of a file. Damage for which a mount refuses it is noted,
/// and what is left can be looked at.
struct Subject {
    /// Why there is nothing to look at.
    enum Obstacle: Error {
        case failed(Failure)
        case refused(Finding, what: String = "nothing can be read")

        /// - Parameter isMending: The file was to be changed or copied, not just looked at.
        init(_ error: CacheFileError, _ path: String, isMending: Bool = false) {
            if let failure = Failure(error, path) {
                self = .failed(failure)
            } else if isMending {
                self = .refused(error.finding, what: "a mount refuses it: repair it first")
            } else {
                self = .refused(error.finding)
            }
        }

        var status: Int32 {
            if case .refused = self { return ExitStatus.problems }
            return ExitStatus.operational
        }

        var line: String {
            switch self {
            case .failed(let failure): failure.line
            case .refused(let finding, let what):
                "damaged: \(finding.code) (\(Text.safe(finding.message))): \(what)"
            }
        }
    }

    let opened: OpenFile
    let recovered: RecoveredFile

    var path: String { opened.path }
    var state: CacheState { recovered.state }
    var geometry: Geometry { recovered.geometry }
    var findings: [Finding] { recovered.refusals + recovered.findings }
    var status: Int32 { recovered.refusals.isEmpty ? ExitStatus.sound : ExitStatus.problems }

    init(_ path: String) throws(Obstacle) {
        do throws(Failure) { opened = try OpenFile(path) } catch { throw .failed(error) }
        do throws(CacheFileError) {
            recovered = try Recovery.run(opened.file, goesOn: true, judged: opened.judged)
        } catch {
            throw Obstacle(error, path)
        }
    }

    /// One that is to be changed or copied: none that a mount refuses, and no bundle.
    init(mending path: String) throws(Obstacle) {
        do throws(Failure) {
            opened = try OpenFile(path)
            if opened.isBundle { throw Failure.bundle(path) }
        } catch {
            throw .failed(error)
        }
        do throws(CacheFileError) {
            recovered = try Recovery.run(opened.file)
        } catch {
            throw Obstacle(error, path, isMending: true)
        }
    }

    /// One line for each reason of a mount to refuse the file, before anything else is told.
    var warnings: [String] {
        recovered.refusals.map {
            "\($0.severity.rawValue) \($0.code): \(Text.safe($0.message))"
        }
    }

    /// What every JSON object begins with.
    func header(_ command: String, status: Int32? = nil) -> [(String, JSON)] {
        [
            ("cachecheck", .number(JSON.version)), ("command", .string(command)),
            ("file", .string(path)), ("status", .number(Int(status ?? self.status))),
            ("findings", .array(findings.map(\.json))),
        ]
    }
}

extension Finding {
    var json: JSON {
        .object([
            ("code", .string(code)), ("severity", .string(severity.rawValue)),
            ("message", .string(message)),
        ])
    }
}

extension Command {
    /// Runs `body` with the file, or says why it cannot be looked into.
    func look(
        _ name: String, _ options: CommonOptions, _ body: (Subject) -> Int32
    ) -> Int32 {
        do throws(Subject.Obstacle) {
            return body(try Subject(options.file))
        } catch {
            return fail(name, options, error)
        }
    }

    func fail(_ name: String, _ options: CommonOptions, _ obstacle: Subject.Obstacle) -> Int32 {
        guard options.json else {
            Output.complain(obstacle.line)
            return obstacle.status
        }
        var members: [(String, JSON)] = [
            ("cachecheck", .number(JSON.version)), ("command", .string(name)),
            ("file", .string(options.file)), ("status", .number(Int(obstacle.status))),
        ]
        switch obstacle {
        case .failed(let failure):
            members += [("findings", .array([])), ("error", failure.json)]
        case .refused(let finding, _): members.append(("findings", .array([finding.json])))
        }
        return Output.finish(JSON.object(members).text + "\n", obstacle.status)
    }
}
