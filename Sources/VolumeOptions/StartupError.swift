/// Why the program cannot do what it was asked to: one line for the user.
package struct StartupError: Error, CustomStringConvertible, Equatable {
    /// Names what is wrong and how to put it right; no program name, no line break.
    package let message: String

    package init(_ message: String) { self.message = message }

    package var description: String { message }
}
