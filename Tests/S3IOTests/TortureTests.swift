import S3TestServers
import TestSupport
import Testing

/// A bucket behind a network that spoils every fifth request: `s3torture`, in a process of its own, so
/// that its memory can be looked at.
@Suite(.enabled(if: serversAreWanted, "set S3BACKER_TEST_ALL=1 to use S3 servers"))
struct TortureTests {
    @Test("what is read is what was written, what is reported as stored is there, memory is flat")
    func torture() throws {
        let program = try #require(BuiltProgram("s3torture"))
        let outcome = try program.run(["--threads", "64"], deadlineSeconds: 400)
        print(outcome.output)
        #expect(outcome.status == 0, "\(outcome.errors)")
        let line = try #require(
            outcome.output.split(separator: "\n").first { $0.hasPrefix("TORTURE ") })
        func figure(_ name: String) throws -> Int {
            let word = try #require(
                line.split(separator: " ").first { $0.hasPrefix(name + "=") })
            return try #require(Int(word.dropFirst(name.count + 1)))
        }
        #expect(try figure("operations") >= 10_000 && figure("wrong") == 0)
        #expect(try figure("writes") > 3000 && figure("deletes") > 1000 && figure("reads") > 3000)
        // Every kind of fault, and every fifth request.
        #expect(try figure("kinds") == FaultProxy.Kind.allCases.count - 1)
        #expect(try figure("faults") >= 2000 && figure("grown_mib") <= 32)
        // Nearly all is cured, and nearly every block is known exactly at the end.
        #expect(try figure("failed") < 1000 && figure("exact") > 48)
    }
}
