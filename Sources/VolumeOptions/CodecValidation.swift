import BlockCodec

/// Turns the options for compression and encryption into a plan, or says what is wrong with them.
package struct CodecValidation {
    private let options: CodecOptions
    private let isReadOnly: Bool
    /// What the user should know although nothing is wrong.
    package private(set) var notices: [String] = []

    package init(_ options: CodecOptions, isReadOnly: Bool) {
        self.options = options
        self.isReadOnly = isReadOnly
    }

    /// Blocks in a directory are stored as they are.
    package func refuseAll() throws(StartupError) {
        let given = [
            ("compress", options.compress), ("compress-level", options.compressLevel),
            ("encrypt", options.encrypt),
            ("defaultContentEncoding", options.defaultContentEncoding),
        ]
        for (name, value) in given where value != nil {
            throw StartupError("--\(name): with --test blocks are stored as they are; leave it out")
        }
    }

    /// - Parameter ask: Called when there is a password to be asked for, after all other checks.
    package mutating func plan(
        ask: () throws(StartupError) -> SecretBytes
    ) throws(StartupError) -> CodecPlan {
        var plan = CodecPlan()
        plan.defaultEncoding = options.defaultContentEncoding
        plan.compression = try compression()
        plan.encryption = try encryption(ask)
        if let encoding = plan.defaultEncoding {
            let trial = CodecPlan(defaultEncoding: encoding)
            _ = try trial.makeCodec(blockSize: 4096, bucket: "", prefix: "")
        }
        return plan
    }

    // MARK: Compression

    private mutating func compression() throws(StartupError) -> Compression? {
        guard let text = options.compress else {
            if let level = options.compressLevel {
                throw StartupError(
                    "--compress-level=\(level): give --compress=ALGORITHM with it")
            }
            return options.encrypt == nil ? nil : Compression(.deflate)
        }
        if Int(text) != nil {
            if options.compressLevel != nil {
                throw StartupError(
                    "--compress=\(text): is a level, too; give --compress-level and the name "
                        + "of an algorithm")
            }
            return try compression(.deflate, level: text, option: "compress")
        }
        let name = text.isEmpty ? "deflate" : text.lowercased()
        guard let algorithm = CompressionAlgorithm(rawValue: name) else {
            let names = CompressionAlgorithm.allCases.map(\.rawValue).joined(separator: ", ")
            throw StartupError("--compress=\(text): must be one of \(names)")
        }
        if algorithm == .lz4 {
            notices.append(
                "--compress=lz4: other programs, among them the original s3backer, cannot read "
                    + "what is written")
        }
        return try compression(algorithm, level: options.compressLevel, option: "compress-level")
    }

    private func compression(
        _ algorithm: CompressionAlgorithm, level text: String?, option: String
    ) throws(StartupError) -> Compression {
        guard let text else { return Compression(algorithm) }
        guard let level = Int(text), algorithm.levels.contains(level) else {
            throw StartupError(
                "--\(option)=\(text): must be a number from \(algorithm.levels.lowerBound) to "
                    + "\(algorithm.levels.upperBound) for \(algorithm.rawValue)")
        }
        return Compression(algorithm, level: level)
    }

    // MARK: Encryption

    private mutating func encryption(
        _ ask: () throws(StartupError) -> SecretBytes
    ) throws(StartupError) -> CodecPlan.Encryption? {
        guard let text = options.encrypt else {
            let unused = [
                ("password", options.password), ("passwordFile", options.passwordFile),
                ("keyLength", options.keyLength),
            ]
            for (name, value) in unused where value != nil {
                notices.append("--\(name) has no effect without --encrypt")
            }
            return nil
        }
        guard let cipher = Cipher(named: text.isEmpty ? Cipher.usual : text) else {
            throw StartupError(
                "--encrypt=\(text): is no cipher that can be used; give AES-128-CBC, AES-256-CBC "
                    + "or another CBC cipher that openssl has")
        }
        if !cipher.isSafe {
            if !isReadOnly {
                throw StartupError(
                    "--encrypt=\(text): would give away what is written over old content, so it "
                        + "is for reading only; use AES-128-CBC or AES-256-CBC, or --readOnly")
            }
            notices.append(
                "--encrypt=\(text): what was written with this cipher is not always readable")
        }
        var keyLength: Int?
        if let text = options.keyLength {
            let range = UInt64(cipher.keyLength)...UInt64(Cipher.keyLengthMax)
            keyLength = try OptionValue.number("keyLength", text, range)
        }
        return .init(cipher: cipher, password: try password(ask), keyLength: keyLength)
    }

    private mutating func password(
        _ ask: () throws(StartupError) -> SecretBytes
    ) throws(StartupError) -> SecretBytes {
        if options.password != nil && options.passwordFile != nil {
            throw StartupError("--password and --passwordFile are both given; give one of them")
        }
        if let path = options.passwordFile { return try Password.read(path) }
        guard let text = options.password else { return try ask() }
        // The real s3backer takes it, so there may be such volumes.
        if text.isEmpty { notices.append("--password: the password is empty") }
        return SecretBytes(text)
    }
}
