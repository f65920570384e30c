import Foundation
import S3IO

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

        /// When it was made, since 1970.
        var seconds: Int {
            let text = self["x-amz-date"]
            return S3Date.seconds(text.isEmpty ? self["date"] : text) ?? -1
        }

        init(_ name: String, _ folder: String = "traces") throws {
            let path = Golden.directory + "/" + folder + "/" + name
            let text = try String(contentsOfFile: path, encoding: .utf8)
            let mark = folder == "traces" ? "--- canonical request:\n" : "--- signature recomputed"
            let sections = text.components(separatedBy: mark)
            let parts = sections[1].components(separatedBy: "--- string to sign:\n")
            canonical = parts[0].trimmingCharacters(in: .newlines)
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

    static let traces = names("traces")
    static let tracesV2 = names("traces-v2")

    private static func names(_ folder: String) -> [String] {
        let names = try? FileManager.default.contentsOfDirectory(atPath: directory + "/" + folder)
        return (names ?? []).sorted()
    }
}
