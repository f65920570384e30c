import BlockStore
import FileIO
import Foundation
import Logging
import S3IO
import S3TestServers
import Testing

/// Listing, bulk deletion, conditions and parts against servers of other people.
@Suite(.enabled(if: serversAreWanted, "set S3BACKER_TEST_ALL=1 to use S3 servers"))
struct ServerOperationTests {
    enum Kind: String, CaseIterable, Sendable { case moto, motoByHost, rclone }

    static let prefixes = ["", "a/b/", "a b+c&d=e%41/'(\u{e4})~!$,;@[x]<>\"/"]

    private func with(_ kind: Kind, _ body: (TestServer, S3Client) throws -> Void) throws {
        let server =
            kind == .rclone
            ? try TestServer.rclone(buckets: ["bkt"]) : try TestServer.moto(buckets: ["bkt"])
        defer { server.stop() }
        let isHost = kind == .motoByHost
        let endpoint = try S3Endpoint(
            baseURL: isHost ? "http://localhost:\(server.port)/" : server.url, bucket: "bkt",
            region: "us-east-1", isVirtualHosted: isHost)
        let credentials = Credentials(accessID: server.accessID, accessKey: server.accessKey)
        let client = S3Client(
            S3Configuration(endpoint: endpoint, credentials: credentials),
            logger: Logger(label: "test"))
        try body(server, client)
    }

    private func put(_ store: S3Store, _ block: UInt64, _ byte: UInt8) throws -> ObjectVersion {
        try [UInt8](repeating: byte, count: 512).withUnsafeBytes { try store.put(block, $0) }
    }

    private func list(_ store: S3Store, parts: Int = 1) throws -> [UInt64: ListedBlock] {
        let found = Locked<[UInt64: ListedBlock]>([:])
        try store.listAll(parts: parts) { page in
            found.withLock { found in for block in page { found[block.block] = block } }
            return true
        }
        return found.withLock { $0 }
    }

    @Test("listing and bulk deletion", arguments: Kind.allCases, [false, true])
    func many(kind: Kind, isHashed: Bool) throws {
        try with(kind) { _, client in
            for prefix in Self.prefixes {
                // Of the same bucket with another prefix and form of names.
                let other = S3Store(
                    client: client, prefix: prefix, isHashed: !isHashed, blockSize: 512,
                    blockCount: 64)
                _ = try put(other, 3, 1)
                let store = S3Store(
                    client: client, prefix: prefix, isHashed: isHashed, blockSize: 512,
                    blockCount: 64)
                var versions: [UInt64: ObjectVersion] = [:]
                for block in [0, 1, 9, 10, 31, 63] as [UInt64] {
                    versions[block] = try put(store, block, UInt8(block))
                }
                for parts in [1, 4] {
                    let found = try list(store, parts: parts)
                    #expect(found.mapValues(\.version) == versions.mapValues { $0 })
                    #expect(found.values.allSatisfy { $0.byteCount == 512 })
                }
                let results = store.delete([0, 9, 10, 12])
                for result in results { #expect(try result.get().version == .absent) }
                #expect(try list(store).keys.sorted() == [1, 31, 63])
                #expect(try list(other).keys.sorted() == [3])
            }
        }
    }

    @Test("more than a page", arguments: [Kind.moto, .rclone])
    func pages(kind: Kind) throws {
        try with(kind) { server, client in
            let count = 2300
            let store = S3Store(
                client: client, prefix: "p/", blockSize: 512, blockCount: UInt64(count))
            if kind == .rclone {
                let directory = server.directory + "/bkt/p"
                try FileManager.default.createDirectory(
                    atPath: directory, withIntermediateDirectories: true)
                for block in 0..<count {
                    let name = String(store.place(of: UInt64(block)).suffix(8))
                    _ = FileManager.default.createFile(
                        atPath: directory + "/" + name, contents: Data([1]))
                }
            } else {
                let numbers = Locked(Array(0..<UInt64(count)))
                let threads = (0..<8).map { _ in
                    let end = DispatchSemaphore(value: 0)
                    Thread.detachNewThread {
                        while let block = numbers.withLock({ $0.popLast() }) {
                            _ = try? self.put(store, block, 1)
                        }
                        end.signal()
                    }
                    return end
                }
                for end in threads { end.wait() }
            }
            #expect(try list(store).count == count)
            #expect(try list(store, parts: 4).count == count)
            #expect(store.delete(Array(0..<UInt64(count))).allSatisfy { (try? $0.get()) != nil })
            #expect(try list(store).isEmpty)
        }
    }

    @Test("conditions", arguments: Kind.allCases)
    func conditions(kind: Kind) throws {
        try with(kind) { server, client in
            let objects = BucketObjects(client: client, prefix: "p/")
            let honored = try objects.probeConditions()
            let isMoto = kind != .rclone
            #expect(honored == S3Conditions(whenPutting: isMoto, whenDeleting: isMoto))
            #expect(try objects.others().isEmpty)
            guard isMoto else { return }
            let store = S3Store(
                client: client, prefix: "p/", blockSize: 512, blockCount: 4, conditions: honored)
            let bytes = [UInt8](repeating: 3, count: 512)
            func put(_ replacing: ObjectVersion) throws -> ObjectVersion {
                try bytes.withUnsafeBytes { try store.put(1, $0, replacing: replacing).version }
            }
            func conflict(_ body: () throws -> Void) throws {
                #expect(try #require(throws: StoreError.self) { try body() }.kind == .conflict)
            }
            let first = try put(.absent)
            try conflict { _ = try put(.absent) }
            #expect(try put(first) == first)
            let foreign = try server.request("PUT", "bkt/p/00000001", body: [1, 2, 3])
            #expect(foreign.status == 200)
            try conflict { _ = try put(first) }
            try conflict { _ = try store.delete(1, replacing: first) }
            try conflict { _ = try store.delete(1, replacing: .absent) }
            #expect(try server.request("GET", "bkt/p/00000001").body == [1, 2, 3])
            #expect(try store.delete(1, replacing: store.head(1)).version == .absent)
            try conflict { _ = try put(first) }
            #expect(try store.delete(1, replacing: first).version == .absent)
            #expect(try store.head(1) == .absent)
        }
    }

    @Test("parts of blocks, and reads on conditions", arguments: Kind.allCases)
    func parts(kind: Kind) throws {
        try with(kind) { _, client in
            let store = S3Store(client: client, prefix: "p/", blockSize: 4096, blockCount: 4)
            let content = PartReadTests.content
            let version = try content.withUnsafeBytes { try store.put(3, $0) }
            for range in [0..<1, 0..<512, 100..<612, 4095..<4096, 0..<4096] {
                let read = try PartReadTests.read(store, range)
                #expect(read.answer == .content(version))
                #expect(read.bytes == Array(content[range]), "\(range)")
                let same = try PartReadTests.read(store, range, .expecting(version))
                #expect(same.bytes == Array(content[range]))
                let known = try PartReadTests.read(store, range, .unlessKnown(version))
                #expect(known.answer == .unchanged)
                let other = try PartReadTests.read(store, range, .unlessKnown(.tag("x")))
                #expect(other.answer == .content(version) && other.bytes == Array(content[range]))
                let error = try #require(throws: StoreError.self) {
                    try PartReadTests.read(store, range, .expecting(.tag("x")))
                }
                #expect(error.kind == .conflict)
            }
        }
    }
}
