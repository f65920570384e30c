// Reading parts of blocks, and on conditions.

import BlockStore
import FileIO

extension S3Store {
    public func read(
        _ block: UInt64, _ range: Range<Int>, into target: UnsafeMutableRawBufferPointer,
        _ condition: ReadCondition
    ) throws(StoreError) -> ReadAnswer {
        precondition(range.count == target.count && range.lowerBound >= 0)
        precondition(range.upperBound <= blockSize && !range.isEmpty)
        let answer: ReadAnswer?
        if range.count == blockSize {
            answer = try readWhole(block, into: target, condition)
        } else if habits.ignoresRanges.load(ordering: .relaxed)
            || expectsEncoded.load(ordering: .relaxed)
        {
            answer = nil
        } else {
            answer = try readPart(block, range, into: target, condition)
        }
        if let answer { return answer }
        // All of it, then, and what is wanted of that.
        let buffer = AlignedBuffer(blockSize)
        let whole = try readWhole(block, into: buffer.mutableBytes, condition)
        if case .content(.tag) = whole {
            target.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer.bytes[range]))
        }
        return whole
    }

    private func readWhole(
        _ block: UInt64, into target: UnsafeMutableRawBufferPointer, _ condition: ReadCondition
    ) throws(StoreError) -> ReadAnswer {
        let version = try getWhole(block, into: target, Self.headers(condition))
        return try judge(version, condition, block)
    }

    /// - Returns: nil when only the whole block can be had.
    private func readPart(
        _ block: UInt64, _ range: Range<Int>, into target: UnsafeMutableRawBufferPointer,
        _ condition: ReadCondition
    ) throws(StoreError) -> ReadAnswer? {
        var request = request(.get, block)
        request.target = target
        request.headers = Self.headers(condition)
        request.acceptsNotModified = true
        request.headers.append(("range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)"))
        guard let response = try perform(request, block).found else {
            return try judge(.absent, condition, block)
        }
        if response.status == Self.unchanged { return try judge(nil, condition, block) }
        // Of what is encoded a part says nothing.
        if isEncoded(response) { return nil }
        // Some servers say 200 although they send the part.
        guard let text = response.headers["content-range"] else {
            habits.ignoresRanges.store(true, ordering: .relaxed)
            return nil
        }
        guard let part = ContentRange(text), part.range == range,
            part.total == nil || part.total == blockSize, response.bodyCount == range.count
        else {
            throw damaged(
                block,
                "is sent as \(response.bodyCount) bytes of \"\(text)\" "
                    + "instead of \(range.lowerBound)-\(range.upperBound - 1) of \(blockSize)")
        }
        return try judge(try version(response, block), condition, block)
    }

    /// Servers that do not know the condition send what they have.
    private func judge(
        _ version: ObjectVersion?, _ condition: ReadCondition, _ block: UInt64
    ) throws(StoreError) -> ReadAnswer {
        guard let version else { return .unchanged }
        switch condition {
        case .always: return .content(version)
        case .expecting(let expected):
            if version != expected { throw conflict(block) }
            return .content(version)
        case .unlessKnown(let known): return version == known ? .unchanged : .content(version)
        }
    }

    private static func headers(_ condition: ReadCondition) -> [(name: String, value: String)] {
        switch condition {
        case .expecting(.tag(let tag)): [("if-match", "\"\(tag)\"")]
        case .unlessKnown(.tag(let tag)): [("if-none-match", "\"\(tag)\"")]
        default: []
        }
    }
}

/// `bytes FIRST-LAST/TOTAL`, where the total may be unknown.
package struct ContentRange: Equatable {
    package let range: Range<Int>
    package let total: Int?

    package init?(_ text: String) {
        let words = text.split(separator: " ")
        guard words.count == 2, words[0].lowercased() == "bytes" else { return nil }
        let parts = words[1].split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        let bounds = parts[0].split(separator: "-", omittingEmptySubsequences: false)
        guard bounds.count == 2, let first = Int(bounds[0]), let last = Int(bounds[1]),
            first >= 0, last >= first, last < Int.max
        else { return nil }
        if parts[1] == "*" {
            total = nil
        } else {
            guard let count = Int(parts[1]), count > last else { return nil }
            total = count
        }
        range = first..<last + 1
    }
}
