import CDaemon

/// The command line as other users see it, with ps and in /proc.
enum VisibleArguments {
    private static let secrets = ["password", "accessKey"]

    /// Overwrites passwords and keys. They were visible until now, so files are safer.
    static func hideSecrets() {
        var count: Int32 = 0
        guard let arguments = cdaemon_visible_arguments(&count) else { return }
        for index in 1..<max(1, Int(count)) {
            guard let argument = arguments[index] else { return }
            let before = arguments[index - 1].map { String(cString: $0) } ?? ""
            let text = String(cString: argument)
            for hidden in ranges(text, after: before) {
                for position in hidden { argument[position] = 0x78 }
            }
        }
    }

    /// Where the secrets are in one argument, in bytes.
    ///
    /// - Parameter before: The argument before it.
    static func ranges(_ text: String, after before: String) -> [Range<Int>] {
        let bytes = Array(text.utf8)
        if secrets.contains(where: { before == "--" + $0 }), !text.hasPrefix("-") {
            return [0..<bytes.count]
        }
        let isList = !text.hasPrefix("--")
        var found: [Range<Int>] = []
        for secret in secrets {
            let name = Array((secret + "=").utf8)
            for start in bytes.indices.dropFirst(0) where bytes[start...].starts(with: name) {
                // Behind --, behind a comma, or at the beginning of what belongs to -o.
                let isName = start == 0 || [0x2d, 0x2c, 0x6f].contains(bytes[start - 1])
                guard isName else { continue }
                let value = start + name.count
                var end = bytes.count
                if isList {
                    end = value
                    while end < bytes.count, bytes[end] != 0x2c || bytes[end - 1] == 0x5c {
                        end += 1
                    }
                }
                found.append(value..<end)
            }
        }
        return found
    }
}
