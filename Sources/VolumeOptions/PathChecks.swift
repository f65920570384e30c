import Glibc

/// Checks of the paths on the command line, and the absolute paths that a daemon needs.
package enum PathChecks {
    /// `path` seen from the working directory; symbolic links stay.
    package static func absolute(_ path: String) -> String {
        if path.hasPrefix("/") { return path }
        guard let here = getcwd(nil, 0) else { return path }
        defer { free(here) }
        let base = String(cString: here)
        return base == "/" ? "/" + path : base + "/" + path
    }

    /// The one name of an existing file, without symbolic links; nil with errno.
    package static func resolved(_ path: String) -> String? {
        guard let real = realpath(path, nil) else { return nil }
        defer { free(real) }
        return String(cString: real)
    }

    private static func reason(_ number: Int32) -> String { String(cString: strerror(number)) }

    // MARK: Store

    /// - Returns: The directory's one name.
    package static func storeDirectory(
        _ path: String, prefix: String
    ) throws(StartupError) -> String {
        guard let real = resolved(path) else {
            if errno == ENOENT {
                throw StartupError(
                    "store directory \(path) does not exist; create it with mkdir \(path)")
            }
            throw StartupError("store directory \(path): \(reason(errno))")
        }
        var info = stat()
        if stat(real, &info) != 0 {
            throw StartupError("store directory \(path): \(reason(errno))")
        }
        if info.st_mode & S_IFMT != S_IFDIR {
            throw StartupError("store directory \(path) is not a directory; name a directory")
        }
        if let slash = prefix.lastIndex(of: "/"), slash != prefix.startIndex {
            let inner = real + "/" + prefix[..<slash]
            if stat(inner, &info) != 0 || info.st_mode & S_IFMT != S_IFDIR {
                throw StartupError(
                    "--prefix=\(prefix): there is no directory \(inner); create it first")
            }
        }
        return real
    }

    // MARK: Mount point

    /// - Returns: The mount point's one name, as /proc/mounts shows it.
    package static func mountPoint(_ path: String) throws(StartupError) -> String {
        let absolutePath = absolute(path)
        var info = stat()
        var system = statvfs()
        // The kernel answers stat(2) of a dead mount from memory for a while, statfs(2) never.
        if stat(absolutePath, &info) != 0 || statvfs(absolutePath, &system) != 0 {
            switch errno {
            case ENOENT:
                throw StartupError(
                    "mount point \(path) does not exist; create it with mkdir \(path)")
            case ENOTCONN:
                throw StartupError(
                    "mount point \(path) is a dead mount, its process has ended; "
                        + "remove it with fusermount3 -u \(path)")
            default:
                throw StartupError("mount point \(path): \(reason(errno))")
            }
        }
        if info.st_mode & S_IFMT != S_IFDIR {
            throw StartupError("mount point \(path) is not a directory; name an empty directory")
        }
        guard let real = resolved(absolutePath) else {
            throw StartupError("mount point \(path): \(reason(errno))")
        }
        var above = stat()
        let parent = real + "/.."
        if real != "/", stat(parent, &above) == 0, above.st_dev != info.st_dev {
            throw StartupError(
                "mount point \(path) is busy, something is mounted there; "
                    + "unmount it with umount \(path) or choose another")
        }
        if real == "/" {
            throw StartupError("mount point / is busy; choose an empty directory")
        }
        return real
    }

    /// The mount would hide the blocks, or show itself in them.
    package static func apart(store: String, mountPoint: String) throws(StartupError) {
        if store == mountPoint || store.hasPrefix(mountPoint + "/") {
            throw StartupError(
                "mount point \(mountPoint) would hide the store directory \(store); "
                    + "choose another mount point")
        }
    }

    /// Whether this user can mount at all.
    package static func fuseDevice() throws(StartupError) {
        let path = "/dev/fuse"
        if access(path, R_OK | W_OK) == 0 { return }
        if errno == ENOENT {
            throw StartupError("\(path) does not exist; load it with modprobe fuse")
        }
        throw StartupError("\(path): \(reason(errno)); mount as root or get access to it")
    }

    // MARK: Cache file

    /// - Returns: The path with its directory resolved; the file itself may be missing.
    package static func cacheFile(_ path: String) throws(StartupError) -> String {
        let option = "--blockCacheFile=\(path)"
        if path.isEmpty || path.hasSuffix("/") {
            throw StartupError("\(option): name a file")
        }
        let absolutePath = absolute(path)
        let slash = absolutePath.lastIndex(of: "/") ?? absolutePath.startIndex
        let directory = slash == absolutePath.startIndex ? "/" : String(absolutePath[..<slash])
        guard let real = resolved(directory) else {
            if errno == ENOENT {
                throw StartupError(
                    "\(option): directory \(directory) does not exist; create it first")
            }
            throw StartupError("\(option): \(directory): \(reason(errno))")
        }
        var info = stat()
        if stat(real, &info) != 0 || info.st_mode & S_IFMT != S_IFDIR {
            throw StartupError("\(option): \(directory) is not a directory; choose another path")
        }
        let name = absolutePath[absolutePath.index(after: slash)...]
        let full = (real == "/" ? "" : real) + "/" + name
        if stat(full, &info) == 0 && info.st_mode & S_IFMT != S_IFREG {
            throw StartupError("\(option): is not a regular file; choose another path")
        }
        return full
    }

    /// The mount would hide a file that it uses itself.
    package static func outside(
        _ path: String, _ option: String, mountPoint: String
    ) throws(StartupError) {
        if path.hasPrefix(mountPoint + "/") {
            throw StartupError(
                "--\(option)=\(path): lies inside the mount point \(mountPoint); "
                    + "choose another path")
        }
    }
}
