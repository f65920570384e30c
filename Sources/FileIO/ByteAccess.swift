/// Little-endian fields at byte offsets: how every on-disk structure is read and written.
extension UnsafeRawBufferPointer {
    @inlinable @inline(__always)
    public func field<Value: FixedWidthInteger>(_ offset: Int, _: Value.Type = Value.self) -> Value
    {
        precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count)
        return Value(littleEndian: loadUnaligned(fromByteOffset: offset, as: Value.self))
    }

    /// Whether every byte is zero; eight at a time.
    public var isAllZero: Bool {
        let words = count / 8
        for index in 0..<words where loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) != 0
        {
            return false
        }
        return self[(words * 8)...].allSatisfy { $0 == 0 }
    }

    /// `count` bytes from `offset`, copied.
    public func copy(_ offset: Int, _ count: Int) -> [UInt8] {
        precondition(offset >= 0 && count >= 0 && offset + count <= self.count)
        return [UInt8](UnsafeRawBufferPointer(rebasing: self[offset..<offset + count]))
    }
}

extension UnsafeMutableRawBufferPointer {
    @inlinable @inline(__always)
    public func field<Value: FixedWidthInteger>(_ offset: Int, _: Value.Type = Value.self) -> Value
    {
        UnsafeRawBufferPointer(self).field(offset)
    }

    @inlinable @inline(__always)
    public func setField<Value: FixedWidthInteger>(_ offset: Int, _ value: Value) {
        precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count)
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
    }

    public func setBytes(_ offset: Int, _ bytes: some Collection<UInt8>) {
        precondition(offset >= 0 && offset + bytes.count <= count)
        UnsafeMutableRawBufferPointer(rebasing: self[offset..<offset + bytes.count])
            .copyBytes(from: bytes)
    }
}
