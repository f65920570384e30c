import BlockCodec
import Glibc

/// Passwords from files and people.
package enum Password {
    /// As in the real s3backer.
    package static let bytesMax = 1023

    private enum Problem { case failed(Int32), tooLong }

    /// The first line of a file, without its end.
    package static func read(_ path: String) throws(StartupError) -> SecretBytes {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        if fd < 0 {
            throw StartupError("--passwordFile=\(path): \(String(cString: strerror(errno)))")
        }
        defer { close(fd) }
        let (password, problem) = line(fd)
        switch problem {
        case .failed(let number):
            throw StartupError("--passwordFile=\(path): \(String(cString: strerror(number)))")
        case .tooLong:
            throw StartupError(
                "--passwordFile=\(path): its first line is longer than \(bytesMax) bytes; "
                    + "use a shorter password")
        case nil: break
        }
        if password.count == 0 {
            throw StartupError(
                "--passwordFile=\(path): its first line is empty; write the password there")
        }
        return password
    }

    /// Asks on the terminal of this process, without showing what is typed. Blocks.
    package static func ask() throws(StartupError) -> SecretBytes {
        let fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)
        guard fd >= 0 else {
            throw StartupError(
                "--encrypt: there is no password, and no terminal to ask for it; "
                    + "give --passwordFile=FILE")
        }
        defer { close(fd) }
        var before = termios()
        guard tcgetattr(fd, &before) == 0 else {
            throw StartupError("--encrypt: the terminal is none; give --passwordFile=FILE")
        }
        var quiet = before
        quiet.c_lflag &= ~tcflag_t(ECHO)
        quiet.c_lflag |= tcflag_t(ICANON | ISIG)
        // Who interrupts gets back a terminal that shows what is typed.
        let signals = CaughtSignals()
        let prompt = Array("Password: ".utf8)
        _ = tcsetattr(fd, TCSAFLUSH, &quiet)
        _ = write(fd, prompt, prompt.count)
        let (password, problem) = line(fd)
        _ = tcsetattr(fd, TCSAFLUSH, &before)
        _ = write(fd, "\n", 1)
        signals.restore()
        switch problem {
        case .failed(EINTR): throw StartupError("interrupted")
        case .failed(let number):
            throw StartupError("--encrypt: the terminal: \(String(cString: strerror(number)))")
        case .tooLong:
            throw StartupError("--encrypt: the password is longer than \(bytesMax) bytes")
        case nil: break
        }
        if password.count == 0 {
            throw StartupError("--encrypt: no password was typed; type it, or use --passwordFile")
        }
        return password
    }

    private static func line(_ fd: Int32) -> (SecretBytes, Problem?) {
        var problem: Problem?
        let password = SecretBytes(countMax: bytesMax + 1) { buffer in
            var count = 0
            while count < buffer.count {
                // Bytes behind the line are left to whoever reads on.
                let got = Glibc.read(fd, buffer.baseAddress.map { $0 + count }, 1)
                if got < 0 {
                    problem = .failed(errno)
                    return 0
                }
                if got == 0 || buffer[count] == 0x0a { return count }
                count += 1
            }
            problem = .tooLong
            return 0
        }
        return (password, problem)
    }
}

/// Signals that end a process, turned into interrupted calls while a terminal is not as usual.
private struct CaughtSignals {
    private static let numbers = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP]
    private var before: [sigaction] = []

    package init() {
        for number in Self.numbers {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = number == SIGTSTP ? SIG_IGN : interrupt
            var old = sigaction()
            sigaction(number, &action, &old)
            before.append(old)
        }
    }

    package func restore() {
        for (number, old) in zip(Self.numbers, before) {
            var action = old
            sigaction(number, &action, nil)
        }
    }
}

private func interrupt(_ number: Int32) {}
