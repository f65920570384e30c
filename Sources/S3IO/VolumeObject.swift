import BlockStore
import FileIO
import FoundationEssentials

/// The identity of a volume: a JSON object named `s3backer-volume` after the prefix.
///
/// The real s3backer ignores it. It tells two volumes apart that had the same name one after the
/// other, and keeps the sizes where block 0 is zeros and so no object.
public struct VolumeObject: Equatable, Sendable {
    /// 16 bytes, version 4.
    public var uuid: [UInt8]
    public var blockSize: Int
    /// In bytes.
    public var size: UInt64
    /// Names of blocks have a hash; a program that does not know of that would find no block.
    public var isHashed = false

    public static let name = "s3backer-volume"
    /// A longer object is none of ours.
    public static let bytesMax = 64 << 10
    private static let format = "s3backer-volume-1"
    /// What a program has to know to use the volume.
    private static let hashFeature = "blockHashPrefix"

    /// Why bytes are no identity; the end of a sentence that begins with their name.
    public struct Invalid: Error, Equatable { public let message: String }

    /// A new volume.
    public init(blockSize: Int, size: UInt64, isHashed: Bool = false) {
        var uuid = SystemRandom.bytes(16)
        uuid[6] = uuid[6] & 0x0f | 0x40
        uuid[8] = uuid[8] & 0x3f | 0x80
        self.uuid = uuid
        self.blockSize = blockSize
        self.size = size
        self.isHashed = isHashed
    }

    private struct Document: Codable {
        var format: String
        var uuid: String
        var blockSize: Int
        var size: UInt64
        var features: [String]?
    }

    /// - Throws: For anything that is not the identity of a volume this program can use.
    public init(_ bytes: [UInt8]) throws(Invalid) {
        guard bytes.count <= Self.bytesMax,
            let document = try? JSONDecoder().decode(Document.self, from: Data(bytes))
        else { throw Invalid(message: "is not the identity of a volume") }
        guard document.format == Self.format else {
            throw Invalid(message: "has the format \(document.format); use a newer s3backer")
        }
        guard let uuid = Self.uuidBytes(document.uuid), document.blockSize > 0,
            document.size > 0, document.size % UInt64(document.blockSize) == 0
        else { throw Invalid(message: "contradicts itself") }
        let features = document.features ?? []
        if let unknown = features.first(where: { $0 != Self.hashFeature }) {
            throw Invalid(message: "needs the feature \(unknown); use a newer s3backer")
        }
        self.uuid = uuid
        isHashed = !features.isEmpty
        blockSize = document.blockSize
        size = document.size
    }

    /// The object's text.
    public func encoded() -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        let document = Document(
            format: Self.format, uuid: uuidText, blockSize: blockSize, size: size,
            features: isHashed ? [Self.hashFeature] : [])
        // Strings and numbers that JSON can hold: nothing that could fail.
        guard let data = try? encoder.encode(document) else { return [] }
        return Array(data) + [0x0a]
    }

    /// Whether their blocks are the same objects.
    public func hasSameLayout(as other: VolumeObject) -> Bool {
        blockSize == other.blockSize && size == other.size && isHashed == other.isHashed
    }

    public var uuidText: String { Self.text(uuid) }

    static func text(_ uuid: [UInt8]) -> String {
        let digits = Array(Digest.hex(uuid))
        let bounds = [0, 8, 12, 16, 20, 32]
        return zip(bounds, bounds.dropFirst()).map { String(digits[$0..<$1]) }
            .joined(separator: "-")
    }

    private static func uuidBytes(_ text: String) -> [UInt8]? {
        let digits = text.filter { $0 != "-" }.map(\.hexDigitValue)
        let values = digits.compactMap { $0 }
        guard digits.count == 32, values.count == 32 else { return nil }
        return stride(from: 0, to: 32, by: 2).map { UInt8(values[$0] << 4 | values[$0 + 1]) }
    }
}
