import Glibc

/// Files that are read whole: passwords, keys, identities.
package enum SmallFile {
    /// Why a file could not be read.
    package struct Unreadable: Error, Sendable {
        /// `errno`; `EFBIG`: longer than expected.
        package let code: Int32
        package var message: String { String(cString: strerror(code)) }
    }

    /// - Parameter bytesMax: A longer file is none of those that are expected.
    package static func read(_ path: String, bytesMax: Int) throws(Unreadable) -> [UInt8] {
        // Not to hang on a pipe that somebody put there.
        let fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard fd >= 0 else { throw Unreadable(code: errno) }
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: bytesMax + 1)
        var count = 0
        while count < bytes.count {
            let got = bytes.withUnsafeMutableBytes {
                Glibc.read(fd, $0.baseAddress.map { $0 + count }, $0.count - count)
            }
            if got == 0 { return Array(bytes[..<count]) }
            if got > 0 {
                count += got
            } else if errno != EINTR {
                throw Unreadable(code: errno)
            }
        }
        throw Unreadable(code: EFBIG)
    }
}
