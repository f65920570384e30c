import CacheFile
import FileIO
import Glibc

/// Why a file was not looked into.
struct Failure: Error {
    let kind: String
    let message: String
    let remedy: String

    var line: String { "\(message): \(remedy)" }

    /// What is no regular file is not even opened: that could block, or move a tape.
    static func oddKind(_ path: String) -> Failure? {
        var info = stat()
        guard stat(path, &info) == 0 else { return nil }
        let kind: String
        switch info.st_mode & S_IFMT {
        case S_IFREG: return nil
        case S_IFDIR: kind = "a directory"
        case S_IFIFO: kind = "a named pipe"
        case S_IFSOCK: kind = "a socket"
        case S_IFBLK: kind = "a block device"
        default: kind = "a device"
        }
        return Failure(
            kind: "notRegular", message: "\(Text.safe(path)) is \(kind), not a regular file",
            remedy: "give the file that --blockCacheFile names")
    }

    /// nil for damage, which is no failure to look.
    init?(_ error: CacheFileError, _ path: String) {
        let name = Text.safe(path)
        let message = Text.safe(error.message)
        switch error.kind {
        case .needsCheck, .otherVolume, .otherBlockSize, .otherSize, .invalid, .unsupported,
            .shortFile:
            return nil
        case .missing:
            self.init(kind: "missing", message: message, remedy: "check the name")
        case .denied:
            self.init(
                kind: "denied", message: message,
                remedy: "run as the owner of the file or as root")
        case .locked:
            self.init(
                kind: "locked", message: Self.lockedMessage(path), remedy: "unmount it first")
        case .garbage:
            self.init(
                kind: "garbage", message: "\(name): \(message)", remedy: Self.garbageRemedy(path))
        case .foreign:
            self.init(
                kind: "foreign", message: "\(name) is \(message)",
                remedy: "look into it with cachecheck import; choose another file for this program")
        case .io, .noSpace, .exists:
            self.init(
                kind: "io", message: message, remedy: "check the disk that the file is on")
        }
    }

    init(kind: String, message: String, remedy: String) {
        self.kind = kind
        self.message = message
        self.remedy = remedy
    }

    private static func garbageRemedy(_ path: String) -> String {
        var info = stat()
        if stat(path, &info) == 0, info.st_size == 0 {
            return "the file is empty; remove it and let a mount create it"
        }
        return "check the name; s3backer never overwrites such a file"
    }

    private static func lockedMessage(_ path: String) -> String {
        let name = Text.safe(path)
        guard let holder = CacheFiles.holder(path), !holder.mounter.isEmpty else {
            return "\(name) is in use by another process"
        }
        let what = holder.isServing ? "serves a mount" : "is starting or stopping"
        let host = holder.host.isEmpty ? "" : " on \(Text.safe(holder.host))"
        return "\(name) is in use by s3backer (\(Text.safe(holder.mounter)))\(host), which \(what)"
    }

    var json: JSON {
        .object([
            ("kind", .string(kind)), ("message", .string(message)), ("remedy", .string(remedy)),
        ])
    }
}

extension Failure {
    init(reading error: FileError) {
        let remedy =
            switch error.kind {
            case .missing: "check the name"
            case .denied: "run as the owner of the file or as root"
            case .exists, .noSpace, .locked, .shortFile, .io:
                "check the disk that the file is on"
            }
        let kind = error.kind == .missing ? "missing" : error.kind == .denied ? "denied" : "io"
        self.init(kind: kind, message: Text.safe(error.message), remedy: remedy)
    }

    static func bundle(_ path: String) -> Failure {
        Failure(
            kind: "bundle", message: "\(Text.safe(path)) is a bundle, without the bytes of blocks",
            remedy: "use the cache file it was made of")
    }
}
