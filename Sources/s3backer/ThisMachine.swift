import BlockStore
import FileIO
import Glibc
import S3IO

/// What this process is, among all processes of all machines.
enum ThisMachine {
    static var owner: MountOwner {
        MountOwner(
            host: ThisHost.name, machine: machine, bootID: ThisHost.bootID,
            processSpace: link("/proc/self/ns/pid"), processID: getpid(),
            processStart: startTime(of: getpid()) ?? "")
    }

    /// Whether a process of this boot and process space still is the one that began then.
    static func isRunning(_ owner: MountOwner) -> Bool {
        guard let start = startTime(of: owner.processID) else { return false }
        return owner.processStart.isEmpty || owner.processStart == start
    }

    /// A digest of the machine's id, which itself is not to be shown to others.
    private static var machine: String {
        let id = ThisHost.firstLine("/etc/machine-id")
        if id.isEmpty { return "" }
        let digest = Array("s3backer \(id)".utf8).withUnsafeBytes { Digest.sha256($0) }
        return Digest.hex(Array(digest.prefix(8)))
    }

    /// Field 22 of /proc/PID/stat; nil: no such process, or one that has ended and only waits to
    /// be noticed.
    private static func startTime(of pid: Int32) -> String? {
        let line = ThisHost.firstLine("/proc/\(pid)/stat")
        // The name in parentheses may contain anything.
        guard let end = line.lastIndex(of: ")") else { return nil }
        let fields = line[line.index(after: end)...].split(separator: " ")
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
        return String(fields[19])
    }

    private static func link(_ path: String) -> String {
        var bytes = [CChar](repeating: 0, count: 256)
        let got = readlink(path, &bytes, bytes.count)
        return String(decoding: bytes[..<max(0, got)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

extension MountToken {
    /// A new one.
    static func randomValue() -> UInt32 {
        let bits = SystemRandom.bytes(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return bits % 0x7fff_fffe + 1
    }

    static func ofThisProcess(_ value: UInt32 = randomValue()) -> MountToken {
        MountToken(
            value: value, owner: ThisMachine.owner, since: S3Date.text(),
            session: Digest.hex(SystemRandom.bytes(8)))
    }
}
