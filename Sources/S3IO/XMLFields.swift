/// The texts of the elements of a small XML document by name; of several, the first.
///
/// Documents with entity declarations, too deep or broken give what came before the trouble: they
/// are only read to explain an error.
package struct XMLFields {
    package private(set) var fields: [String: String] = [:]

    package static let bytesMax = 64 << 10

    package subscript(_ name: String) -> String? { fields[name] }

    package init(_ bytes: [UInt8]) {
        guard bytes.count <= Self.bytesMax else { return }
        let collector = Collector()
        bytes.withUnsafeBytes { _ = XMLReader.read($0, collector) }
        fields = collector.fields
    }

    private final class Collector: XMLSink {
        var fields: [String: String] = [:]
        private var text: [UInt8] = []

        func start(_ name: String, depth: Int) -> Bool {
            text = []
            return true
        }

        func text(_ bytes: UnsafeRawBufferPointer) -> Bool {
            text += bytes
            return true
        }

        func end(_ name: String, depth: Int) {
            if fields[name] == nil { fields[name] = String(decoding: text, as: UTF8.self) }
            text = []
        }
    }
}
