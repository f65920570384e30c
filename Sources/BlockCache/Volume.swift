import FileIO

/// A disk: bytes at offsets. Requests come from any thread, are answered exactly once, from any
/// thread, perhaps before the call returns, and never block on the store.
public protocol Volume: AnyObject, Sendable {
    /// Reads bytes that lie within the disk.
    func read(
        at offset: UInt64, count: Int,
        reply: @escaping @Sendable (Result<ReadReply, VolumeError>) -> Void)

    /// Writes bytes, which are copied before this returns.
    func write(
        at offset: UInt64, from source: UnsafeRawBufferPointer,
        reply: @escaping @Sendable (VolumeError?) -> Void)

    /// Makes bytes zeros.
    func trim(at offset: UInt64, count: UInt64, reply: @escaping @Sendable (VolumeError?) -> Void)

    /// Answered when everything acknowledged before is as durable as the volume promises.
    func sync(reply: @escaping @Sendable (VolumeError?) -> Void)

    var statistics: VolumeStatistics { get }
}

extension VolumeCache: Volume {}
