import CExpat

/// The texts of the elements of an XML document by name; of several, the first, or all of one name.
///
/// Documents with entity declarations, too deep or broken give what came before the trouble: they
/// are only read to explain an error.
package struct XMLFields {
    package private(set) var fields: [String: String] = [:]
    /// Texts of the elements with the name that was asked for.
    package private(set) var all: [String] = []

    package static let bytesMax = 64 << 10
    private static let listBytesMax = 1 << 20
    private static let depthMax = 16

    package subscript(_ name: String) -> String? { fields[name] }

    package init(_ bytes: [UInt8], all name: String? = nil) {
        let bytesMax = name == nil ? Self.bytesMax : Self.listBytesMax
        guard !bytes.isEmpty, bytes.count <= bytesMax, let parser = XML_ParserCreate(nil)
        else { return }
        defer { XML_ParserFree(parser) }
        let collector = Collector(parser, all: name)
        withExtendedLifetime(collector) {
            XML_SetUserData(parser, Unmanaged.passUnretained(collector).toOpaque())
            XML_SetElementHandler(parser, xmlStart, xmlEnd)
            XML_SetCharacterDataHandler(parser, xmlText)
            XML_SetEntityDeclHandler(parser, xmlEntity)
            bytes.withUnsafeBytes { raw in
                let start = raw.bindMemory(to: CChar.self).baseAddress
                _ = XML_Parse(parser, start, Int32(bytes.count), 1)
            }
        }
        fields = collector.fields
        all = collector.all
    }

    fileprivate final class Collector {
        var fields: [String: String] = [:]
        var all: [String] = []
        private let name: String?
        private var text: [UInt8] = []
        private var depth = 0
        private let parser: XML_Parser

        init(_ parser: XML_Parser, all name: String?) {
            self.parser = parser
            self.name = name
        }

        func start() {
            text = []
            depth += 1
            if depth > XMLFields.depthMax { stop() }
        }

        func end(_ name: String) {
            depth -= 1
            if name == self.name { all.append(String(decoding: text, as: UTF8.self)) }
            if fields[name] == nil { fields[name] = String(decoding: text, as: UTF8.self) }
            text = []
        }

        func add(_ bytes: UnsafeRawBufferPointer) { text += bytes }
        func stop() { XML_StopParser(parser, 0) }
    }
}

private func withCollector(
    _ context: UnsafeMutableRawPointer?, _ body: (XMLFields.Collector) -> Void
) {
    guard let context else { return }
    body(Unmanaged<XMLFields.Collector>.fromOpaque(context).takeUnretainedValue())
}

private func xmlStart(
    _ context: UnsafeMutableRawPointer?, _ name: UnsafePointer<XML_Char>?,
    _ attributes: UnsafeMutablePointer<UnsafePointer<XML_Char>?>?
) {
    withCollector(context) { $0.start() }
}

private func xmlEnd(_ context: UnsafeMutableRawPointer?, _ name: UnsafePointer<XML_Char>?) {
    withCollector(context) { $0.end(name.map { String(cString: $0) } ?? "") }
}

private func xmlText(
    _ context: UnsafeMutableRawPointer?, _ text: UnsafePointer<XML_Char>?, _ length: Int32
) {
    withCollector(context) { $0.add(UnsafeRawBufferPointer(start: text, count: Int(length))) }
}

private func xmlEntity(
    _ context: UnsafeMutableRawPointer?, _ name: UnsafePointer<XML_Char>?, _ isParameter: Int32,
    _ value: UnsafePointer<XML_Char>?, _ length: Int32, _ base: UnsafePointer<XML_Char>?,
    _ systemID: UnsafePointer<XML_Char>?, _ publicID: UnsafePointer<XML_Char>?,
    _ notation: UnsafePointer<XML_Char>?
) {
    withCollector(context) { $0.stop() }
}
