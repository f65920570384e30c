// Carries out a repair, and takes one back. At each moment a kill leaves the file as before, as
// after, or refused by a mount with an undo file that brings it back.

import FileIO
import Journal

/// States of the file, and what ends each: *before* -> (mark durable) -> *marked* -> (everything
/// durable) -> *after*. Taking it back: any of them -> *marked* -> *before*.
package enum Repairer {
    /// Carries out a plan. The undo file is complete and durable. Blocks.
    package static func apply(
        _ plan: RepairPlan, to file: any FileIO, progress: (Int) -> Void = { _ in }
    ) throws(FileError) {
        let geometry = plan.geometry
        try SuperblockSet.write(plan.interim, to: file) { geometry.superblockOffset($0) }
        try file.flush()
        if plan.sizeBefore < geometry.fileSize {
            try file.reserve(geometry.fileSize - plan.sizeBefore, at: plan.sizeBefore)
        }
        // Before the new log, which may lie where they come from.
        for (number, copy) in plan.copies.enumerated() {
            let buffer = AlignedBuffer.zeroed(copy.count)
            if let source = copy.source {
                try file.read(into: buffer.mutableBytes, at: source, .cached)
            }
            try file.write(buffer.bytes, at: copy.target, .cached)
            extendLifetime(buffer)
            progress(number + 1)
        }
        for write in plan.writes { try file.write(write.buffer.bytes, at: write.offset, .cached) }
        try file.flushAll()
        try SuperblockSet.write(plan.after, to: file) { geometry.superblockOffset($0) }
        try file.flush()
    }

    /// Puts back the bytes of before. May be run again if it was cut short. Blocks.
    ///
    /// - Throws: `.needsCheck` when the file is another one or was used since the repair.
    package static func undo(
        _ undo: any FileIO, _ file: any FileIO, progress: (Int) -> Void = { _ in }
    ) throws(CacheFileError) {
        let known = try UndoFile.read(undo)
        let current = try SuperblockSet.read(file, Refusals(goesOn: true)).current
        let mark = known.mark
        guard current.fileUUID == known.before.fileUUID else {
            throw CacheFileError(.needsCheck, "the undo file is of another cache file")
        }
        guard [known.before, known.interim, known.after, mark].contains(current) else {
            throw CacheFileError(
                .needsCheck,
                "the cache file was used since the repair: to put it back would lose that"
            )
        }
        let ring = Int(known.before.ringOffset + known.before.ringLength)
        let stride = Geometry.superblockStride
        let places = [0, stride, ring, ring + stride]
        try io { () throws(FileError) in
            try SuperblockSet.write(mark, to: file) { places[$0] }
            try file.flush()
        }
        var superblocks: [(offset: Int, bytes: [UInt8])] = []
        var done = 0
        try known.entries(undo) { offset, bytes throws(CacheFileError) in
            if places.contains(offset), bytes.count == Superblock.size {
                superblocks.append((offset, Array(bytes)))
                return
            }
            try io { () throws(FileError) in try file.write(bytes, at: offset, .cached) }
            done += bytes.count
            progress(done)
        }
        try io { () throws(FileError) in
            try file.flush()
            if try file.size() > known.sizeBefore { try file.truncate(to: known.sizeBefore) }
            try file.flushAll()
            // The pair that has the mark comes last: until then a mount refuses the file.
            let last = Set(mark.copies.map { places[$0] })
            for isLast in [false, true] {
                for item in superblocks where last.contains(item.offset) == isLast {
                    let buffer = AlignedBuffer(item.bytes.count)
                    buffer.mutableBytes.copyBytes(from: item.bytes)
                    try file.write(buffer.bytes, at: item.offset, .cached)
                    extendLifetime(buffer)
                }
                try file.flush()
            }
        }
    }
}
