import Glibc

/// The variables of the environment. Only the program reads them, never the libraries.
package struct Environment: Sendable {
    private let values: [String: String]?

    /// That of this process.
    package static let process = Environment(values: nil)

    package init(_ values: [String: String]) { self.values = values }
    private init(values: [String: String]?) { self.values = values }

    /// nil: not set, or empty, which means the same for all that are read here.
    package subscript(_ name: String) -> String? {
        let value = values.map { $0[name] } ?? getenv(name).map { String(cString: $0) }
        return value?.isEmpty == false ? value : nil
    }
}
