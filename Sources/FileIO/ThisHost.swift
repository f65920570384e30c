import Glibc

/// What the machine says of itself.
public enum ThisHost {
    public static var name: String {
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        let name = host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: name, as: UTF8.self)
    }

    /// Changes with every boot; empty where unknown.
    public static var bootID: String { firstLine("/proc/sys/kernel/random/boot_id") }

    /// 16 bytes that change with every boot; zeros where unknown.
    public static var bootIDBytes: [UInt8] {
        let digits = bootID.compactMap(\.hexDigitValue)
        guard digits.count == 32 else { return [UInt8](repeating: 0, count: 16) }
        return stride(from: 0, to: 32, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    /// Of a file of the system; empty where it cannot be read.
    package static func firstLine(_ path: String) -> String {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return "" }
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let got = read(fd, &bytes, bytes.count)
        return String(decoding: bytes[..<max(0, got)].prefix { $0 != 0x0a }, as: UTF8.self)
    }
}
