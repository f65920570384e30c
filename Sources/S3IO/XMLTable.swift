/// A document of rows: a root with fields of its own and any number of rows, which have fields.
/// Listings and the answers to bulk deletions are of this form.
package struct XMLTable {
    /// What is wanted of a document.
    package struct Shape: Sendable {
        package let root: String
        /// Fields of the document.
        package let fields: Set<String>
        /// Name of the rows.
        package let row: String
        /// Fields of a row, in the order in which they are returned.
        package let columns: [String]

        package init(root: String, fields: Set<String>, row: String, columns: [String]) {
            self.root = root
            self.fields = fields
            self.row = row
            self.columns = columns
        }
    }

    /// Why bytes are no such document; the end of a sentence that begins with their name.
    package struct Invalid: Error { package let message: String }

    package let fields: [String: String]
    /// For each row the texts of its columns, nil where it has none.
    package let rows: [[String?]]

    /// Keys have at most 1024 bytes, and three times that when encoded.
    package static let textMax = 4096
    /// Ten times what is asked for.
    package static let rowsMax = 10_000

    /// Takes at most as much memory as the bytes, a small factor apart.
    package init(_ bytes: UnsafeRawBufferPointer, _ shape: Shape) throws(Invalid) {
        let builder = Builder(shape)
        let isWhole = XMLReader.read(bytes, builder)
        if let problem = builder.problem { throw Invalid(message: problem) }
        guard isWhole else { throw Invalid(message: "is no whole XML document") }
        fields = builder.fields
        rows = builder.rows
    }

    private final class Builder: XMLSink {
        private let shape: Shape
        var fields: [String: String] = [:]
        var rows: [[String?]] = []
        var problem: String?
        /// Of the row or field being read.
        private var row: [String?]?
        private var text: [UInt8]?

        init(_ shape: Shape) { self.shape = shape }

        func start(_ name: String, depth: Int) -> Bool {
            // A text with elements in it is none that is wanted.
            text = nil
            switch depth {
            case 1:
                if name != shape.root { problem = "is no \(shape.root)" }
            case 2 where name == shape.row:
                if rows.count == XMLTable.rowsMax { problem = "has too many entries" }
                row = [String?](repeating: nil, count: shape.columns.count)
            case 2:
                if shape.fields.contains(name) { text = [] }
            case 3:
                if row != nil, shape.columns.contains(name) { text = [] }
            default: break
            }
            return problem == nil
        }

        func text(_ bytes: UnsafeRawBufferPointer) -> Bool {
            guard let count = text?.count else { return true }
            if count + bytes.count > XMLTable.textMax {
                problem = "has a text of more than \(XMLTable.textMax) bytes"
                return false
            }
            text? += bytes
            return true
        }

        func end(_ name: String, depth: Int) {
            if let text {
                let value = String(decoding: text, as: UTF8.self)
                if depth == 2 {
                    fields[name] = value
                } else if let column = shape.columns.firstIndex(of: name) {
                    row?[column] = value
                }
                self.text = nil
            }
            if depth == 2, let row {
                rows.append(row)
                self.row = nil
            }
        }
    }
}
