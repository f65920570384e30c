import BlockStore
import FileIO

/// One request that deletes up to 1000 objects, in the form that the bucket's URLs have.
struct BulkDeletion {
    struct Failure {
        let key: String
        let message: String
        let isTemporary: Bool
    }

    private let client: S3Client
    private let keys: [String]

    /// A server that names all it has deleted, although that is not asked for, needs so much.
    private static let answerBytes = 4 << 20
    private static let temporaryCodes: Set<String> = [
        "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown",
    ]
    private static let shape = XMLTable.Shape(
        root: "DeleteResult", fields: [], row: "Error", columns: ["Key", "Code", "Message"])

    init(client: S3Client, keys: [String]) {
        self.client = client
        self.keys = keys
    }

    /// Whether keys with this prefix can stand in an XML document at all.
    static func canName(_ prefix: String) -> Bool {
        prefix.unicodeScalars.allSatisfy {
            $0.value >= 0x20 && $0.value != 0xfffe && $0.value != 0xffff
        }
    }

    /// - Returns: The keys that were not deleted; one that was not there counts as deleted.
    /// - Throws: Where it is not known which of them were.
    func run() throws(S3Error) -> (failures: [Failure], hadUnansweredTry: Bool) {
        var text = "<Delete>"
        for key in keys { text += "<Object><Key>\(Self.escape(key))</Key></Object>" }
        // Only what failed is of interest.
        text += "<Quiet>true</Quiet></Delete>"
        let body = Array(text.utf8)
        let buffer = AlignedBuffer(Self.answerBytes)
        var request = S3Request(.post, path: client.configuration.endpoint.bucketPath)
        request.query = PercentEncoding.query([("delete", "")])
        let answer = body.withUnsafeBytes { bytes -> Result<S3Response, S3Error> in
            request.body = bytes
            request.target = buffer.mutableBytes
            request.headers = [
                ("content-type", "application/xml"),
                ("content-md5", Digest.base64(Digest.md5(bytes))),
            ]
            do throws(S3Error) {
                return .success(try client.perform(request))
            } catch {
                return .failure(error)
            }
        }
        let response = try answer.get()
        let count = min(response.bodyCount, Self.answerBytes)
        let document = UnsafeRawBufferPointer(rebasing: buffer.bytes[..<count])
        return (try failures(document), response.hadUnansweredTry)
    }

    private func failures(_ document: UnsafeRawBufferPointer) throws(S3Error) -> [Failure] {
        let table: XMLTable
        do throws(XMLTable.Invalid) {
            table = try XMLTable(document, Self.shape)
        } catch {
            // A server may find out late that something is wrong, and says so in this way.
            let code = XMLFields(Array(document.prefix(XMLFields.bytesMax)))["Code"]
            throw bad(code.map { "is \(Self.clean($0))" } ?? error.message)
        }
        var failures: [Failure] = []
        for row in table.rows {
            let code = Self.clean(row[1] ?? "")
            if code == "NoSuchKey" { continue }
            guard let key = row[0], keys.contains(where: { $0.utf8.elementsEqual(key.utf8) }) else {
                throw bad("has \(code) for an object that was not meant")
            }
            let reason = Self.clean(row[2] ?? "")
            failures.append(
                Failure(
                    key: key,
                    message: "\(client.configuration.endpoint.description)\(key) is not deleted: "
                        + "\(code) \(reason)",
                    isTemporary: Self.temporaryCodes.contains(code)))
        }
        return failures
    }

    private func bad(_ what: String) -> S3Error {
        let place = client.configuration.endpoint.description
        return S3Error(.server, "\(place): the answer to a bulk deletion \(what)")
    }

    /// What a server says, made safe for one line.
    private static func clean(_ text: String) -> String {
        let scalars = text.unicodeScalars.lazy.filter { $0.value >= 0x20 && $0.value != 0x7f }
        return String(String.UnicodeScalarView(scalars.prefix(200)))
    }

    private static func escape(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
