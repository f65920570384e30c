import CacheFile
import FileIO
import Foundation
import Simulation
import TestSupport
import Testing

@Suite("Creation")
struct CreationTests {
    @Test("a new file is sound, empty and clean, and all its space is reserved")
    func fresh() throws {
        let directory = TemporaryDirectory()
        let path = directory.file("c")
        try CacheFiles.create(
            path, identity: SmallWorld.identity, slots: 16, info: SmallWorld.info(),
            ringBytes: 96 << 10)
        let inspection = try CacheFiles.inspect(path)
        #expect(inspection.findings.isEmpty)
        #expect(inspection.dirtyBlocks == 0 && inspection.cleanBlocks == 0)
        #expect(!inspection.needsReplay)
        var info = stat()
        #expect(stat(path, &info) == 0)
        #expect(Int(info.st_size) == inspection.geometry.fileSize)
        #expect(Int(info.st_blocks) * 512 >= inspection.geometry.fileSize)
        #expect(info.st_mode & 0o777 == 0o600)
        let again = refusal { () throws(CacheFileError) in
            try CacheFiles.create(
                path, identity: SmallWorld.identity, slots: 16, info: SmallWorld.info())
        }
        #expect(again?.kind == .exists)
    }

    @Test("a file is refused where it does not belong")
    func binding() throws {
        let file = try SmallWorld.make()
        func kind(_ change: (inout VolumeIdentity) -> Void) -> CacheFileError.Kind? {
            var identity = SmallWorld.identity
            change(&identity)
            return refusal { () throws(CacheFileError) in
                _ = try SessionStart.open(
                    MemoryFile(file.bytes), identity: identity, info: SmallWorld.info())
            }?.kind
        }
        #expect(kind { _ in } == nil)
        #expect(kind { $0.binding[3] ^= 1 } == .otherVolume)
        #expect(kind { $0.blockSize = 4096 } == .otherBlockSize)
        #expect(kind { $0.volumeBlocks += 1 } == .otherSize)
        #expect(kind { $0.volumeUUID[0] = 1 } == nil)
    }

    @Test("a file of the same volume, smaller then, comes along; one of a larger volume does not")
    func grown() throws {
        var identity = SmallWorld.identity
        identity.volumeUUID[0] = 1
        let file = MemoryFile([])
        try Creation.format(
            file, geometry: SmallWorld.request().layOut(), identity: identity,
            info: SmallWorld.info(), fileUUID: SmallWorld.fileUUID)
        let session = try TestSession(file)
        try session.map(5, version: 1)
        try session.commit()
        let before = try SessionStart.open(file, identity: identity, info: SmallWorld.info())
        #expect(before.dirtyBlocks == 1 && before.geometry.volumeBlocks == 32)
        identity.volumeBlocks = 5000
        for _ in 0..<2 {
            let cache = try SessionStart.open(file, identity: identity, info: SmallWorld.info())
            #expect(cache.dirtyBlocks == 1 && cache.state.slot(of: 5) != nil)
            #expect(cache.geometry.volumeBlocks == 5000 && cache.state.slot(of: 4999) == nil)
        }
        identity.volumeBlocks = 4999
        let kind = refusal { () throws(CacheFileError) in
            _ = try SessionStart.open(file, identity: identity, info: SmallWorld.info())
        }?.kind
        #expect(kind == .otherSize)
    }

    @Test(
        "any write, flush or reservation that fails makes creation fail",
        arguments: [CallKind.write, .flush, .reserve])
    func failures(kind: CallKind) throws {
        let probe = SimDisk(size: 0)
        try SmallWorld.format(probe)
        #expect(probe.violations.isEmpty)
        let calls = probe.callCount(kind)
        #expect(calls > 0)
        for call in 1...calls {
            for error in [FileError.Kind.noSpace, .io] {
                let disk = SimDisk(size: 0)
                disk.inject(.fail(error), onNth: call, kind)
                let thrown = refusal { () throws(CacheFileError) in
                    try Creation.format(
                        disk, geometry: SmallWorld.request().layOut(),
                        identity: SmallWorld.identity, info: SmallWorld.info())
                }
                #expect(thrown?.kind == (error == .noSpace ? .noSpace : .io), "call \(call)")
            }
        }
    }

    @Test("creation cut short at any step leaves no file that opens, but for the last ones")
    func crashes() throws {
        let probe = SimDisk(size: 0)
        try SmallWorld.format(probe)
        let steps = probe.writeSideCallCount
        var opened = 0
        for step in 1...steps {
            let disk = SimDisk(size: 0)
            disk.crashAfter(step)
            #expect(throws: CacheFileError.self) { try SmallWorld.format(disk) }
            var random = SeededRandom(seed: UInt64(step))
            let image = disk.afterPowerCut(.perSector, &random)
            guard let inspection = try? CacheFiles.inspect(image) else { continue }
            opened += 1
            #expect(inspection.dirtyBlocks == 0 && inspection.cleanBlocks == 0)
        }
        #expect(opened <= 6)
    }

    /// A small file system of its own; nil where this process may not mount one.
    static func mount(_ directory: TemporaryDirectory, ext4: Bool) -> String? {
        func run(_ arguments: [String]) -> Bool {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = arguments
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            guard (try? process.run()) != nil else { return false }
            process.waitUntilExit()
            return process.terminationStatus == 0
        }
        let target = directory.file("mnt")
        mkdir(target, 0o755)
        if !ext4 {
            return run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", target]) ? target : nil
        }
        let image = directory.file("image")
        guard run(["truncate", "-s", "4m", image]), run(["mkfs.ext4", "-q", "-F", image]),
            run(["mount", "-o", "loop", image, target])
        else { return nil }
        return target
    }

    @Test(
        "a full file system: an error with the bytes needed, and nothing left behind",
        .enabled(if: geteuid() == 0, "mounting needs root"), arguments: [false, true])
    func fullFileSystem(ext4: Bool) throws {
        let directory = TemporaryDirectory()
        guard let target = Self.mount(directory, ext4: ext4) else {
            // Loop devices or mounts are not to be had here.
            return
        }
        defer { umount2(target, 2) }
        var info = statvfs()
        #expect(statvfs(target, &info) == 0)
        let free = Int(info.f_bavail * info.f_frsize)
        let error = refusal { () throws(CacheFileError) in
            try CacheFiles.create(
                target + "/c", identity: SmallWorld.identity, slots: 1000, info: SmallWorld.info(),
                ringBytes: 96 << 10)
        }
        #expect(error?.kind == .noSpace)
        #expect(error?.message.contains("needs ") == true)
        #expect(
            error?.message.hasSuffix("and \(free) are free") == true,
            "\(error?.message ?? "")")
        let names = try FileManager.default.contentsOfDirectory(atPath: target)
        #expect(names.filter { $0 != "lost+found" }.isEmpty)
        #expect(statvfs(target, &info) == 0)
        #expect(Int(info.f_bavail * info.f_frsize) == free)
    }
}
