/// What makes a mount refuse a file: the first one ends the look at it, or all are noted and passed,
/// to carry away what is left.
package final class Refusals {
    package let goesOn: Bool
    /// Set: what is lost is put together again from what is left, for a repair.
    let depth: RepairDepth?
    package private(set) var findings: [Finding] = []
    /// A damaged file may have any number of them.
    private static let namedMax = 100

    package init(goesOn: Bool, depth: RepairDepth? = nil) {
        self.goesOn = goesOn
        self.depth = depth
    }

    /// Notes what a mount would refuse.
    func note(_ error: CacheFileError) {
        if findings.count < Self.namedMax { findings.append(error.finding) }
    }

    /// Throws the error, unless the look goes on; then the caller leaves out what is damaged.
    func refuse(_ error: CacheFileError) throws(CacheFileError) {
        guard goesOn else { throw error }
        note(error)
    }
}

extension CacheFileError {
    /// The finding that the error tells of; its code stands before the first colon of the message.
    package var finding: Finding {
        let severity = kind == .unsupported ? Finding.Severity.fatal : .error
        if kind == .shortFile { return Finding("SIZE_SHORT", severity, message) }
        let parts = message.split(separator: ":", maxSplits: 1)
        let isCode =
            parts.count == 2
            && parts[0].utf8.allSatisfy { $0 == 0x5f || (0x41...0x5a).contains($0) }
        guard isCode else { return Finding("NEEDS_CHECK", severity, message) }
        return Finding(String(parts[0]), severity, String(parts[1].drop { $0 == " " }))
    }
}
