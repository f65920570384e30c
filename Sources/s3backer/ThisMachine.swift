import BlockStore
import FileIO
import Glibc
import S3IO

/// What this process is, among all processes of all machines.
enum ThisMachine {
    static var host: String {
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        let name = host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: name, as: UTF8.self)
    }

    /// Changes with every boot; empty where unknown.
    static var bootID: String { firstLine("/proc/sys/kernel/random/boot_id") }

    /// 16 bytes that change with every boot; zeros where unknown.
    static var bootIDBytes: [UInt8] {
        let digits = bootID.compactMap(\.hexDigitValue)
        guard digits.count == 32 else { return [UInt8](repeating: 0, count: 16) }
        return stride(from: 0, to: 32, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    static var owner: MountOwner {
        MountOwner(
            host: host, machine: machine, bootID: bootID,
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
        let id = firstLine("/etc/machine-id")
        if id.isEmpty { return "" }
        let digest = Array("s3backer \(id)".utf8).withUnsafeBytes { Digest.sha256($0) }
        return Digest.hex(Array(digest.prefix(8)))
    }

    /// Field 22 of /proc/PID/stat; nil: no such process, or one that has ended and only waits to
    /// be noticed.
    private static func startTime(of pid: Int32) -> String? {
        let line = firstLine("/proc/\(pid)/stat")
        // The name in parentheses may contain anything.
        guard let end = line.lastIndex(of: ")") else { return nil }
        let fields = line[line.index(after: end)...].split(separator: " ")
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
        return String(fields[19])
    }

    private static func firstLine(_ path: String) -> String {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return "" }
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let got = read(fd, &bytes, bytes.count)
        return String(decoding: bytes[..<max(0, got)].prefix { $0 != 0x0a }, as: UTF8.self)
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
