import BlockStore
import FileIO
import Glibc

/// A directory that takes blocks as `s3backer --test` lays them out, and a manifest.
final class SalvageDirectory {
    private let store: DirectoryStore
    let manifest: NewFile

    /// Makes the directory, or takes an empty one.
    init(_ path: String, blockSize: Int) throws(Failure) {
        if mkdir(path, 0o700) != 0 {
            guard errno == EEXIST else {
                throw Failure(writing: PosixFile.sysError("cannot create \(path)"))
            }
            try Self.expectEmpty(path)
        }
        do throws(StoreError) {
            store = try DirectoryStore(directory: path, blockSize: blockSize)
        } catch {
            throw Self.failure(error)
        }
        do throws(FileError) {
            manifest = try NewFile(path + "/manifest.json")
        } catch {
            throw Failure(writing: error)
        }
        Cancellation.beginSalvage()
    }

    private static func expectEmpty(_ path: String) throws(Failure) {
        guard let stream = opendir(path) else {
            throw Failure(writing: PosixFile.sysError("cannot open \(path)"))
        }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name == "." || name == ".." { continue }
            throw Failure(
                kind: "output", message: "\(Text.safe(path)) is not empty",
                remedy: "name a directory that is empty or does not exist")
        }
    }

    func put(_ block: UInt64, _ bytes: UnsafeRawBufferPointer) throws(Failure) {
        do throws(StoreError) { _ = try store.put(block, bytes, replacing: nil) } catch {
            throw Self.failure(error)
        }
    }

    private static func failure(_ error: StoreError) -> Failure {
        Failure(
            kind: "output", message: Text.safe(error.message),
            remedy: "what is in the directory is incomplete; begin anew in an empty one")
    }
}
