import FileIO
import Glibc
import Synchronization

/// A file whose nth write, write-back or flush from now on fails, once, without having done anything.
final class FaultyFile: FileIO {
    enum Operation: Sendable { case write, writeBack, flush, reserve }

    private struct Plan {
        var operation: Operation
        var left: Int
        var error: FileError
    }

    private let inner: any FileIO
    private let plan = Locked<Plan?>(nil)
    let hasFailed = Atomic<Bool>(false)

    init(_ inner: any FileIO) { self.inner = inner }

    func fail(_ operation: Operation, number: Int, errno: Int32) {
        let kind: FileError.Kind = errno == ENOSPC ? .noSpace : .io
        plan.withLock {
            $0 = Plan(
                operation: operation, left: number,
                error: FileError(kind, "injected failure", errno: errno))
        }
    }

    private func check(_ operation: Operation) throws(FileError) {
        let error = plan.withLock { plan -> FileError? in
            guard plan?.operation == operation else { return nil }
            plan?.left -= 1
            guard let due = plan, due.left <= 0 else { return nil }
            plan = nil
            return due.error
        }
        if let error {
            hasFailed.store(true, ordering: .relaxed)
            throw error
        }
    }

    func read(
        into target: UnsafeMutableRawBufferPointer, at offset: Int, _ path: IOPath
    ) throws(FileError) {
        try inner.read(into: target, at: offset, path)
    }

    func write(
        _ pieces: [UnsafeRawBufferPointer], at offset: Int, _ path: IOPath
    ) throws(FileError) {
        try check(.write)
        try inner.write(pieces, at: offset, path)
    }

    func writeBack(_ length: Int, at offset: Int) throws(FileError) {
        try check(.writeBack)
        try inner.writeBack(length, at: offset)
    }

    func flush() throws(FileError) {
        try check(.flush)
        try inner.flush()
    }

    func flushAll() throws(FileError) { try inner.flushAll() }

    func reserve(_ length: Int, at offset: Int) throws(FileError) {
        try check(.reserve)
        try inner.reserve(length, at: offset)
    }

    func truncate(to size: Int) throws(FileError) { try inner.truncate(to: size) }

    func size() throws(FileError) -> Int { try inner.size() }
}
