import Glibc
import Synchronization

/// Ends the program at ^C, SIGTERM and SIGHUP with a line and a status of its own.
///
/// At any time but while a repair writes to the cache file: what is written has no name, or not the one
/// it will have, before it is complete, and to a cache file that gets another size it is as good as a
/// crash.
enum Cancellation {
    /// Files of a directory may have been written by then.
    private static let isSalvaging = Atomic<Bool>(false)
    /// The cache file is being repaired: the program goes on to the end of that.
    private static let isWriting = Atomic<Bool>(false)

    static func install() {
        // Made now, not in the handler.
        isSalvaging.store(false, ordering: .relaxed)
        isWriting.store(false, ordering: .relaxed)
        for number in [SIGINT, SIGTERM, SIGHUP] {
            var old = sigaction()
            sigaction(number, nil, &old)
            // As nohup and shells set it for jobs in the background.
            if unsafeBitCast(old.__sigaction_handler.sa_handler, to: Int.self) == 1 { continue }
            signal(number) { _ in Cancellation.end() }
        }
    }

    static func beginSalvage() { isSalvaging.store(true, ordering: .relaxed) }

    static func beginWriting() { isWriting.store(true, ordering: .relaxed) }
    static func endWriting() { isWriting.store(false, ordering: .relaxed) }

    /// In a signal handler: nothing but system calls.
    private static func end() {
        if isWriting.load(ordering: .relaxed) { return }
        let text: StaticString =
            isSalvaging.load(ordering: .relaxed)
            ? "\ncachecheck: cancelled; the directory is incomplete and has no manifest.json\n"
            : "\ncachecheck: cancelled\n"
        _ = Glibc.write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
        _exit(ExitStatus.cancelled)
    }
}
