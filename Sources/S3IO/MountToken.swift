/// Who has a volume mounted, exactly enough to tell whether it still runs.
public struct MountOwner: Sendable, Equatable {
    public var host: String
    /// Tells apart machines of one name; empty: unknown.
    public var machine: String
    /// Changes with every boot; empty: unknown.
    public var bootID: String
    /// In which process numbers mean the same; empty: unknown.
    public var processSpace: String
    public var processID: Int32
    /// When the process began, in ticks since boot: numbers are used again.
    public var processStart: String

    public init(
        host: String, machine: String, bootID: String, processSpace: String, processID: Int32,
        processStart: String
    ) {
        self.host = host
        self.machine = machine
        self.bootID = bootID
        self.processSpace = processSpace
        self.processID = processID
        self.processStart = processStart
    }
}

/// The object `s3backer-mounted` after the prefix: the volume is mounted, or was not unmounted.
///
/// Value and the first two lines are those of the real s3backer, which reads nothing more; the
/// lines after them are ours, `name: value` each.
public struct MountToken: Sendable, Equatable {
    /// 1...0x7ffffffe, or `sharedValue`.
    public var value: UInt32
    /// Line 1.
    public var host = ""
    /// Line 2, `YYYYMMDDTHHMMSSZ`.
    public var since = ""
    /// nil: written by another program.
    public var owner: MountOwner?
    /// Random, to know one's own object again.
    public var session = ""

    /// Of a volume that any number of hosts have mounted at a time (`--sharedDiskMode`).
    public static let sharedValue: UInt32 = 0x7fff_ffff
    public var isShared: Bool { value == Self.sharedValue }

    public static let name = "s3backer-mounted"
    static let header = "x-amz-meta-s3backer-mount-token"
    static let contentType = "text/plain"
    private static let bytesMax = 4096

    public init(value: UInt32, owner: MountOwner, since: String, session: String) {
        self.value = value
        host = owner.host
        self.since = since
        self.owner = owner
        self.session = session
    }

    /// What an object says. Without a header it is of a program before the tokens: 1.
    package init(header: String?, body: [UInt8]) {
        value = header.flatMap { UInt32($0, radix: 16) } ?? 1
        let text = String(decoding: body.prefix(Self.bytesMax), as: UTF8.self)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(Self.clean)
        host = lines.first ?? ""
        since = lines.count > 1 ? lines[1] : ""
        var fields: [String: String] = [:]
        for line in lines.dropFirst(2) {
            guard let colon = line.firstIndex(of: ":") else { continue }
            fields[String(line[..<colon])] = String(
                line[line.index(after: colon)...].drop { $0 == " " })
        }
        session = fields["session"] ?? ""
        if let number = fields["pid"].flatMap({ Int32($0) }), let host = fields["host"] {
            owner = MountOwner(
                host: host, machine: fields["machine"] ?? "", bootID: fields["boot"] ?? "",
                processSpace: fields["space"] ?? "", processID: number,
                processStart: fields["start"] ?? "")
        }
    }

    private static func clean(_ line: Substring) -> String {
        String(
            String.UnicodeScalarView(line.unicodeScalars.filter { $0.value >= 0x20 }.prefix(256)))
    }

    var headerValue: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    package var body: [UInt8] {
        var text = "\(host)\n\(since)\n"
        if let owner {
            text += "host: \(owner.host)\npid: \(owner.processID)\nboot: \(owner.bootID)\n"
            text += "time: \(since)\nsession: \(session)\nstart: \(owner.processStart)\n"
            text += "space: \(owner.processSpace)\nmachine: \(owner.machine)\n"
        }
        return Array(text.utf8)
    }

    /// The value for people.
    public var valueText: String { "0x" + headerValue }

    /// Who and since when, for people.
    public var facts: String {
        var facts = host.isEmpty ? "by an unknown host" : "by host \(host)"
        if let owner { facts += ", process \(owner.processID)" }
        if isShared { facts += ", in shared disk mode" }
        if !since.isEmpty { facts += ", since \(S3Date.readable(since))" }
        return facts + ", mount token \(valueText)"
    }

    // MARK: Whose

    public enum Verdict: Sendable, Equatable {
        /// The one in our cache file: our mount that did not end well.
        case ours
        /// Of this machine, and its process is gone.
        case stale
        /// Of this machine, and its process runs.
        case running
        /// Anything else.
        case foreign
    }

    /// - Parameters:
    ///   - known: The value in our cache file; nil or 0: none.
    ///   - owner: This process.
    ///   - isRunning: Whether a process of this machine still is the one that began then.
    public func verdict(
        known: UInt32?, owner ours: MountOwner, isRunning: (MountOwner) -> Bool
    ) -> Verdict {
        // Others may have joined its owner.
        if isShared { return .foreign }
        if let owner, isSameMachine(owner, ours), !owner.bootID.isEmpty, !ours.bootID.isEmpty {
            if owner.bootID != ours.bootID { return .stale }
            if !owner.processSpace.isEmpty, owner.processSpace == ours.processSpace {
                return isRunning(owner) ? .running : .stale
            }
        }
        if let known, known != 0, known == value { return .ours }
        return .foreign
    }

    private func isSameMachine(_ a: MountOwner, _ b: MountOwner) -> Bool {
        !a.host.isEmpty && a.host == b.host && a.machine == b.machine
    }
}
