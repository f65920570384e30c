import Foundation

/// A program of this package, as built beside the tests that run.
package struct BuiltProgram: Sendable {
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

    /// Runs it, and kills it after so many microseconds if it has not ended.
    package func runKilled(_ arguments: [String], after microseconds: Int) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        usleep(UInt32(microseconds))
        // Once it has ended its number may be another's.
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
    }

    /// Runs it to its end; ended after `deadlineSeconds`.
    package func run(
        _ arguments: [String], asUser user: UInt32? = nil, deadlineSeconds: Double = 20
    ) throws -> CommandOutcome {
        guard let user else {
            return try runSplit(path, arguments, deadlineSeconds: deadlineSeconds)
        }
        return try runSplit(
            "/usr/bin/setpriv", ["--reuid=\(user)", "--clear-groups", path] + arguments,
            deadlineSeconds: deadlineSeconds)
    }
}
