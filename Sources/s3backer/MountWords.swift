/// The words that may follow `-o` and are no options of this program: those of mount(8), fstab(5)
/// and fuse(8).
enum MountWords {
    enum Meaning: Equatable {
        /// For libfuse, which passes it to the kernel or acts on it.
        case forwarded
        /// Means nothing here, or is what happens anyway.
        case swallowed
        case readOnly
        case readWrite
        case unknown
    }

    static func meaning(of word: String) -> Meaning {
        let name = String(word.prefix { $0 != "=" })
        if name.hasPrefix("x-") || name.hasPrefix("X-") { return .swallowed }
        switch word {
        case "ro": return .readOnly
        case "rw": return .readWrite
        default: break
        }
        if word == name {
            if forwardedWords.contains(name) { return .forwarded }
            if swallowedWords.contains(name) { return .swallowed }
        } else {
            if forwardedValues.contains(name) { return .forwarded }
            if swallowedValues.contains(name) { return .swallowed }
        }
        return .unknown
    }

    /// Every word without its value, for suggestions.
    static let all = forwardedWords.union(forwardedValues).union(swallowedWords)
        .union(swallowedValues).union(["ro", "rw"])

    private static let forwardedWords: Set<String> = [
        "allow_other", "allow_root", "auto_unmount", "default_permissions",
        "dev", "nodev", "suid", "nosuid", "exec", "noexec", "async", "sync", "dirsync",
        "atime", "noatime", "nodiratime", "norelatime", "nostrictatime",
    ]

    private static let forwardedValues: Set<String> = [
        "fsname", "subtype", "context", "fscontext", "defcontext", "rootcontext",
    ]

    private static let swallowedWords: Set<String> = [
        "_netdev", "auto", "noauto", "defaults", "user", "nouser", "users", "nousers", "owner",
        "noowner", "group", "nogroup", "nofail", "fail",
        "diratime", "relatime", "strictatime", "lazytime", "nolazytime", "loud", "silent",
        "mand", "nomand", "iversion", "noiversion",
        "kernel_cache", "auto_cache", "noauto_cache", "nonempty", "big_writes", "large_read",
        "hard_remove", "use_ino", "readdir_ino", "async_read", "sync_read", "no_remote_lock",
        "nointr", "intr",
    ]

    private static let swallowedValues: Set<String> = [
        "comment", "user", "max_read", "max_write", "max_readahead", "max_background",
        "congestion_threshold", "entry_timeout", "attr_timeout", "negative_timeout",
        "ac_attr_timeout", "modules",
    ]
}
