import FileIO
import Foundation
import Simulation
import Synchronization
import TestSupport
import Testing

/// A file of which some pages cannot be read, and that counts who reads it.
private final class FlawedFile: FileIO {
    let file: PosixFile
    let badPages: Set<Int>
    private let owner = pthread_self()
    let readsByOthers = Atomic<Int>(0)

    init(_ file: PosixFile, badPages: Set<Int> = []) {
        self.file = file
        self.badPages = badPages
    }

    func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        if pthread_equal(owner, pthread_self()) == 0 { readsByOthers.add(1, ordering: .relaxed) }
        if badPages.contains(where: {
            $0 * 4096 + 4096 > offset && $0 * 4096 < offset + target.count
        }) {
            throw FileError(.io, "unreadable")
        }
        try file.read(into: target, at: offset, path)
    }

    func write(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath
    ) throws(FileError) { try file.write(pieces, at: offset, path) }
    func flush() throws(FileError) { try file.flush() }
    func flushAll() throws(FileError) { try file.flushAll() }
    func reserve(_ length: Int, at offset: Int) throws(FileError) {
        try file.reserve(length, at: offset)
    }
    func truncate(to size: Int) throws(FileError) { try file.truncate(to: size) }
    func size() throws(FileError) -> Int { try file.size() }
}

@Suite("Reading in windows, ahead")
struct WindowedReaderTests {
    static let size = 24 << 20
    let directory = TemporaryDirectory()
    let content: AlignedBuffer
    let file: PosixFile

    init() throws {
        var random = SeededRandom(seed: 11)
        content = AlignedBuffer(Self.size)
        random.fill(content.mutableBytes)
        file = try PosixFile.create(directory.file("f"))
        try file.reserve(Self.size, at: 0)
        try file.write(content.bytes, at: 0, .cached)
        try file.flush()
    }

    private func isRight(_ reader: WindowedReader, _ range: Range<Int>) throws -> Bool {
        let buffer = AlignedBuffer(range.count)
        try reader.read(into: buffer.mutableBytes, at: range.lowerBound)
        return buffer.bytes.elementsEqual(content.slice(range))
    }

    @Test("two streams in order are read ahead by another thread, each byte as it is in the file")
    func streams() throws {
        let flawed = FlawedFile(file)
        let reader = try WindowedReader(flawed)
        var random = SeededRandom(seed: 12)
        var places = [0, Self.size / 2]
        while places[0] < Self.size / 2 {
            for stream in 0..<2 {
                let end = Self.size / 2 * (stream + 1)
                let count = min(1 + random.below(300_000), end - places[stream])
                #expect(try isRight(reader, places[stream]..<places[stream] + count))
                places[stream] += count
            }
        }
        #expect(flawed.readsByOthers.load(ordering: .relaxed) >= 8)
    }

    @Test("reads in any order see the file as it is")
    func anyOrder() throws {
        let reader = try WindowedReader(file)
        var random = SeededRandom(seed: 13)
        for _ in 0..<200 {
            let start = random.below(Self.size)
            let count = min(random.below(3 << 20), Self.size - start)
            #expect(try isRight(reader, start..<start + count))
        }
        let buffer = AlignedBuffer(4096)
        #expect(
            kind { () throws(FileError) in
                try reader.read(into: buffer.mutableBytes, at: Self.size - 100)
            } == .shortFile)
    }

    @Test("an unreadable page is an error of its own, its neighbours are read")
    func unreadable() throws {
        let bad: Set<Int> = [700, 2049, 5000]
        let reader = try WindowedReader(FlawedFile(file, badPages: bad))
        for page in 0..<Self.size / 4096 {
            let buffer = AlignedBuffer(4096)
            let error = kind { () throws(FileError) in
                try reader.read(into: buffer.mutableBytes, at: page * 4096)
            }
            #expect(error == (bad.contains(page) ? .io : nil), "page \(page)")
            if error == nil {
                #expect(buffer.bytes.elementsEqual(content.slice(page * 4096..<page * 4096 + 4096)))
            }
        }
    }
}
