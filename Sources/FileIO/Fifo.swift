/// A queue over an array, with cheap removal at the front.
///
/// Small enough to own; swift-collections would be a dependency of the engine for this one type.
///
/// Inlinable: a generic that other modules do not see through costs them a look-up a call.
@frozen
public struct Fifo<Element> {
    @usableFromInline var storage: [Element?] = []
    @usableFromInline var head = 0

    @inlinable public init() {}

    @inlinable public var isEmpty: Bool { head == storage.count }
    @inlinable public var count: Int { storage.count - head }
    @inlinable public var first: Element? { isEmpty ? nil : storage[head] }
    @inlinable public var last: Element? { isEmpty ? nil : storage[storage.count - 1] }

    @inlinable public mutating func append(_ element: Element) { storage.append(element) }

    @discardableResult
    @inlinable public mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        let element = storage[head]
        storage[head] = nil
        head += 1
        if head > 64 && head * 2 > storage.count {
            storage.removeFirst(head)
            head = 0
        }
        return element
    }

    @inlinable public mutating func removeFirst() { popFirst() }

    /// The first element that satisfies the predicate.
    @inlinable public func first(where predicate: (Element) -> Bool) -> Element? {
        for index in head..<storage.count {
            if let element = storage[index], predicate(element) { return element }
        }
        return nil
    }

    @inlinable public mutating func removeAll() {
        storage.removeAll()
        head = 0
    }
}
