import FileIO
import Journal

/// Makes the contents of a new cache file.
public enum Creation {
    /// Reserves all space, writes the ring, the tables and at last the superblocks.
    ///
    /// The ring is written, not just reserved: the first sync into reserved space would commit the
    /// file system's own journal each time. Blocks: about a second per GiB of ring.
    ///
    /// - Parameter file: new and empty; the caller removes it when this throws.
    public static func format(
        _ file: any FileIO, geometry: Geometry, identity: VolumeIdentity, info: SessionInfo
    ) throws(CacheFileError) {
        try format(file, geometry: geometry, identity: identity, info: info, fileUUID: newUUID())
    }

    /// A random one, version 4.
    package static func newUUID() -> [UInt8] {
        var uuid = SystemRandom.bytes(16)
        uuid[6] = uuid[6] & 0x0f | 0x40
        uuid[8] = uuid[8] & 0x3f | 0x80
        return uuid
    }

    /// The same with a given UUID, so that a simulation is the same each time.
    package static func format(
        _ file: any FileIO, geometry: Geometry, identity: VolumeIdentity, info: SessionInfo,
        fileUUID: [UInt8]
    ) throws(CacheFileError) {
        try reserve(file, geometry)
        let seeds = SeedSpace(fileUUID: fileUUID)
        let zones = ZoneTable.encode(
            geometry.zones, slotsPerZone: geometry.slotsPerZone, seeds: seeds)
        let root = RootTable(pageCount: geometry.pageCount).encode(seeds: seeds)
        var sb = Superblock(
            fileUUID: fileUUID, volumeUUID: identity.volumeUUID, binding: identity.binding,
            geometry: geometry)
        sb.generation = 1
        sb.zoneCRC = zones.crc
        sb.rootCRC = root.crc
        sb.creator = info.creator
        sb.mounter = info.mounter
        sb.host = info.host
        sb.bootID = info.bootID
        sb.createdAt = info.mountedAt
        try io { () throws(FileError) in
            for copy in 0..<2 {
                try file.write(zones.bytes.bytes, at: ZoneTable.offset(copy: copy), .cached)
                try file.write(root.bytes.bytes, at: geometry.rootOffsets[copy], .cached)
            }
            try file.flushAll()
            // Both pairs, so that every copy is valid from the first day.
            for generation in [sb, sb.successor()] {
                try SuperblockSet.write(generation, to: file) { geometry.superblockOffset($0) }
                try file.flushAll()
            }
        }
    }

    /// Takes all space and writes the ring.
    static func reserve(_ file: any FileIO, _ geometry: Geometry) throws(CacheFileError) {
        try io { () throws(FileError) in
            try file.reserve(geometry.fileSize, at: 0)
            try writeRing(file, geometry)
        }
    }

    private static func writeRing(_ file: any FileIO, _ geometry: Geometry) throws(FileError) {
        let zeros = AlignedBuffer.zeroed(min(1 << 20, geometry.ringLength))
        var done = 0
        while done < geometry.ringLength {
            let count = min(zeros.count, geometry.ringLength - done)
            try file.write(zeros.slice(0..<count), at: geometry.ringOffset + done, .direct)
            done += count
        }
    }
}
