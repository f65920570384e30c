import VolumeOptions

/// Brings a command line into the one form that `Options` reads.
///
/// `-o a,b=c`, `-oa,b=c` and `-o a -o b=c` become `--a --b=c`; mount options become
/// `--fuse=WORD`; of an option given twice the last one stays; the source loses the `s3backer#`
/// that old fstab lines have.
struct Arguments {
    private var options: [(name: String, texts: [String])] = []
    private var positionals: [String] = []

    /// - Parameter arguments: The command line without the program's name.
    /// - Throws: `StartupError` for a word that is no option of anybody.
    static func normalise(_ arguments: [String]) throws(StartupError) -> [String] {
        var result = Arguments()
        try result.read(arguments)
        return result.options.flatMap(\.texts) + ["--"] + result.positionals
    }

    private mutating func read(_ arguments: [String]) throws(StartupError) {
        var index = 0
        while index < arguments.count {
            let argument = arguments[index]
            index += 1
            if argument == "--" {
                for rest in arguments[index...] { addPositional(rest) }
                return
            } else if argument == "-o" {
                guard index < arguments.count else {
                    throw StartupError("-o needs a value: -o name=value,...")
                }
                try readWords(arguments[index])
                index += 1
            } else if argument.hasPrefix("-o") {
                try readWords(String(argument.dropFirst(2)))
            } else if argument.hasPrefix("--") {
                let next = index < arguments.count ? arguments[index] : nil
                index += try readLong(argument, next: next)
            } else if argument.hasPrefix("-") && argument.count > 1 {
                try readShort(argument)
            } else {
                addPositional(argument)
            }
        }
    }

    // MARK: Pieces

    /// Reads `--name` or `--name=value`; returns how many further arguments it took.
    private mutating func readLong(_ argument: String, next: String?) throws(StartupError) -> Int {
        let (name, value) = Self.split(String(argument.dropFirst(2)))
        if KnownOptions.values.contains(name), value == nil, let next, !next.hasPrefix("-") {
            try addOwn(name, next, shown: argument)
            return 1
        }
        if KnownOptions.isOwn(name) {
            try addOwn(name, value, shown: argument)
            return 0
        }
        throw KnownOptions.unknown(name, shown: "--" + name)
    }

    private mutating func readShort(_ argument: String) throws(StartupError) {
        for letter in argument.dropFirst() {
            switch letter {
            case "f": set("foreground", "--foreground")
            case "d": set("d", "-d")
            case "h", "?": set("help", "--help")
            case "v", "V": set("version", "--version")
            case "s": break
            default:
                throw StartupError("unknown option \(argument); see \(Program.name) --help")
            }
        }
    }

    /// Reads what follows `-o`: words between commas, where `\,` is a comma of the word.
    private mutating func readWords(_ text: String) throws(StartupError) {
        for word in Self.words(text) where !word.isEmpty {
            let (name, value) = Self.split(word)
            if KnownOptions.isOwn(name) {
                try addOwn(name, value, shown: "-o \(word)")
                continue
            }
            switch MountWords.meaning(of: word) {
            case .forwarded: set("fuse " + name, "--fuse=" + word)
            case .swallowed: break
            case .readOnly: set("readOnly", "--readOnly")
            case .readWrite: options.removeAll { $0.name == "readOnly" }
            case .unknown:
                throw KnownOptions.unknown(name, shown: "-o \(name)", isMountWord: true)
            }
        }
    }

    private mutating func addOwn(
        _ name: String, _ value: String?, shown: String
    ) throws(StartupError) {
        if KnownOptions.flags.contains(name) {
            guard value == nil else { throw StartupError("\(shown): --\(name) takes no value") }
            set(name, "--" + name)
        } else {
            guard let value = value ?? (KnownOptions.optionalValues.contains(name) ? "" : nil)
            else {
                throw StartupError("\(shown) needs a value: --\(name)=VALUE")
            }
            // The parser takes `--name=` for a forgotten value.
            if value.isEmpty { set(name, "--" + name, "") } else { set(name, "--\(name)=\(value)") }
        }
    }

    /// The last occurrence of an option wins.
    private mutating func set(_ name: String, _ texts: String...) {
        options.removeAll { $0.name == name }
        options.append((name, texts))
    }

    private mutating func addPositional(_ text: String) {
        let mark = Program.name + "#"
        let isSource = positionals.isEmpty && text.hasPrefix(mark)
        positionals.append(isSource ? String(text.dropFirst(mark.count)) : text)
    }

    private static func split(_ word: String) -> (name: String, value: String?) {
        guard let sign = word.firstIndex(of: "=") else { return (word, nil) }
        return (String(word[..<sign]), String(word[word.index(after: sign)...]))
    }

    private static func words(_ text: String) -> [String] {
        var words: [String] = [""]
        var isEscaped = false
        for letter in text {
            if isEscaped {
                words[words.count - 1].append(letter)
                isEscaped = false
            } else if letter == "\\" {
                isEscaped = true
            } else if letter == "," {
                words.append("")
            } else {
                words[words.count - 1].append(letter)
            }
        }
        return words
    }
}
