import FileIO
import Glibc
import Synchronization

public struct CacheFileError: Error, Sendable, CustomStringConvertible {
    public enum Kind: Sendable {
        case missing, exists, denied, locked, noSpace, shortFile, io
        case garbage, foreign, otherVolume, otherBlockSize, otherSize, unsupported, needsCheck
    }
    public let kind: Kind
    public let message: String
    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }
    public var description: String { message }
}

public struct VolumeIdentity: Sendable {
    public var binding: [UInt8]
    public var volumeUUID: [UInt8]
    public var blockSize: Int
    public var volumeBlocks: UInt64
    public init(binding: [UInt8], volumeUUID: [UInt8], blockSize: Int, volumeBlocks: UInt64) {
        self.binding = binding
        self.volumeUUID = volumeUUID
        self.blockSize = blockSize
        self.volumeBlocks = volumeBlocks
    }
}

public struct SessionInfo: Sendable {
    public var creator: String
    public var mounter: String
    public var host: String
    public var bootID: [UInt8]
    public var mountedAt: UInt64
    public init(creator: String, mounter: String, host: String, bootID: [UInt8], mountedAt: UInt64) {
        self.creator = creator
        self.mounter = mounter
        self.host = host
        self.bootID = bootID
        self.mountedAt = mountedAt
    }
}

public struct CacheHolder: Sendable {
    public var isServing: Bool
    public var mounter: String
    public var host: String
}

/// Stand-in: one page of text lines; enough to try locks and identity by hand.
public enum CacheFiles {
    static func convert(_ error: FileError) -> CacheFileError {
        let kind: CacheFileError.Kind
        switch error.kind {
        case .missing: kind = .missing
        case .exists: kind = .exists
        case .denied: kind = .denied
        case .locked: kind = .locked
        case .noSpace: kind = .noSpace
        case .shortFile: kind = .shortFile
        case .io: kind = .io
        }
        return CacheFileError(kind, error.message)
    }

    static func page(
        _ identity: VolumeIdentity, _ slots: Int, _ mounter: String
    ) -> [UInt8] {
        let text =
            "STUB\n\(identity.binding)\n\(identity.blockSize)\n\(identity.volumeBlocks)\n\(slots)\n"
            + "\(mounter)\n"
        var bytes = Array(text.utf8)
        bytes += [UInt8](repeating: 0, count: 4096 - bytes.count)
        return bytes
    }

    static func lines(_ file: PosixFile) throws(FileError) -> [String] {
        let buffer = AlignedBuffer(4096)
        try file.read(into: buffer.mutableBytes, at: 0, .cached)
        let text = String(decoding: buffer.bytes.prefix { $0 != 0 }, as: UTF8.self)
        return text.split(separator: "\n").map(String.init)
    }

    public static func create(
        _ path: String, identity: VolumeIdentity, slots: Int, info: SessionInfo,
        ringBytes: Int? = nil
    ) throws(CacheFileError) {
        do {
            let file = try PosixFile.create(path)
            do {
                let bytes = page(identity, slots, info.mounter)
                try file.reserve(4096 + slots * identity.blockSize, at: 0)
                let buffer = AlignedBuffer(4096)
                buffer.mutableBytes.copyBytes(from: bytes)
                try file.write(buffer.bytes, at: 0, .cached)
            } catch {
                unlink(path)
                throw error
            }
        } catch let error as FileError {
            throw convert(error)
        } catch {
            fatalError()
        }
    }

    public static func open(
        _ path: String, identity: VolumeIdentity, info: SessionInfo, log: (String) -> Void
    ) throws(CacheFileError) -> OpenedCache {
        do {
            let file = try PosixFile.open(path, readOnly: false)
            try file.lock(exclusive: true)
            if try file.size() < 4096 { throw CacheFileError(.garbage, "\(path) is too short") }
            let found = try lines(file)
            if found.first == "REAL" { throw CacheFileError(.foreign, "\(path) is foreign") }
            if found.first != "STUB" { throw CacheFileError(.garbage, "\(path) is no cache file") }
            if found[2] != "\(identity.blockSize)" {
                throw CacheFileError(.otherBlockSize, "\(path) has blocks of \(found[2]) bytes")
            }
            if found[3] != "\(identity.volumeBlocks)" {
                throw CacheFileError(
                    .otherSize, "\(path) was made with --size=\(Int(found[3])! * identity.blockSize)")
            }
            if found[1] != "\(identity.binding)" {
                throw CacheFileError(.otherVolume, "\(path) belongs to another volume")
            }
            let slots = Int(found[4])!
            let buffer = AlignedBuffer(4096)
            buffer.mutableBytes.copyBytes(from: page(identity, slots, info.mounter))
            try file.write(buffer.bytes, at: 0, .cached)
            return OpenedCache(file: file, slots: slots, identity: identity)
        } catch let error as FileError {
            throw convert(error)
        } catch let error as CacheFileError {
            throw error
        } catch {
            fatalError()
        }
    }

    public static func openInMemory(
        identity: VolumeIdentity, slots: Int, info: SessionInfo
    ) throws(CacheFileError) -> OpenedCache {
        do {
            return OpenedCache(
                file: try PosixFile.inMemory("cache"), slots: slots, identity: identity)
        } catch {
            throw convert(error)
        }
    }

    public static func holder(_ path: String) -> CacheHolder {
        guard let file = try? PosixFile.open(path, readOnly: false), let found = try? lines(file),
            found.count > 5
        else { return CacheHolder(isServing: false, mounter: "", host: "") }
        return CacheHolder(isServing: file.isServedElsewhere(), mounter: found[5], host: "")
    }
}

public final class OpenedCache: @unchecked Sendable {
    public let file: PosixFile
    public let identity: VolumeIdentity
    public var slotCount: Int
    public var dirtyBlocks = 0
    public var cleanBlocks = 0
    public var recoverySummary: String?
    public var warnings: [String] = []
    init(file: PosixFile, slots: Int, identity: VolumeIdentity) {
        self.file = file
        self.identity = identity
        slotCount = slots
    }
    public func setServing(_ serving: Bool) { file.setServing(serving) }
}
