import Foundation
import Glibc

/// What a program said, and how it ended.
package struct CommandOutcome: Sendable {
    /// Exit status, or the signal's number with a minus sign.
    package let status: Int32
    package let output: String
    package let errors: String
    package var lastLine: String { output.split(separator: "\n").last.map(String.init) ?? "" }
}

/// Runs a program to its end and returns status and everything it printed.
package func run(
    _ program: String, _ arguments: [String], deadlineSeconds: Double = 300
) throws -> (status: Int32, output: String) {
    let found = try runSplit(
        program, arguments, isTogether: true, deadlineSeconds: deadlineSeconds)
    return (found.status, found.output)
}

/// Runs a program to its end with nothing to read; its output and its errors apart.
///
/// The end is that of the program itself: what it leaves in the background may keep its output.
///
/// - Parameters:
///   - environment: Changes of the environment; nil: none.
///   - isTogether: Errors go where the output goes.
///   - deadlineSeconds: Then it is ended: one that should have failed and serves would never end.
package func runSplit(
    _ program: String, _ arguments: [String], environment: [String: String]? = nil,
    isTogether: Bool = false, deadlineSeconds: Double = 30
) throws -> CommandOutcome {
    let directory = TemporaryDirectory()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    if let environment {
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    }
    for name in ["output", "errors"] { try writeFile(directory.file(name), []) }
    let output = try FileHandle(forWritingTo: URL(fileURLWithPath: directory.file("output")))
    let errors = try FileHandle(forWritingTo: URL(fileURLWithPath: directory.file("errors")))
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = isTogether ? output : errors
    let ended = DispatchSemaphore(value: 0)
    process.terminationHandler = { _ in ended.signal() }
    try process.run()
    // A mount has a chance to go, too.
    for number in [SIGTERM, SIGKILL] {
        let isLast = number == SIGKILL
        if ended.wait(timeout: .now() + (isLast ? 10 : deadlineSeconds)) == .success { break }
        kill(process.processIdentifier, number)
        if isLast { ended.wait() }
    }
    try? output.close()
    try? errors.close()
    let isSignal = process.terminationReason == .uncaughtSignal
    return CommandOutcome(
        status: isSignal ? -process.terminationStatus : process.terminationStatus,
        output: String(decoding: readFile(directory.file("output")), as: UTF8.self),
        errors: String(decoding: readFile(directory.file("errors")), as: UTF8.self))
}
