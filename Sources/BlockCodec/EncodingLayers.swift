/// What was done to a block, as `Content-Encoding` says it: at most one compression, then at most
/// one encryption.
struct EncodingLayers: Equatable {
    var compression: CompressionAlgorithm?
    /// Name of the cipher as the object has it.
    var cipher: String?

    static let encryptionMark = "encrypt-"

    var isEmpty: Bool { compression == nil && cipher == nil }

    init(compression: CompressionAlgorithm?, cipher: String?) {
        self.compression = compression
        self.cipher = cipher
    }

    /// Takes the layers off from the last; names compare without case, blanks do not count.
    ///
    /// - Returns: nil for anything that is not such a value.
    init?(_ value: String) {
        var names = value.split(separator: ",", omittingEmptySubsequences: false).map { part in
            let first = part.firstIndex { !Self.isBlank($0) } ?? part.endIndex
            let last = part.lastIndex { !Self.isBlank($0) } ?? first
            return first == part.endIndex ? "" : String(part[first...last])
        }
        if names == [""] { names = [] }
        // A name for nothing done.
        if names.count == 1, names[0].lowercased() == "identity" { names = [] }
        if let last = names.last, last.lowercased().hasPrefix(Self.encryptionMark) {
            cipher = String(last.dropFirst(Self.encryptionMark.count))
            names.removeLast()
        }
        if let last = names.last {
            guard let known = CompressionAlgorithm(rawValue: last.lowercased()) else { return nil }
            compression = known
            names.removeLast()
        }
        if !names.isEmpty || cipher == "" { return nil }
    }

    private static func isBlank(_ letter: Character) -> Bool { letter == " " || letter == "\t" }

    /// In the order in which they were applied; nil when there are none.
    var header: String? {
        let names = [compression?.rawValue, cipher.map { Self.encryptionMark + $0.uppercased() }]
        let value = names.compactMap { $0 }.joined(separator: ", ")
        return value.isEmpty ? nil : value
    }
}
