import Foundation

/// A program of this package, as built beside the tests that run.
package struct BuiltProgram: Sendable {
    package struct Outcome: Sendable {
        /// Exit status, or the signal's number with a minus sign.
        package let status: Int32
        package let output: String
        package let errors: String
        package var lastLine: String { output.split(separator: "\n").last.map(String.init) ?? "" }
    }

    package let path: String

    /// Nil when it was not built.
    package init?(_ name: String) {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard count > 0 else { return nil }
        let own = String(
            decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        var directories = [own]
        for argument in CommandLine.arguments where argument.hasSuffix(".xctest") {
            directories.append(argument)
        }
        for mode in ["release", "debug"] {
            directories.append("\(SourceTree.root)/.build/\(mode)/x")
        }
        let candidates = directories.map { ($0 as NSString).deletingLastPathComponent + "/" + name }
        guard let found = candidates.first(where: { access($0, X_OK) == 0 }) else { return nil }
        path = found
    }

    /// Runs it to its end; killed after `deadlineSeconds`.
    package func run(
        _ arguments: [String], asUser user: UInt32? = nil, deadlineSeconds: Double = 20
    ) throws -> Outcome {
        let directory = TemporaryDirectory()
        let process = Process()
        if let user {
            process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
            process.arguments = ["--reuid=\(user)", "--clear-groups", path] + arguments
        } else {
            process.executableURL = URL(fileURLWithPath: path)
            process.arguments = arguments
        }
        for name in ["output", "errors"] { try writeFile(directory.file(name), []) }
        let output = try FileHandle(forWritingTo: URL(fileURLWithPath: directory.file("output")))
        let errors = try FileHandle(forWritingTo: URL(fileURLWithPath: directory.file("errors")))
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = errors
        let ended = DispatchSemaphore(value: 0)
        process.terminationHandler = { _ in ended.signal() }
        try process.run()
        if ended.wait(timeout: .now() + deadlineSeconds) == .timedOut {
            kill(process.processIdentifier, SIGKILL)
            ended.wait()
        }
        try? output.close()
        try? errors.close()
        let isSignal = process.terminationReason == .uncaughtSignal
        return Outcome(
            status: isSignal ? -process.terminationStatus : process.terminationStatus,
            output: String(decoding: readFile(directory.file("output")), as: UTF8.self),
            errors: String(decoding: readFile(directory.file("errors")), as: UTF8.self))
    }
}
