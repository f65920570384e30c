import FileIO
import Logging

/// Where a client gets its access key from. Calls may come from any thread.
public protocol CredentialsSource: Sendable {
    /// The key to use now; nil: anonymous. Blocks only if there is none yet.
    func current() throws(S3Error) -> Credentials?

    /// The server says that this key has expired. Blocks until there is another one.
    ///
    /// - Returns: Whether there is.
    func hasExpired(_ credentials: Credentials?) -> Bool
}

/// A key that stays.
public struct FixedCredentials: CredentialsSource {
    private let credentials: Credentials?

    public init(_ credentials: Credentials?) { self.credentials = credentials }

    public func current() -> Credentials? { credentials }
    public func hasExpired(_ credentials: Credentials?) -> Bool { false }
}

/// A key that a service of the machine hands out for some hours.
///
/// It is fetched anew in the background, long before it expires; requests go on with the old one
/// meanwhile, also when the service is away for a while.
public final class ExpiringCredentials: CredentialsSource {
    /// A key, and when it ends (seconds since 1970; nil: it does not say).
    package typealias Key = (credentials: Credentials, expiry: Int?)

    private struct State {
        var key: Key?
        var fetchedAt = 0
        var isFetching = false
    }

    private let state = Locked(State())
    /// Held by the thread that fetches.
    private let fetching = Locked(())
    private let fetch: @Sendable () throws(S3Error) -> Key
    private let now: @Sendable () -> Int
    private let inBackground: @Sendable (@escaping @Sendable () -> Void) -> Void
    private let logger: Logger

    /// How long before its end a key is replaced.
    private static let marginSeconds = 15 * 60
    /// How old a key becomes that does not say when it ends; also the least time between attempts.
    private static let ageMaxSeconds = 5 * 60

    /// - Parameters:
    ///   - now: Seconds since 1970.
    ///   - inBackground: Runs something beside the caller.
    package init(
        logger: Logger, now: @escaping @Sendable () -> Int,
        inBackground: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void,
        fetch: @escaping @Sendable () throws(S3Error) -> Key
    ) {
        self.logger = logger
        self.now = now
        self.inBackground = inBackground
        self.fetch = fetch
    }

    public func current() throws(S3Error) -> Credentials? {
        let now = now()
        let (key, isDue) = state.withLock { state -> (Key?, Bool) in
            guard let key = state.key else { return (nil, false) }
            let due = key.expiry.map { $0 - Self.marginSeconds } ?? 0
            let isDue = now >= max(due, state.fetchedAt + Self.ageMaxSeconds) && !state.isFetching
            if isDue { state.isFetching = true }
            return (key, isDue)
        }
        guard let key else { return try renew(ifStill: nil) }
        if isDue {
            inBackground { [self] in
                do throws(S3Error) {
                    _ = try renew(ifStill: key.credentials)
                } catch {
                    logger.warning("\(error.message); the old key is used as long as it lasts")
                }
            }
        }
        return key.credentials
    }

    public func hasExpired(_ credentials: Credentials?) -> Bool {
        do throws(S3Error) {
            return try renew(ifStill: credentials) != credentials
        } catch {
            logger.warning("\(error.message)")
            return false
        }
    }

    /// Fetches a key unless another thread has done so meanwhile.
    private func renew(ifStill old: Credentials?) throws(S3Error) -> Credentials {
        let outcome = fetching.withLock { _ -> Result<Credentials, S3Error> in
            if let key = state.withLock({ $0.key }), key.credentials != old {
                return .success(key.credentials)
            }
            let fetched: Result<Key, S3Error>
            do throws(S3Error) { fetched = .success(try fetch()) } catch {
                fetched = .failure(error)
            }
            state.withLock { state in
                state.isFetching = false
                state.fetchedAt = now()
                if case .success(let key) = fetched { state.key = key }
            }
            return fetched.map(\.credentials)
        }
        return try outcome.get()
    }
}
