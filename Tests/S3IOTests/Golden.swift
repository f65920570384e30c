import Foundation

/// Recordings of the real s3backer.
enum Golden {
    static let directory =
        URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().path + "/Golden/s3"

    static let accessID = "AKIDEXAMPLE"
    static let accessKey = "SECRETEXAMPLE"

    static func bytes(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: directory + "/" + name)))
    }

    /// One recorded request: what was sent, and what was signed.
    struct Trace {
        var method = ""
        var path = ""
        var query = ""
        /// As they were sent.
        var headers: [(name: String, value: String)] = []
        var canonical = ""
        var stringToSign = ""

        /// Value of a header; "" when it was not sent.
        subscript(_ name: String) -> String {
            headers.first { $0.name.lowercased() == name }?.value ?? ""
        }

        /// Headers that take part in the signature.
        var signed: [(name: String, value: String)] {
            let list = self["authorization"].components(separatedBy: "SignedHeaders=").last ?? ""
            let names = Set(list.prefix { $0 != "," }.components(separatedBy: ";"))
            return headers.map { (name: $0.name.lowercased(), value: $0.value) }
                .filter { names.contains($0.name) }
        }

        init(_ name: String) throws {
            let path = Golden.directory + "/traces/" + name
            let text = try String(contentsOfFile: path, encoding: .utf8)
            let sections = text.components(separatedBy: "--- canonical request:\n")
            let parts = sections[1].components(separatedBy: "\n--- string to sign:\n")
            canonical = parts[0]
            stringToSign = parts[1].trimmingCharacters(in: .newlines)
            let head = sections[0].components(separatedBy: "\n\n")[0]
            let lines = head.components(separatedBy: "\n")
            let words = lines[0].components(separatedBy: " ")
            method = words[0]
            let target = words[1].components(separatedBy: "?")
            self.path = target[0]
            query = target.count > 1 ? target[1] : ""
            headers = lines.dropFirst().compactMap { line in
                guard let colon = line.firstIndex(of: ":") else { return nil }
                let value = line[line.index(after: colon)...]
                return (String(line[..<colon]), value.trimmingCharacters(in: .whitespaces))
            }
        }
    }

    static let traces: [String] = {
        let names = try? FileManager.default.contentsOfDirectory(atPath: directory + "/traces")
        return (names ?? []).sorted()
    }()
}
