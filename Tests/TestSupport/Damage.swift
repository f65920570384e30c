import CacheFile
import FileIO
import Journal

/// A file that shows one finding, for every code that a file by itself can show.
package struct Damage: Sendable, CustomStringConvertible {
    package let code: String
    package let severity: String
    /// What `check` ends with.
    package let status: Int32
    /// `check --data=all` is what shows it.
    package let needsData: Bool
    package let make: @Sendable () throws -> [UInt8]
    package var description: String { "\(code) \(severity)" }

    private init(
        _ code: String, _ severity: String, _ status: Int32, data: Bool = false,
        _ make: @escaping @Sendable () throws -> [UInt8]
    ) {
        self.code = code
        self.severity = severity
        self.status = status
        needsData = data
        self.make = make
    }

    package static let all: [Damage] =
        superblocks + directory + journal + [
            Damage("DATA_BAD_DIRTY", "error", 4, data: true) { try slotByte(of: 3) },
            Damage("DATA_BAD_CLEAN", "warning", 0, data: true) { try slotByte(of: 4) },
        ]

    // MARK: Superblocks

    private static let superblocks: [Damage] = [
        Damage("SB_COPY_BAD", "warning", 0) {
            let (file, geometry, sb) = try closed()
            file.bytes[geometry.superblockOffset(sb.copies[1]) + 200] ^= 1
            return file.bytes
        },
        Damage("SB_COPY_BAD", "error", 4) { try changed { $0.volumeBlocks = 0 } },
        Damage("SB_NONE", "error", 4) {
            let (file, geometry, _) = try closed()
            for copy in 0..<4 { file.bytes[geometry.superblockOffset(copy) + 300] ^= 1 }
            return file.bytes
        },
        Damage("SB_FORK", "error", 4) {
            let (file, geometry, sb) = try closed()
            var other = sb
            other.generation -= 1
            other.host = "elsewhere"
            try put(other, file, geometry)
            return file.bytes
        },
        Damage("SB_STALE", "error", 4) {
            let (file, geometry, _) = try closed()
            let before = file.bytes
            let session = try TestSession(file)
            try session.map(20, version: 3)
            try session.commit()
            for copy in 0..<4 {
                let at = geometry.superblockOffset(copy)
                file.bytes.replaceSubrange(at..<at + 4096, with: before[at..<at + 4096])
            }
            return file.bytes
        },
        Damage("SB_REPAIR", "error", 4) {
            try changed { $0.state = Superblock.State.needsCheck.rawValue }
        },
        Damage("VER_NEWER", "fatal", 4) { try changed { $0.formatMajor += 1 } },
        Damage("FEAT_UNKNOWN", "fatal", 4) { try changed { $0.featIncompat = 1 << 40 } },
        Damage("SIZE_SHORT", "error", 4) { Array(try closed().file.bytes.dropLast(8192)) },
    ]

    /// A clean file with dirty blocks 3 and 9, and clean block 4; two checkpoints were taken.
    private static func closed() throws -> (file: MemoryFile, geometry: Geometry, sb: Superblock) {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        try session.map(3, version: 1)
        try session.map(4, version: 1, fill: true)
        try session.map(9, granules: 0..<1, version: 1)
        try session.commit()
        try session.checkpoint()
        try session.seal()
        try session.checkpoint(clean: true)
        return (file, session.geometry, try SuperblockSet.read(file).current)
    }

    private static func changed(_ change: (inout Superblock) -> Void) throws -> [UInt8] {
        let (file, geometry, sb) = try closed()
        var other = sb
        change(&other)
        try put(other, file, geometry)
        return file.bytes
    }

    private static func put(_ sb: Superblock, _ file: MemoryFile, _ geometry: Geometry) throws {
        try SuperblockSet.write(sb, to: file) { geometry.superblockOffset($0) }
    }

    private static func slotByte(of block: UInt64) throws -> [UInt8] {
        let (file, geometry, _) = try closed()
        let state = try Recovery.run(file).state
        guard let slot = state.slot(of: block) else { preconditionFailure("block is in no slot") }
        file.bytes[geometry.slotOffset(slot) + 77] ^= 0x10
        return file.bytes
    }

    // MARK: Directory

    private static let directory: [Damage] = [
        Damage("ROOT_BAD", "error", 4) {
            let (file, geometry, _) = try closed()
            for offset in geometry.rootOffsets { file.bytes[offset + 1] ^= 1 }
            return file.bytes
        },
        Damage("ROOT_BAD", "warning", 0) {
            let (file, _, sb) = try closed()
            file.bytes[ZoneTable.offset(copy: Int(sb.zoneCopy)) + 70] ^= 1
            return file.bytes
        },
        // After a change of size the other copy of the zone table is the one of before.
        Damage("ROOT_BAD", "error", 4) {
            let file = MemoryFile(try running { try $0.grow(slots: 20) })
            let sb = try SuperblockSet.read(file).current
            file.bytes[ZoneTable.offset(copy: Int(sb.zoneCopy)) + 70] ^= 1
            return file.bytes
        },
        Damage("PAGE_BAD", "warning", 0) { try page(copies: 1) },
        Damage("PAGE_BAD", "error", 4) { try page(copies: 2) },
        Damage("ENT_RANGE", "error", 4) {
            try entry { $0.slots.setBlock($1, SmallWorld.volumeBlocks + 7) }
        },
        Damage("ENT_STATE", "error", 4) { try entry { $0.slots.setState($1, .retained) } },
        Damage("ENT_DUP_BLOCK", "error", 4) { try entry { $0.slots.setBlock($1, 4) } },
        Damage("S3_CONFLICT", "warning", 0) {
            try running { session in
                let slot = UInt32(session.state.slot(of: 3) ?? 0)
                session.append(.clean(CleanRecord(slot: slot, block: 3, .conflict)))
            }
        },
    ]

    /// Damages so many copies of the first directory page, both of which are equal.
    private static func page(copies: Int) throws -> [UInt8] {
        let (file, geometry, _) = try closed()
        let named = try Recovery.run(file).root.entries[0].copy
        for copy in [named, 1 - named].prefix(copies) {
            file.bytes[geometry.pageOffset(0, copy: copy) + 500] ^= 1
        }
        return file.bytes
    }

    /// Changes the entry of block 3, with checksums that fit.
    private static func entry(_ change: (CacheState, Int) -> Void) throws -> [UInt8] {
        try running { session in
            change(session.state, session.state.slot(of: 3) ?? 0)
            try session.checkpoint(clean: true)
        }
    }

    /// A session with dirty block 3 and clean block 4, then `body`, then the end without a word.
    private static func running(_ body: (TestSession) throws -> Void) throws -> [UInt8] {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        try session.map(3, version: 1)
        try session.map(4, version: 1, fill: true)
        try session.commit()
        try body(session)
        try session.commit()
        try session.seal()
        return file.bytes
    }

    // MARK: Journal

    private static let journal: [Damage] = [
        Damage("JRN_TORN_TAIL", "info", 0) { try cut(groups: 1, isSealed: false) },
        Damage("JRN_HOLE", "error", 4) { try cut(groups: 2, isSealed: true) },
        Damage("JRN_OLD_SESSION", "info", 0) {
            let file = MemoryFile(try cut(groups: 2, isSealed: false, wholly: true))
            _ = try TestSession(file)
            return file.bytes
        },
        Damage("INTENT_OPEN", "info", 0) {
            try running { session in
                let slot = session.state.slot(of: 3) ?? 0
                session.append(
                    .intent(
                        IntentRecord(
                            slot: UInt32(slot), block: 3, asOf: session.state.slots.dataLSN(slot),
                            base: .unknown, digest: Array(repeating: 3, count: 32))))
            }
        },
    ]

    /// Writes groups and breaks the first of them.
    private static func cut(
        groups: Int, isSealed: Bool, wholly: Bool = false
    ) throws -> [UInt8] {
        let file = try SmallWorld.make()
        let session = try TestSession(file)
        try session.map(3, version: 1)
        try session.commit()
        try session.seal()
        for number in 0..<groups {
            session.overwrite(3, granule: 0, version: 2 + number)
            if isSealed { try session.commit() } else { try session.write() }
        }
        if isSealed { try session.seal() }
        let broken = try Recovery.run(file).scan.accepted.suffix(groups + (isSealed ? 1 : 0))
        guard let header = broken.first?.header else { preconditionFailure("no group") }
        let at =
            session.geometry.ringOffset + Int(header.position) % session.geometry.ringLength
        if wholly {
            // Nothing shows that a group was to be there.
            file.bytes.replaceSubrange(at..<at + 4096, with: [UInt8](repeating: 0, count: 4096))
        } else {
            file.bytes[at + 200] ^= 1
        }
        return file.bytes
    }
}
