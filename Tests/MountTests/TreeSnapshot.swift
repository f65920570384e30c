import Foundation
import Glibc
import TestSupport

/// Everything below a directory that a program could have changed: names, kinds, sizes, times of
/// change and contents. Of a directory only the names in it count: what came and went is no change. Mounts are not entered.
struct TreeSnapshot: Equatable {
    private(set) var entries: [String: String] = [:]

    init(_ root: String) {
        var info = stat()
        guard lstat(root, &info) == 0 else { return }
        add(root, device: info.st_dev)
    }

    private mutating func add(_ path: String, device: dev_t) {
        var info = stat()
        guard lstat(path, &info) == 0, info.st_dev == device else {
            entries[path] = "elsewhere"
            return
        }
        var line = "mode \(String(info.st_mode, radix: 8))"
        let isDirectory = info.st_mode & S_IFMT == S_IFDIR
        if info.st_mode & S_IFMT == S_IFREG {
            let times = "\(info.st_mtim.tv_sec).\(info.st_mtim.tv_nsec)"
            line += " size \(info.st_size) blocks \(info.st_blocks) changed \(times)"
            line += " content \(Self.fingerprint(path))"
        }
        entries[path] = line
        guard isDirectory else { return }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        for name in names { add(path + "/" + name, device: device) }
    }

    private static func fingerprint(_ path: String) -> String {
        guard let found = try? run("/usr/bin/sha256sum", [path]), found.status == 0 else {
            return "unreadable"
        }
        return String(found.output.prefix(64))
    }

    /// What is different, one line each.
    func differences(from other: TreeSnapshot) -> [String] {
        Set(entries.keys).union(other.entries.keys).sorted().compactMap { path in
            let (before, after) = (other.entries[path], entries[path])
            if before == after { return nil }
            return "\(path): \(before ?? "not there") -> \(after ?? "gone")"
        }
    }
}
