/// Why the program cannot do what it was asked to: one line for the user.
struct StartupError: Error, CustomStringConvertible, Equatable {
    /// Names what is wrong and how to put it right; no program name, no line break.
    let message: String

    init(_ message: String) { self.message = message }

    var description: String { message }
}
