import FileIO
import Journal

/// INTENT: a version of a block is about to be sent to the store. Durable before it is sent, so that
/// whatever the store shows later is known as ours, or as somebody else's (I8, I22).
/// 24 baseKind u8, 25 zero, 32 base 24 bytes, 56 SHA-256 of the content, 88 bodyMD5 = 0.
public struct IntentRecord: Sendable, Equatable {
    static let deleteFlag: UInt8 = 1
    static let carriedFlag: UInt8 = 8

    public var slot: UInt32
    public var block: UInt64
    /// The content sent is that of this user write.
    public var asOf: LSN
    /// What the upload replaces; becomes the entry's base unless CARRIED.
    public var base: Base
    /// Of the plain block, 32 bytes; zeros for a deletion.
    public var digest: [UInt8]
    /// DELETE: the block is all zeros, so that its object is removed.
    public var isDelete: Bool
    /// CARRIED: logged again to let the tail move; touches no entry.
    public var isCarried: Bool

    public init(
        slot: UInt32, block: UInt64, asOf: LSN, base: Base, digest: [UInt8]?,
        isCarried: Bool = false
    ) {
        precondition(digest.map { $0.count == 32 } ?? true)
        self.slot = slot
        self.block = block
        self.asOf = asOf
        self.base = base
        self.digest = digest ?? [UInt8](repeating: 0, count: 32)
        isDelete = digest == nil
        self.isCarried = isCarried
    }

    static let bodyBytes = 80

    func encode() -> RawRecord {
        var body = ByteWriter()
        body.put(UInt64(base.kind.rawValue))
        body.put(base.bytes)
        body.put(digest)
        body.put([UInt8](repeating: 0, count: 16))
        let flags = (isDelete ? Self.deleteFlag : 0) | (isCarried ? Self.carriedFlag : 0)
        return RawRecord(
            type: Record.TypeCode.intent.rawValue, flags: flags, slot: slot, block: block,
            aux: asOf, body: body.padded)
    }

    init?(_ raw: RawRecord, _ body: UnsafeRawBufferPointer) {
        guard raw.flags & ~(Self.deleteFlag | Self.carriedFlag) == 0, raw.aux != 0,
            body.count == Self.bodyBytes, body[64...].allSatisfy({ $0 == 0 }),
            let base = Record.readBase(body, kindAt: 0, kindBytes: 8, at: 8)
        else { return nil }
        let isDelete = raw.flags & Self.deleteFlag != 0
        let digest = body.copy(32, 32)
        guard !isDelete || digest.allSatisfy({ $0 == 0 }) else { return nil }
        self.init(
            slot: raw.slot, block: raw.block, asOf: raw.aux, base: base,
            digest: isDelete ? nil : digest, isCarried: raw.flags & Self.carriedFlag != 0)
    }
}

/// An upload that was announced and of which nobody knows yet how it ended.
public struct Intent: Sendable {
    public let record: IntentRecord
    /// LSN of the record, or of the one that carried it.
    public let lsn: LSN
    /// Ring position of the group that holds it.
    public let position: UInt64

    /// The record that logs it again.
    package func carried(in slot: Int) -> IntentRecord {
        var carried = record
        carried.slot = UInt32(slot)
        carried.isCarried = true
        return carried
    }
}

extension CacheState {
    /// Most intents of one block; each stands for an upload that may still arrive.
    public static var intentsPerBlock: Int { 4 }

    /// Announced uploads of a block, oldest first.
    public func intents(of block: UInt64) -> [Intent] { intents[block] ?? [] }

    /// Blocks with announced uploads.
    public var intentBlocks: Int { intents.count }

    /// Intents whose groups begin before `position`: to be carried before the tail can pass them.
    public func intents(before position: UInt64) -> [Intent] {
        intents.values.flatMap { $0.filter { $0.position < position } }.sorted { $0.lsn < $1.lsn }
    }

    public var oldestIntentPosition: UInt64? {
        intents.values.lazy.flatMap { $0 }.map(\.position).min()
    }

    func putIntent(_ record: IntentRecord, lsn: LSN, position: UInt64) {
        var items = intents[record.block] ?? []
        items.removeAll { $0.record.asOf == record.asOf }
        items.append(Intent(record: record, lsn: lsn, position: position))
        items.sort { $0.record.asOf < $1.record.asOf }
        if items.count > Self.intentsPerBlock { items.removeFirst() }
        intents[record.block] = items
    }

    func removeIntents(_ block: UInt64, upTo asOf: LSN = .max) {
        guard var items = intents[block] else { return }
        items.removeAll { $0.record.asOf <= asOf }
        intents[block] = items.isEmpty ? nil : items
    }
}
