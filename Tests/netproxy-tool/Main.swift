import ArgumentParser
import Foundation
import S3TestServers

/// `DelayProxy` for shell scripts.
@main
struct NetProxy: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "netproxy",
        abstract: "Passes TCP connections on to another port of 127.0.0.1, later or not at all.",
        discussion: """
            Prints the port it listens on. Then it takes commands, one on a line, and prints \
            "ok COMMAND" when each is in effect:
              on         pass everything
              cut, off   reset connections and refuse new ones
              hang       pass nothing and take nothing; "on" goes on where it stopped
              reset      reset the connections there are
              delay MS   from now on
              counts     prints connections, bytes to the server, bytes to the client
            It ends when its input does.
            """)

    @Option(help: "127.0.0.1:PORT; port 0: the kernel chooses.")
    var listen = "127.0.0.1:0"
    @Option(help: "127.0.0.1:PORT of the server.")
    var to: String
    @Option(help: "Milliseconds added to each round trip, half of it each way.")
    var delayMs = 0

    func run() throws {
        let proxy = try DelayProxy(to: port(to), delayMs: delay(delayMs), listen: port(listen))
        defer { proxy.stop() }
        say("\(proxy.port)")
        while let line = readLine() {
            let words = line.split(separator: " ").map(String.init)
            switch (words.first, words.count) {
            case ("on", 1): proxy.set(.on)
            case ("cut", 1), ("off", 1): proxy.set(.cut)
            case ("hang", 1): proxy.set(.hang)
            case ("reset", 1): proxy.resetConnections()
            case ("delay", 2): proxy.setDelay(ms: try delay(Int(words[1]) ?? -1))
            case ("counts", 1):
                let counts = proxy.counts
                say("\(counts.connections) \(counts.bytesToServer) \(counts.bytesToClient)")
                continue
            default:
                say("unknown command: \(line)")
                continue
            }
            say("ok \(line)")
        }
    }

    private func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

    private func port(_ address: String) throws -> UInt16 {
        guard address.hasPrefix("127.0.0.1:"), let port = UInt16(address.dropFirst(10)) else {
            throw ValidationError("not 127.0.0.1:PORT: \(address)")
        }
        return port
    }

    private func delay(_ ms: Int) throws -> Int {
        guard (0...60_000).contains(ms) else { throw ValidationError("a delay is 0...60000 ms") }
        return ms
    }
}
