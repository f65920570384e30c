import FileIO

/// A queue with threads of its own, for work that may take long. Its length is bounded by the
/// engine, which has only so much of each kind under way.
///
/// `@unchecked Sendable`: the queue is only touched under `condition`.
final class Lane: @unchecked Sendable {
    private let condition = Condition()
    private var queue: Fifo<[Work]> = Fifo()
    private var isClosed = false
    private var workers: [Worker] = []

    func start(name: String, threads: Int, _ body: @escaping @Sendable ([Work]) -> Void) {
        for number in 0..<threads {
            workers.append(
                Worker(name: "\(name)-\(number)") { [self] in
                    while let work = next() { body(work) }
                })
        }
    }

    func post(_ work: Work) { post([work]) }

    /// For one thread, together.
    func post(_ work: [Work]) {
        condition.withLock {
            queue.append(work)
            condition.signal()
        }
    }

    private func next() -> [Work]? {
        condition.withLock {
            while queue.isEmpty && !isClosed { condition.wait() }
            return queue.popFirst()
        }
    }

    /// Lets the threads finish what is queued, and waits for them.
    func close() {
        condition.withLock {
            isClosed = true
            condition.broadcast()
        }
        for worker in workers { worker.join() }
        workers = []
    }
}
