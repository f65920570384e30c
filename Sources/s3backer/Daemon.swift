import CDaemon
import CSys
import Glibc
import VolumeOptions

/// Becoming a daemon: the child does all the work, the parent waits to see it succeed.
enum Daemon {
    /// Runs `child` in a new session in the background.
    ///
    /// Called before there is any thread. In the parent it returns when the mount answers (0) or
    /// starting failed (1, after printing why); in the child it does not return.
    static func run(_ plan: MountPlan, child: (Readiness) -> Int32) -> Int32 {
        // What the caller left open would stay open as long as the mount.
        cdaemon_close_from(3)
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return failed("cannot make a pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let pid = csys_fork()
        if pid < 0 { return failed("cannot become a daemon; try -f") }
        if pid == 0 {
            close(ends[0])
            setsid()
            exit(child(Readiness(fd: ends[1])))
        }
        close(ends[1])
        return wait(for: pid, ends[0], plan)
    }

    private static func failed(_ what: String) -> Int32 {
        printLine("\(Program.name): \(what): \(String(cString: strerror(errno)))")
        return 1
    }

    private static func wait(for pid: pid_t, _ fd: Int32, _ plan: MountPlan) -> Int32 {
        var report: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let got = read(fd, &chunk, chunk.count)
            if got > 0 {
                report += chunk[..<got]
                if report.first == Readiness.readyMark { break }
            } else if got == 0 || errno != EINTR {
                break
            }
        }
        if report.first == Readiness.readyMark {
            // Waits until a thread of the child answers.
            var info = stat()
            if stat(plan.mountPoint + "/" + plan.filename, &info) == 0 { return 0 }
            return failed("\(plan.mountPoint) does not answer")
        }
        if report.isEmpty {
            var status: Int32 = 0
            waitpid(pid, &status, 0)
            let how =
                status & 0x7f == 0
                ? "exit status \(status >> 8 & 0xff)" : "signal \(status & 0x7f)"
            printLine("\(Program.name): the background process ended unexpectedly (\(how))")
        } else {
            printLine("\(Program.name): " + String(decoding: report, as: UTF8.self))
        }
        return 1
    }

    /// Standard input, output and error exist, so that no file gets their numbers.
    static func fillStandardStreams() {
        while true {
            let fd = open("/dev/null", O_RDWR)
            if fd < 0 { return }
            if fd > 2 {
                close(fd)
                return
            }
        }
    }

    /// Lets go of the terminal and the working directory.
    static func detach() {
        _ = chdir("/")
        let null = open("/dev/null", O_RDWR)
        guard null >= 0 else { return }
        for fd: Int32 in 0...2 { dup2(null, fd) }
        if null > 2 { close(null) }
    }
}

/// The child's end of the pipe to the waiting parent. Used by one thread at a time: the one that
/// starts, then the one that answers the kernel's first request, which ends its life.
final class Readiness: Sendable {
    static let readyMark: UInt8 = 0

    private let fd: Int32

    init(fd: Int32) { self.fd = fd }

    /// Starting succeeded.
    func ready() { send([Self.readyMark]) }

    /// Starting failed; the parent prints `message`.
    func fail(_ message: String) { send(Array(message.utf8)) }

    /// Whether the parent ended while waiting: the user gave up.
    var isAbandoned: Bool {
        var state = pollfd(fd: fd, events: 0, revents: 0)
        return poll(&state, 1, 0) == 1 && state.revents & Int16(POLLERR) != 0
    }

    private func send(_ bytes: [UInt8]) {
        _ = write(fd, bytes, bytes.count)
        close(fd)
    }
}
