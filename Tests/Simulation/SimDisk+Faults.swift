import FileIO
import Glibc

/// What goes wrong with one call.
package enum Fault: Sendable {
    /// Nothing is done and the call throws. A failed flush leaves each covered sector durable or
    /// lost for ever.
    case fail(FileError.Kind)
    /// Writes only: the first bytes are written, then the call throws.
    case short(bytes: Int, FileError.Kind)
    /// Writes and flushes: nothing is done and the call reports success.
    case lose
    /// Writes and reads: the transfer happens at another offset and reports success.
    case misdirect(to: Int)
}

/// The calls that can go wrong; `flush` stands for `flushAll` too.
package enum CallKind: Int, CaseIterable, Sendable {
    case read, write, flush, reserve, truncate
}

/// Which calls of a disk fail, and how many were made.
struct FaultPlan {
    private struct Entry {
        let kind: CallKind
        /// Number of the call, counted from 1 over the life of the disk.
        let call: Int
        let fault: Fault
        let isLasting: Bool
    }

    private var entries: [Entry] = []
    private(set) var calls = [Int](repeating: 0, count: CallKind.allCases.count)
    private(set) var writeSideCalls = 0
    private var crashCall: Int?
    private(set) var isCrashed = false

    static let crash = FileError(.io, "simulated crash", errno: SimDisk.crashErrno)

    static func error(_ kind: FileError.Kind, _ what: String) -> FileError {
        FileError(kind, "simulated failure: \(what)", errno: kind == .noSpace ? ENOSPC : EIO)
    }

    mutating func add(_ fault: Fault, onNth nth: Int, _ kind: CallKind, lasting: Bool) {
        precondition(nth >= 1)
        entries.append(
            Entry(kind: kind, call: calls[kind.rawValue] + nth, fault: fault, isLasting: lasting))
    }

    mutating func crash(onNth nth: Int) {
        precondition(nth >= 1)
        crashCall = writeSideCalls + nth
    }

    mutating func clear() {
        entries = []
        crashCall = nil
    }

    /// Counts a call and returns its fault.
    mutating func next(_ kind: CallKind) -> Fault? {
        calls[kind.rawValue] += 1
        if entries.isEmpty { return nil }
        let call = calls[kind.rawValue]
        return entries.first {
            $0.kind == kind && ($0.call == call || ($0.isLasting && $0.call < call))
        }?.fault
    }

    /// Counts a write, flush or reservation; true if the machine goes down in the middle of it.
    mutating func countWriteSide() -> Bool {
        writeSideCalls += 1
        if writeSideCalls == crashCall { isCrashed = true }
        return isCrashed
    }

    func checkAlive() throws(FileError) {
        if isCrashed { throw Self.crash }
    }
}

extension SimDisk {
    /// The `errno` of every error after a simulated crash.
    package static let crashErrno: Int32 = -77

    /// Makes the nth call of this kind from now (1 is the next) go wrong, and every later one as
    /// well if `lasting`.
    package func inject(
        _ fault: Fault, onNth nth: Int = 1, _ kind: CallKind, lasting: Bool = false
    ) {
        faults.add(fault, onNth: nth, kind, lasting: lasting)
    }

    package func failNext(_ kind: CallKind, _ error: FileError.Kind = .io) {
        inject(.fail(error), kind)
    }

    package func loseNextWrite() { inject(.lose, .write) }

    package func misdirectNextWrite(to offset: Int) { inject(.misdirect(to: offset), .write) }

    /// Stops the world in the nth write, flush or reservation from now (1 is the next): that call
    /// throws with `crashErrno` and so does every call after it. A write stopped so stays issued, a
    /// flush or reservation has done nothing. Then take `afterKill` or `afterPowerCut`.
    package func crashAfter(_ nth: Int) { faults.crash(onNth: nth) }

    /// Forgets injected faults and a crash that has not come yet.
    package func clearFaults() { faults.clear() }

    package var isCrashed: Bool { faults.isCrashed }

    /// Calls of a kind made so far, failed ones included.
    package func callCount(_ kind: CallKind) -> Int { faults.calls[kind.rawValue] }

    /// Writes, flushes and reservations made so far: the steps at which `crashAfter` can stop.
    package var writeSideCallCount: Int { faults.writeSideCalls }

    /// Rot of the medium: inverts a bit (0...7) of the byte at `offset`. Reads see it unless a
    /// write not yet flushed covers the sector, which then heals it.
    package func flip(bit: Int, at offset: Int) {
        precondition((0..<8).contains(bit))
        let rotten = durable.read(offset..<offset + 1)[0] ^ UInt8(1 << bit)
        durable.write([rotten], at: offset)
        if returned.contains(where: { $0.covers(sectorAt: offset) }) { return }
        let cached = cache.read(offset..<offset + 1)[0] ^ UInt8(1 << bit)
        cache.write([cached], at: offset)
    }
}

extension FileError {
    /// True for what a disk throws once `crashAfter` has struck.
    package var isSimulatedCrash: Bool { errno == SimDisk.crashErrno }
}
