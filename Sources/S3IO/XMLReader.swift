import CExpat

/// What a document says, in order.
protocol XMLSink: AnyObject {
    /// - Returns: false to stop.
    func start(_ name: String, depth: Int) -> Bool
    /// Of the innermost element; in pieces.
    func text(_ bytes: UnsafeRawBufferPointer) -> Bool
    func end(_ name: String, depth: Int)
}

/// Reads a document of a stranger. Nothing is kept here, and documents that declare entities or are
/// deep end early: what a sink keeps is all the memory there is.
final class XMLReader {
    private let sink: any XMLSink
    private let parser: XML_Parser
    private var depth = 0

    private static let depthMax = 16

    private init(_ sink: any XMLSink, _ parser: XML_Parser) {
        self.sink = sink
        self.parser = parser
    }

    /// - Returns: Whether it was read to its end.
    static func read(_ bytes: UnsafeRawBufferPointer, _ sink: any XMLSink) -> Bool {
        guard let start = bytes.bindMemory(to: CChar.self).baseAddress,
            let count = Int32(exactly: bytes.count), let parser = XML_ParserCreate(nil)
        else { return false }
        defer { XML_ParserFree(parser) }
        let reader = XMLReader(sink, parser)
        return withExtendedLifetime(reader) {
            XML_SetUserData(parser, Unmanaged.passUnretained(reader).toOpaque())
            XML_SetElementHandler(parser, xmlStart, xmlEnd)
            XML_SetCharacterDataHandler(parser, xmlText)
            XML_SetEntityDeclHandler(parser, xmlEntity)
            return XML_Parse(parser, start, count, 1) == XML_STATUS_OK
        }
    }

    fileprivate func start(_ name: String) {
        depth += 1
        if depth > Self.depthMax || !sink.start(name, depth: depth) { stop() }
    }

    fileprivate func end(_ name: String) {
        sink.end(name, depth: depth)
        depth -= 1
    }

    fileprivate func text(_ bytes: UnsafeRawBufferPointer) {
        if !sink.text(bytes) { stop() }
    }

    fileprivate func stop() { XML_StopParser(parser, 0) }
}

private func withReader(_ context: UnsafeMutableRawPointer?, _ body: (XMLReader) -> Void) {
    guard let context else { return }
    body(Unmanaged<XMLReader>.fromOpaque(context).takeUnretainedValue())
}

private func xmlStart(
    _ context: UnsafeMutableRawPointer?, _ name: UnsafePointer<XML_Char>?,
    _ attributes: UnsafeMutablePointer<UnsafePointer<XML_Char>?>?
) {
    withReader(context) { $0.start(name.map { String(cString: $0) } ?? "") }
}

private func xmlEnd(_ context: UnsafeMutableRawPointer?, _ name: UnsafePointer<XML_Char>?) {
    withReader(context) { $0.end(name.map { String(cString: $0) } ?? "") }
}

private func xmlText(
    _ context: UnsafeMutableRawPointer?, _ text: UnsafePointer<XML_Char>?, _ length: Int32
) {
    withReader(context) { $0.text(UnsafeRawBufferPointer(start: text, count: Int(length))) }
}

private func xmlEntity(
    _ context: UnsafeMutableRawPointer?, _ name: UnsafePointer<XML_Char>?, _ isParameter: Int32,
    _ value: UnsafePointer<XML_Char>?, _ length: Int32, _ base: UnsafePointer<XML_Char>?,
    _ systemID: UnsafePointer<XML_Char>?, _ publicID: UnsafePointer<XML_Char>?,
    _ notation: UnsafePointer<XML_Char>?
) {
    withReader(context) { $0.stop() }
}
