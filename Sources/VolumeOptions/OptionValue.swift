/// What the program is called and which one it is.
package enum Program {
    package static let name = "s3backer"
    package static let version = "0.1.0"
}

/// Numbers of the command line.
package enum OptionValue {
    package static func size(_ option: String, _ text: String) throws(StartupError) -> UInt64 {
        do throws(SizeGrammar.Failure) {
            return try SizeGrammar.parse(text)
        } catch {
            switch error {
            case .malformed:
                throw StartupError(
                    "--\(option)=\(text): invalid size; "
                        + "give a number with one of the suffixes k, m, g, t, p, e or none")
            case .tooBig:
                throw StartupError("--\(option)=\(text): too big; give a smaller size")
            }
        }
    }

    package static func number(
        _ option: String, _ text: String, _ range: ClosedRange<UInt64>
    ) throws(StartupError) -> Int {
        guard let number = UInt64(text), range.contains(number) else {
            throw StartupError(
                "--\(option)=\(text): must be a number from "
                    + "\(range.lowerBound) to \(range.upperBound)")
        }
        return Int(number)
    }
}
