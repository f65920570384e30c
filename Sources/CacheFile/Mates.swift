import FileIO

/// The two copies of a table or page, of which something above names one.
enum Mates {
    /// The copy to use: the one named or, where that is damaged or cannot be read, its mate, if it
    /// passes the same test and so has the same bytes. An older one never does (I11).
    ///
    /// - Parameters:
    ///   - code: of the finding that tells of a mate in use.
    ///   - isRight: reads this copy and tells whether it is exactly the one wanted.
    /// - Returns: nil when neither is.
    static func find(
        named: Int, _ code: String, _ what: String, _ findings: inout [Finding],
        _ isRight: (_ copy: Int) throws(CacheFileError) -> Bool
    ) throws(CacheFileError) -> Int? {
        var failure: CacheFileError?
        do throws(CacheFileError) {
            if try isRight(named) { return named }
        } catch {
            failure = error
        }
        if try isRight(1 - named) {
            findings.append(
                Finding(code, .warning, "\(what): one copy is damaged, its mate is good"))
            return 1 - named
        }
        if let failure { throw failure }
        return nil
    }
}
