import CacheFile
import FileIO
import Journal

/// A file open for writing records, without the engine.
final class BenchSession {
    let cache: OpenedCache
    private(set) var journal: Journal

    init(_ path: String, _ identity: VolumeIdentity) throws {
        cache = try CacheFiles.open(path, identity: identity, info: BenchVolume.info)
        journal = cache.makeJournal()
    }

    func append(_ record: Record) throws {
        let (lsn, group, index) = journal.append(record.encode(cache.geometry))
        try cache.state.apply(
            record, lsn: lsn, epoch: journal.epoch, group: group, dataIndex: index)
    }

    func writeGroups() throws {
        journal.closeOpen()
        while let group = journal.nextWrite() {
            try cache.file.write(group.imagePieces, at: journal.offset(of: group), .cached)
            journal.writeReturned(group)
        }
    }

    func flush() throws {
        _ = journal.beginFlush()
        try cache.file.flush()
        journal.flushReturned()
    }

    func checkpoint() throws {
        try writeGroups()
        let tail = journal.nextPoint
        let plan = cache.checkpointer.begin(
            cache.state, lsn: journal.assigned, tail: tail, epoch: journal.epoch)
        try write(plan.writes)
        let sb = cache.checkpointer.superblock(for: plan, cleanEnd: journal.nextPoint)
        try write(cache.checkpointer.writes(sb))
        cache.checkpointer.finish(plan, sb, cache.state)
        journal.superblockDurable(vouchingFor: plan.lsn)
        journal.setLimit(tail.position)
    }

    private func write(_ writes: [PlacedWrite]) throws {
        for write in writes { try cache.file.write(write.buffer.bytes, at: write.offset, .cached) }
        try flush()
    }
}
