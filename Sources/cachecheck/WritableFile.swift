import CacheFile
import FileIO
import Glibc

/// A cache file that a command writes to, and the undo file that belongs to it.
struct WritableFile {
    let path: String
    let file: PosixFile

    /// Opens it with the lock of a mount.
    init(_ path: String) throws(Failure) {
        if let odd = Failure.oddKind(path) { throw odd }
        self.path = path
        let isBundle: Bool
        do throws(FileError) {
            file = try PosixFile.open(path, readOnly: false)
            try file.lock(exclusive: true)
            isBundle = try BundleFile(file) != nil
        } catch {
            throw OpenFile.failure(CacheFileError(error), path)
        }
        if isBundle { throw .bundle(path) }
    }

    /// On a terminal the user is asked; elsewhere the option has to say it.
    static func isConfirmed(_ question: String, isYes: Bool) -> Bool {
        if isYes { return true }
        guard isatty(STDIN_FILENO) == 1 else {
            Output.complain("nothing was changed; confirm with --yes")
            return false
        }
        _ = Output.write("cachecheck: \(question) [y/N]? ", to: STDERR_FILENO)
        if ["y", "yes"].contains((readLine() ?? "").lowercased()) { return true }
        Output.complain("nothing was changed")
        return false
    }
}
