import Foundation
import Testing

/// Runs a program many times, with a limit to its memory.
enum Judge {
    struct Outcome {
        /// Exit status, or the signal's number with a minus sign.
        let status: Int32
    }

    /// Of data (heap, stacks, private mappings). What it used at its peak cannot be asked for: the
    /// kernel counts the memory of who started it, which is this process.
    static let limitMiB = 256

    private static let deadlineSeconds = 60.0

    /// Runs it to its end, with nothing to read and nobody to listen; killed after a minute.
    static func run(_ program: String, _ arguments: [String]) throws -> Outcome {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for fd in Int32(0)...2 {
            posix_spawn_file_actions_addopen(
                &actions, fd, "/dev/null", fd == 0 ? O_RDONLY : O_WRONLY, 0)
        }
        let limited = "ulimit -d \(limitMiB * 1024) && exec \"$0\" \"$@\""
        var words: [UnsafeMutablePointer<CChar>?] =
            (["sh", "-c", limited, program] + arguments).map { strdup($0) }
        words.append(nil)
        defer { for word in words { free(word) } }
        var child = pid_t()
        let result = posix_spawn(&child, "/bin/sh", &actions, nil, words, environ)
        try #require(result == 0, "cannot run \(program)")
        let deadline = Date(timeIntervalSinceNow: deadlineSeconds)
        var status: Int32 = 0
        while waitpid(child, &status, WNOHANG) == 0 {
            if Date() > deadline { kill(child, SIGKILL) }
            usleep(500)
        }
        let signal = status & 0x7f
        return Outcome(status: signal == 0 ? status >> 8 & 0xff : -signal)
    }
}
