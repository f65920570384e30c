import COpenSSL

/// Bytes that nobody else should see: never printed, wiped when the last owner lets go.
///
/// `@unchecked Sendable`: written once, before it is shared.
public final class SecretBytes: @unchecked Sendable, Equatable {
    public private(set) var count: Int
    /// Behind `count` there are zeros up to `capacityMin`.
    private let memory: UnsafeMutableRawBufferPointer

    /// The longest key or initialisation vector that a cipher may read.
    static let capacityMin = 64

    /// - Parameter fill: Writes the bytes into `countMax` zeros, and says how many there are.
    public init(countMax: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Int) {
        memory = .allocate(byteCount: max(countMax, Self.capacityMin), alignment: 16)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        count = 0
        count = fill(UnsafeMutableRawBufferPointer(rebasing: memory[..<countMax]))
        precondition(count <= countMax)
    }

    public convenience init(_ text: String) {
        var bytes = Array(text.utf8)
        self.init(countMax: bytes.count) {
            $0.copyBytes(from: bytes)
            return $0.count
        }
        bytes.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) }
    }

    deinit {
        wipe()
        memory.deallocate()
    }

    package func wipe() { OPENSSL_cleanse(memory.baseAddress, memory.count) }

    package func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        body(UnsafeRawBufferPointer(rebasing: memory[..<count]))
    }

    /// The bytes with zeros behind them, for as long as the object lives.
    var start: UnsafePointer<UInt8>? {
        UnsafePointer(memory.baseAddress?.assumingMemoryBound(to: UInt8.self))
    }

    public static func == (one: SecretBytes, other: SecretBytes) -> Bool {
        one.count == other.count
            && CRYPTO_memcmp(one.memory.baseAddress, other.memory.baseAddress, one.count) == 0
    }
}
