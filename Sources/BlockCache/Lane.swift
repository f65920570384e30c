import FileIO

/// A queue with threads of its own, for tasks that may take long. Its length is bounded by those who
/// post, which have only so much of each kind under way.
///
/// `@unchecked Sendable`: the queue is only touched under `condition`.
final class Lane<Task>: @unchecked Sendable {
    private let condition = Condition()
    private var queue: Fifo<Task> = Fifo()
    private var isClosed = false
    private var workers: [Worker] = []

    func start(name: String, threads: Int, _ body: @escaping @Sendable (Task) -> Void) {
        for number in 0..<threads {
            workers.append(
                Worker(name: "\(name)-\(number)") { [self] in
                    while let task = next() { body(task) }
                })
        }
    }

    func post(_ task: Task) {
        condition.withLock {
            queue.append(task)
        }
        condition.signal()
    }

    private func next() -> Task? {
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

/// Pieces of work for one thread, together.
typealias WorkLane = Lane<[Work]>

extension WorkLane {
    func post(_ work: Work) { post([work]) }
}
