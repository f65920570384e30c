/// A JSON value that is only ever written. Members keep their order.
enum JSON {
    /// Of all objects; goes up when a member changes its meaning or goes away.
    static let version: UInt64 = 1

    case null
    case bool(Bool)
    case number(UInt64)
    case string(String)
    case array([JSON])
    case object([(String, JSON)])

    static func number(_ value: Int) -> JSON { .number(UInt64(max(0, value))) }

    var text: String {
        switch self {
        case .null: "null"
        case .bool(let value): value ? "true" : "false"
        case .number(let value): "\(value)"
        case .string(let value): Self.quoted(value)
        case .array(let items): "[" + items.map(\.text).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { Self.quoted($0) + ":" + $1.text }.joined(separator: ",") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        // Most texts by far.
        let isSimple = text.utf8.allSatisfy {
            (0x20...0x7e).contains($0) && $0 != 0x22 && $0 != 0x5c
        }
        if isSimple { return "\"" + text + "\"" }
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\":
                result += "\\"
                result.unicodeScalars.append(scalar)
            default:
                if Text.isPlain(scalar) {
                    result.unicodeScalars.append(scalar)
                } else {
                    for unit in String(scalar).utf16 {
                        let hex = String(unit, radix: 16)
                        result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                    }
                }
            }
        }
        return result + "\""
    }
}
