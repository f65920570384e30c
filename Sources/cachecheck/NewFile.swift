import FileIO

/// A file that a command makes: it has no name before it is complete, so whatever ends the program
/// leaves nothing, and a file that is there already is never touched.
final class NewFile {
    private let file: PosixFile
    private let path: String
    private var pending: [UInt8] = []
    private(set) var byteCount = 0
    private static let pieceBytes = 1 << 20

    /// Throws `.exists`, and what keeps it from being made.
    init(_ path: String) throws(FileError) {
        self.path = path
        file = try PosixFile.createUnlinked(for: path)
    }

    func append(_ bytes: some Sequence<UInt8>) throws(FileError) {
        pending.append(contentsOf: bytes)
        if pending.count >= Self.pieceBytes { try write() }
    }

    func append(_ text: String) throws(FileError) { try append(text.utf8) }

    private func write() throws(FileError) {
        let buffer = AlignedBuffer(pending.count)
        buffer.mutableBytes.copyBytes(from: pending)
        try file.write(buffer.bytes, at: byteCount, .cached)
        byteCount += pending.count
        pending = []
    }

    /// Makes it durable and gives it its name.
    func finish() throws(FileError) {
        do throws(FileError) {
            try write()
            try file.flushAll()
            try file.link(as: path)
        } catch {
            file.discard()
            throw error
        }
        try PosixFile.flushDirectory(of: path)
    }

    /// Removes what there is of it.
    func discard() { file.discard() }
}

extension Failure {
    /// Of something that was to be written.
    init(writing error: FileError) {
        let remedy =
            switch error.kind {
            case .exists: "choose another name; nothing is overwritten"
            case .noSpace: "make room"
            case .missing, .denied: "check the name of its directory, and who may write there"
            case .locked, .shortFile, .io: "check the disk that it is on"
            }
        self.init(kind: "output", message: Text.safe(error.message), remedy: remedy)
    }
}
