import FileIO

/// Questions to the store that wait for a thread, the most urgent first.
///
/// Reads of the user never wait for anything but other reads: some threads are kept for them, and
/// of each other kind only so many are under way.
///
/// `@unchecked Sendable`: the queues and counts are only touched under `condition`.
final class FetchLane: @unchecked Sendable {
    struct Limits {
        /// Threads that only reads of the user use.
        var reserved: Int
        /// Most under way, by urgency.
        var most: [FetchUrgency: Int]

        var threads: Int {
            reserved + max(most[.completion, default: 0], most[.readAhead, default: 0])
        }
    }

    private let limits: Limits
    private let condition = Condition()
    private var queues: [Fifo<FetchTask>]
    /// Where a task waits. What is in another queue as well has been moved from there.
    private var places: [ObjectIdentifier: FetchUrgency] = [:]
    private var running: [Int]
    private var isClosed = false
    private var workers: [Worker] = []

    init(_ limits: Limits) {
        self.limits = limits
        queues = FetchUrgency.allCases.map { _ in Fifo() }
        running = FetchUrgency.allCases.map { _ in 0 }
    }

    func start(_ body: @escaping @Sendable (FetchTask) -> Void) {
        for number in 0..<limits.threads {
            workers.append(
                Worker(name: "fetch-\(number)") { [self] in
                    var last: FetchUrgency?
                    while let (task, urgency) = next(after: last) {
                        body(task)
                        last = urgency
                    }
                })
        }
    }

    func post(_ task: FetchTask) {
        condition.withLock { queue(task, task.urgency) }
        condition.signal()
    }

    /// Moves a task that still waits.
    func hurry(_ task: FetchTask, _ urgency: FetchUrgency) {
        let isMoved = condition.withLock {
            guard let place = places[ObjectIdentifier(task)], place < urgency else { return false }
            queue(task, urgency)
            return true
        }
        if isMoved { condition.signal() }
    }

    private func queue(_ task: FetchTask, _ urgency: FetchUrgency) {
        places[ObjectIdentifier(task)] = urgency
        queues[urgency.rawValue].append(task)
    }

    /// Every task wakes one thread. A thread that comes back looks for itself, and what its last
    /// task kept from beginning is one at most.
    private func next(after last: FetchUrgency?) -> (FetchTask, FetchUrgency)? {
        condition.withLock {
            if let last { running[last.rawValue] -= 1 }
            while true {
                if let found = takeNext() {
                    running[found.1.rawValue] += 1
                    return found
                }
                if isClosed { return nil }
                condition.wait()
            }
        }
    }

    private func takeNext() -> (FetchTask, FetchUrgency)? {
        for urgency in FetchUrgency.allCases.reversed() where mayBegin(urgency) {
            while let task = queues[urgency.rawValue].popFirst() {
                guard places[ObjectIdentifier(task)] == urgency else { continue }
                places[ObjectIdentifier(task)] = nil
                return (task, urgency)
            }
        }
        return nil
    }

    private func mayBegin(_ urgency: FetchUrgency) -> Bool {
        let index = urgency.rawValue
        guard running[index] < limits.most[urgency, default: limits.threads] else { return false }
        let others = running[..<FetchUrgency.read.rawValue].reduce(0, +)
        return urgency == .read || others < limits.threads - limits.reserved
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
