/// A queue over an array, with cheap removal at the front.
///
/// Small enough to own; swift-collections would be a dependency of the engine for this one type.
public struct Fifo<Element> {
    private var storage: [Element?] = []
    private var head = 0

    public init() {}

    public var isEmpty: Bool { head == storage.count }
    public var count: Int { storage.count - head }
    public var first: Element? { isEmpty ? nil : storage[head] }
    public var last: Element? { isEmpty ? nil : storage[storage.count - 1] }

    public mutating func append(_ element: Element) { storage.append(element) }

    @discardableResult
    public mutating func popFirst() -> Element? {
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

    public mutating func removeFirst() { popFirst() }

    /// The first element that satisfies the predicate.
    public func first(where predicate: (Element) -> Bool) -> Element? {
        for index in head..<storage.count {
            if let element = storage[index], predicate(element) { return element }
        }
        return nil
    }

    public mutating func removeAll() {
        storage.removeAll()
        head = 0
    }
}
